"""Predicting references in code and data from an alignment, and blanking them. See engine/references.py for the idea.

Everything is little-endian ELF64, read and written byte by byte, so that every machine computes the same. Nothing here trusts its
input: each access is checked against the buffers, and a wrong prediction only costs bytes.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

cdef enum:
    X86_CODE = 1
    ARM_CODE = 2
    WORDS = 3        # 8-byte words that may be addresses
    FRAMES = 4       # .eh_frame: pc-relative 4-byte words at given places
    FRAME_TABLE = 5  # .eh_frame_hdr: 4-byte words relative to the section
    OFFSETS = 6      # 4-byte words relative to a table's start are not predicted; reserved
    GRANULE = 16
    NEAR = 10        # instructions after ADRP in which its use is looked for

cdef struct Segment:
    uint64_t address
    uint64_t offset
    uint64_t in_file
    uint64_t in_memory

cdef struct Map:
    const unsigned char *old
    int64_t old_size
    int64_t new_size
    Segment *old_segments
    Segment *new_segments
    int old_count
    int new_count
    uint64_t low
    uint64_t high
    const int64_t *blocks
    int64_t block_count
    int32_t *owner
    int64_t granules


cdef inline uint32_t load32(const unsigned char *p) noexcept nogil:
    return p[0] | (<uint32_t>p[1] << 8) | (<uint32_t>p[2] << 16) | (<uint32_t>p[3] << 24)


cdef inline uint64_t load64(const unsigned char *p) noexcept nogil:
    return <uint64_t>load32(p) | (<uint64_t>load32(p + 4) << 32)


cdef inline void store32(unsigned char *p, uint32_t v) noexcept nogil:
    p[0] = v & 0xFF
    p[1] = (v >> 8) & 0xFF
    p[2] = (v >> 16) & 0xFF
    p[3] = (v >> 24) & 0xFF


cdef inline void store64(unsigned char *p, uint64_t v) noexcept nogil:
    store32(p, <uint32_t>v)
    store32(p + 4, <uint32_t>(v >> 32))


cdef bint address_of(Segment *segments, int count, uint64_t offset, uint64_t *address) noexcept nogil:
    cdef int i
    for i in range(count):
        if offset - segments[i].offset < segments[i].in_file and offset >= segments[i].offset:
            address[0] = segments[i].address + (offset - segments[i].offset)
            return True
    return False


cdef bint moved(Map *m, uint64_t address, uint64_t *result) noexcept nogil:
    """Where what was at `address` in the old image is in the new one; False when it is not part of the image."""
    cdef int i
    cdef uint64_t offset, inside, end
    cdef int64_t granule, where
    cdef int32_t block
    if address < m.low or address > m.high:
        return False
    for i in range(m.old_count):
        if address < m.old_segments[i].address or address - m.old_segments[i].address > m.old_segments[i].in_memory:
            continue
        inside = address - m.old_segments[i].address
        if inside >= m.old_segments[i].in_file:
            if i >= m.new_count:
                return False
            end = m.new_segments[i].address + m.new_segments[i].in_file
            result[0] = end + (inside - m.old_segments[i].in_file)
            return True
        offset = m.old_segments[i].offset + inside
        granule = <int64_t>(offset // GRANULE)
        if granule >= m.granules:
            return False
        block = m.owner[granule]
        if block < 0:
            return False
        where = <int64_t>offset - m.blocks[3 * block + 1] + m.blocks[3 * block]
        if where < 0 or where >= m.new_size:
            return False
        return address_of(m.new_segments, m.new_count, <uint64_t>where, result)
    return False


cdef void paint(Map *m, const int64_t *order) noexcept nogil:
    """owner[g] = the longest block that touches granule g of the old file, or the nearest one before or after."""
    cdef int64_t i, b, g, last
    for g in range(m.granules):
        m.owner[g] = -1
    for i in range(m.block_count):
        b = order[i]
        g = m.blocks[3 * b + 1] // GRANULE
        last = (m.blocks[3 * b + 1] + m.blocks[3 * b + 2] - 1) // GRANULE
        while g <= last and g < m.granules:
            m.owner[g] = <int32_t>b
            g += 1
    for g in range(1, m.granules):
        if m.owner[g] < 0:
            m.owner[g] = m.owner[g - 1]
    g = m.granules - 2
    while g >= 0:
        if m.owner[g] < 0:
            m.owner[g] = m.owner[g + 1]
        g -= 1


cdef inline bint inside(Map *m, uint64_t address) noexcept nogil:
    return m.low <= address < m.high


cdef int x86_field(const unsigned char *p, int64_t left) noexcept nogil:
    """Offset of a 4-byte pc-relative field that starts an instruction's tail at p, or 0."""
    if left >= 5 and (p[0] == 0xE8 or p[0] == 0xE9):
        return 1
    if left >= 6 and p[0] == 0x0F and (p[1] & 0xF0) == 0x80:
        return 2
    if left >= 6 and (p[1] & 0xC7) == 0x05:
        # an opcode that takes ModRM: mov, lea, cmp, test, arithmetic, call/jmp through memory, SSE after 0F
        if (p[0] & 0xC4) == 0x00 or (p[0] & 0xF0) == 0x80 or p[0] == 0xFF or p[0] == 0xC6 or p[0] == 0xC7 or p[0] == 0x63:
            return 2
        if 0x10 <= p[0] <= 0x17 or 0x28 <= p[0] <= 0x2F or 0x40 <= p[0] <= 0x7F or p[0] >= 0xA0:
            return 2
    return 0


cdef void x86(Map *m, int64_t start, int64_t length, uint64_t old_pc, uint64_t new_pc, unsigned char *out) noexcept nogil:
    cdef int64_t i = 0
    cdef int field
    cdef uint64_t target, result
    cdef const unsigned char *p = m.old + start
    while i + 5 <= length:
        field = x86_field(p + i, length - i)
        if field:
            target = old_pc + i + field + 4 + <uint64_t><int64_t><int32_t>load32(p + i + field)
            if inside(m, target):
                if moved(m, target, &result):
                    store32(out + i + field, <uint32_t>(result - (new_pc + i + field + 4)))
                i += field + 4
                continue
        i += 1


cdef void blank_x86(unsigned char *p, int64_t length, uint64_t pc, uint64_t low, uint64_t high) noexcept nogil:
    cdef int64_t i = 0
    cdef int field
    cdef uint64_t target
    while i + 5 <= length:
        field = x86_field(p + i, length - i)
        if field:
            target = pc + i + field + 4 + <uint64_t><int64_t><int32_t>load32(p + i + field)
            if low <= target < high:
                store32(p + i + field, 0)
                i += field + 4
                continue
        i += 1


cdef inline int use_of(uint32_t word, uint32_t base, int *scale) noexcept nogil:
    """1: ADD immediate, 2: load or store with unsigned offset, based on `base`; 0: neither."""
    if ((word >> 5) & 31) != base:
        return 0
    if (word & 0xFFC00000U) == 0x91000000U:
        scale[0] = 0
        return 1
    if (word & 0x3B000000) == 0x39000000:
        scale[0] = word >> 30
        if (word & 0x04800000) == 0x04800000 and scale[0] == 0:
            scale[0] = 4
        return 2
    return 0


cdef inline uint64_t page_of(uint32_t word, uint64_t pc) noexcept nogil:
    cdef int64_t pages = ((word >> 29) & 3) | (((word >> 5) & 0x7FFFF) << 2)
    if pages & 0x100000:
        pages -= 0x200000
    return (pc & ~<uint64_t>0xFFF) + (<uint64_t>pages << 12)


cdef void arm(Map *m, int64_t start, int64_t length, uint64_t old_pc, uint64_t new_pc, unsigned char *out) noexcept nogil:
    cdef int64_t i, j
    cdef uint32_t word, use, base
    cdef int64_t imm
    cdef int scale, found
    cdef uint64_t target, result, page
    cdef const unsigned char *p = m.old + start
    cdef bint placed
    i = (4 - (old_pc & 3)) & 3
    while i + 4 <= length:
        word = load32(p + i)
        if (word & 0x7C000000) == 0x14000000:
            imm = word & 0x3FFFFFF
            if imm & 0x2000000:
                imm -= 0x4000000
            target = old_pc + i + <uint64_t>(imm * 4)
            if inside(m, target) and moved(m, target, &result):
                imm = <int64_t>(result - (new_pc + i)) >> 2
                store32(out + i, (word & 0xFC000000U) | (<uint32_t>imm & 0x3FFFFFF))
        elif (word & 0x9F000000U) == 0x90000000U:
            base = word & 31
            page = page_of(word, old_pc + i)
            placed = False
            for j in range(1, NEAR + 1):
                if i + 4 * j + 4 > length:
                    break
                use = load32(p + i + 4 * j)
                found = use_of(use, base, &scale)
                if found:
                    target = page + (<uint64_t>((use >> 10) & 0xFFF) << scale)
                    if inside(m, target) and moved(m, target, &result):
                        store32(out + i + 4 * j, (use & ~<uint32_t>0x3FFC00U) | (((<uint32_t>result & 0xFFF) >> scale) << 10))
                        if not placed:
                            placed = True
                            imm = <int64_t>((result >> 12) - ((new_pc + i) >> 12))
                            store32(out + i, (word & 0x9F00001FU) | ((<uint32_t>imm & 3) << 29) | (((<uint32_t>(imm >> 2)) & 0x7FFFF) << 5))
                if (use & 31) == base and (found == 1 or (use & 0x9F000000U) == 0x90000000U):
                    break
            if not placed and inside(m, page) and moved(m, page, &result):
                imm = <int64_t>((result >> 12) - ((new_pc + i) >> 12))
                store32(out + i, (word & 0x9F00001FU) | ((<uint32_t>imm & 3) << 29) | (((<uint32_t>(imm >> 2)) & 0x7FFFF) << 5))
        i += 4


cdef void blank_arm(unsigned char *p, int64_t length, uint64_t pc) noexcept nogil:
    cdef int64_t i = (4 - (pc & 3)) & 3
    cdef int64_t j
    cdef uint32_t word, use, base
    cdef int scale, found
    while i + 4 <= length:
        word = load32(p + i)
        if (word & 0x7C000000) == 0x14000000:
            store32(p + i, word & 0xFC000000U)
        elif (word & 0x9F000000U) == 0x90000000U:
            base = word & 31
            store32(p + i, word & 0x9F00001FU)
            for j in range(1, NEAR + 1):
                if i + 4 * j + 4 > length:
                    break
                use = load32(p + i + 4 * j)
                found = use_of(use, base, &scale)
                if found:
                    store32(p + i + 4 * j, use & ~<uint32_t>0x3FFC00U)
                if (use & 31) == base and (found == 1 or (use & 0x9F000000U) == 0x90000000U):
                    break
        i += 4


cdef void words(Map *m, int64_t start, int64_t length, uint64_t old_address, unsigned char *out) noexcept nogil:
    cdef int64_t i = (8 - (old_address & 7)) & 7
    cdef uint64_t value, result
    while i + 8 <= length:
        value = load64(m.old + start + i)
        if inside(m, value) and moved(m, value, &result):
            store64(out + i, result)
        i += 8


cdef bint file_moved(Map *m, int64_t offset, int64_t *result) noexcept nogil:
    """Where the byte at `offset` of the old file is in the new one."""
    cdef int32_t block
    if offset < 0 or offset >= m.old_size:
        return False
    block = m.owner[offset // GRANULE]
    if block < 0:
        return False
    result[0] = offset - m.blocks[3 * block + 1] + m.blocks[3 * block]
    return True


cdef void frames(
    Map *m, int64_t start, int64_t length, uint64_t old_address, uint64_t new_address, int64_t new_at, const int64_t *places,
    int64_t count, unsigned char *out,
) noexcept nogil:
    """Each place has the distance to its CIE before it and the size of its function behind it."""
    cdef int64_t low = 0, high = count, middle, i, cie
    cdef uint64_t target, result, end
    cdef uint32_t size
    while low < high:
        middle = (low + high) // 2
        if places[middle] < start - 4:
            low = middle + 1
        else:
            high = middle
    while low < count and places[low] - 4 < start + length:
        i = places[low] - start
        if i >= 4 and i <= length and file_moved(m, places[low] - 4 - <int64_t>load32(m.old + places[low] - 4), &cie):
            store32(out + i - 4, <uint32_t>(new_at + i - 4 - cie))
        if i >= 0 and i + 4 <= length:
            target = old_address + i + <uint64_t><int64_t><int32_t>load32(m.old + start + i)
            if inside(m, target) and moved(m, target, &result):
                store32(out + i, <uint32_t>(result - (new_address + i)))
                if i + 8 <= length:
                    size = load32(m.old + start + i + 4)
                    if size and moved(m, target + size - 1, &end) and end >= result:
                        store32(out + i + 4, <uint32_t>(end + 1 - result))
        low += 1


cdef void frame_table(Map *m, int64_t start, int64_t length, int64_t section, uint64_t old_address, unsigned char *out) noexcept nogil:
    """old_address: of the section's start; `section`: its offset in the old file."""
    cdef int64_t i = (4 - ((start - section) & 3)) & 3
    cdef uint64_t start_now, target, result
    if not moved(m, old_address, &start_now):
        return
    while i + 4 <= length:
        if start + i - section >= 12:
            target = old_address + <uint64_t><int64_t><int32_t>load32(m.old + start + i)
            if inside(m, target) and moved(m, target, &result):
                store32(out + i, <uint32_t>(result - start_now))
        i += 4


cdef int64_t _first_region(const int64_t[::1] regions, int64_t count, int64_t at) noexcept nogil:
    """The first region that ends behind `at`."""
    cdef int64_t low = 0, high = count, middle
    while low < high:
        middle = (low + high) // 2
        if regions[4 * middle + 1] + regions[4 * middle + 2] <= at:
            low = middle + 1
        else:
            high = middle
    return low


def predict(
    const unsigned char[::1] old not None,
    const int64_t[::1] blocks not None,
    const int64_t[::1] order not None,
    const uint64_t[::1] old_segments not None,
    const uint64_t[::1] new_segments not None,
    const int64_t[::1] regions not None,
    const int64_t[::1] places not None,
    unsigned char[::1] out not None,
):
    """Fill the blocks of `out` with what the new file should hold there.

    Args:
        blocks: triples (new, old, length) inside both buffers, which the caller has checked.
        order: block numbers, shortest first.
        old_segments, new_segments: quadruples (address, offset, size in file, size in memory).
        regions: quadruples (kind, offset, size, address) of the old file, sorted by offset, not overlapping.
        places: sorted offsets in the old file of pc-relative words in .eh_frame.
    """
    cdef Map m
    cdef int64_t b, r, new_at, old_at, length, first, last, region_end, offset
    cdef int64_t region_count = regions.shape[0] // 4
    cdef uint64_t address, new_address
    cdef unsigned char *target
    if not blocks.shape[0] or not old.shape[0] or not out.shape[0]:
        return
    _check(old.shape[0], out.shape[0], blocks, order, regions, places)
    m.old = &old[0]
    m.old_size = old.shape[0]
    m.new_size = out.shape[0]
    m.old_count = <int>(old_segments.shape[0] // 4)
    m.new_count = <int>(new_segments.shape[0] // 4)
    m.old_segments = <Segment *>&old_segments[0] if m.old_count else NULL
    m.new_segments = <Segment *>&new_segments[0] if m.new_count else NULL
    m.blocks = &blocks[0]
    m.block_count = blocks.shape[0] // 3
    m.granules = m.old_size // GRANULE + 1
    m.low, m.high = _bounds(old_segments)
    m.owner = <int32_t *>malloc(m.granules * sizeof(int32_t))
    if m.owner == NULL:
        raise MemoryError("address map")
    try:
        with nogil:
            paint(&m, &order[0])
            r = 0
            for b in range(m.block_count):
                new_at, old_at, length = m.blocks[3 * b], m.blocks[3 * b + 1], m.blocks[3 * b + 2]
                memcpy(&out[new_at], m.old + old_at, length)
                for r in range(_first_region(regions, region_count, old_at), region_count):
                    offset = regions[4 * r + 1]
                    if offset >= old_at + length:
                        break
                    region_end = offset + regions[4 * r + 2]
                    first = old_at if old_at > offset else offset
                    last = old_at + length if old_at + length < region_end else region_end
                    if first >= last:
                        continue
                    address = <uint64_t>regions[4 * r + 3] + <uint64_t>(first - offset)
                    if not address_of(m.new_segments, m.new_count, <uint64_t>(new_at + first - old_at), &new_address):
                        new_address = address
                    target = &out[new_at + first - old_at]
                    if regions[4 * r] == X86_CODE:
                        x86(&m, first, last - first, address, new_address, target)
                    elif regions[4 * r] == ARM_CODE:
                        arm(&m, first, last - first, address, new_address, target)
                    elif regions[4 * r] == WORDS:
                        words(&m, first, last - first, address, target)
                    elif regions[4 * r] == FRAMES and places.shape[0]:
                        frames(
                            &m, first, last - first, address, new_address, new_at + first - old_at, &places[0],
                            places.shape[0], target,
                        )
                    elif regions[4 * r] == FRAME_TABLE:
                        frame_table(&m, first, last - first, offset, <uint64_t>regions[4 * r + 3], target)
    finally:
        free(m.owner)


cdef _check(
    int64_t old_size, int64_t new_size, const int64_t[::1] blocks, const int64_t[::1] order, const int64_t[::1] regions,
    const int64_t[::1] places,
):
    """ValueError unless everything is inside the buffers and in order; the rest of this module relies on it."""
    cdef int64_t i, end = 0
    for i in range(blocks.shape[0] // 3):
        if blocks[3 * i] < 0 or blocks[3 * i + 1] < 0 or blocks[3 * i + 2] < 1:
            raise ValueError("block out of range")
        if blocks[3 * i] > new_size - blocks[3 * i + 2] or blocks[3 * i + 1] > old_size - blocks[3 * i + 2]:
            raise ValueError("block leaves a file")
    if order.shape[0] != blocks.shape[0] // 3:
        raise ValueError("order does not name the blocks")
    for i in range(order.shape[0]):
        if not 0 <= order[i] < order.shape[0]:
            raise ValueError("order does not name the blocks")
    for i in range(regions.shape[0] // 4):
        if regions[4 * i + 1] < end or regions[4 * i + 2] < 0 or regions[4 * i + 1] > old_size - regions[4 * i + 2]:
            raise ValueError("region out of order or leaves the file")
        end = regions[4 * i + 1] + regions[4 * i + 2]
    for i in range(1, places.shape[0]):
        if places[i] < places[i - 1]:
            raise ValueError("places out of order")


def _bounds(segments):
    starts = [int(segments[i]) for i in range(0, len(segments) - 3, 4)]
    ends = [int(segments[i]) + int(segments[i + 3]) for i in range(0, len(segments) - 3, 4)]
    largest = (1 << 64) - 1
    return (min(min(starts) + 64, largest), min(max(ends), largest)) if starts else (1, 0)


cdef uint64_t meaning(const unsigned char *image, int64_t size, const uint64_t[::1] segments, uint64_t address) noexcept nogil:
    """A number made of the bytes at an address, which stay when they move; 0 when there are none."""
    cdef int64_t i
    cdef uint64_t inside
    for i in range(segments.shape[0] // 4):
        inside = address - segments[4 * i]
        if address < segments[4 * i] or inside >= segments[4 * i + 2]:
            continue
        inside += segments[4 * i + 1]
        if inside > <uint64_t>size or <uint64_t>size - inside < 8:
            return 0
        return (load64(image + inside) * 0x9E3779B97F4A7C15ULL) >> 16
    return 0


cdef void blank_words(
    unsigned char *image, int64_t size, int64_t start, int64_t length, uint64_t address, const uint64_t[::1] segments,
    uint64_t low, uint64_t high,
) noexcept nogil:
    cdef int64_t i = (8 - (address & 7)) & 7
    cdef uint64_t value
    while i + 8 <= length:
        value = load64(image + start + i)
        if low <= value < high:
            store64(image + start + i, meaning(image, size, segments, value))
        i += 8


def blank(
    unsigned char[::1] image not None, const uint64_t[::1] segments not None, const int64_t[::1] regions not None,
    const int64_t[::1] places not None,
):
    """Zero the fields of code and tables in a copy of a file, so that an alignment sees only what does not move."""
    cdef int64_t r, i
    cdef uint64_t low, high
    low, high = _bounds(segments)
    for i in range(places.shape[0]):
        if not 0 <= places[i] <= image.shape[0] - 4:
            raise ValueError("place leaves the image")
        store32(&image[places[i]], 0)
        if places[i] >= 4:
            store32(&image[places[i] - 4], 1)
    for r in range(regions.shape[0] // 4):
        if regions[4 * r + 1] < 0 or regions[4 * r + 2] < 0 or regions[4 * r + 1] > image.shape[0] - regions[4 * r + 2]:
            raise ValueError("region leaves the image")
        if not regions[4 * r + 2]:
            continue
        with nogil:
            if regions[4 * r] == X86_CODE:
                blank_x86(&image[regions[4 * r + 1]], regions[4 * r + 2], <uint64_t>regions[4 * r + 3], low, high)
            elif regions[4 * r] == ARM_CODE:
                blank_arm(&image[regions[4 * r + 1]], regions[4 * r + 2], <uint64_t>regions[4 * r + 3])
            elif regions[4 * r] == FRAME_TABLE:
                for i in range(12, regions[4 * r + 2]):
                    image[regions[4 * r + 1] + i] = 0
    # when the code is blank: what words point at is part of what they are. Backwards, as tables come before data
    for r in range(regions.shape[0] // 4 - 1, -1, -1):
        if regions[4 * r] == WORDS and regions[4 * r + 2]:
            with nogil:
                blank_words(
                    &image[0], image.shape[0], regions[4 * r + 1], regions[4 * r + 2], <uint64_t>regions[4 * r + 3],
                    segments, low, high,
                )
