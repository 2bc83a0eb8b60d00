"""Coding the tables of relocatable objects (kernel modules) against those of an older build.

One walk serves both directions: encoding, `new` is whole and the differences are written; decoding, the differences are
whole and `new` is completed field by field. Each field is predicted from the old field at the place that the alignment
gives, from the alignment itself, and from the fields before it; a difference is an integer, modulo the field's size.

Everything is little-endian ELF64. No input is trusted: what is out of range is left to the plain difference.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memmove, memset

cdef enum:
    GRANULE = 4
    RELA = 24          # bytes of a relocation: offset, type, symbol, addend
    SYMBOL = 24        # bytes of a symbol: name (4), info, other, section (2), value (8), size (8)
    SECTION_SYMBOL = 3
    PC32 = 2           # x86-64 relocations whose addend counts from the end of a 4-byte field in code
    PLT32 = 4
    COLUMNS = 6        # of `sections`: offset and size in old and new, holds bytes, holds code
    KNOWN = 32768      # numbers remembered by a Shift
    FAR = 1024          # further away than this, a known number says nothing

cdef enum Word:
    OTHER = 0
    NAME = 1
    TYPE = 2


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


cdef struct Shift:
    # how numbers moved, learned while coding: sorted old numbers and what was added to each
    uint32_t *keys
    uint32_t *added
    int count
    int last           # where the number before was found


cdef int find(Shift *shift, uint32_t key) noexcept nogil:
    """The number of keys below `key`, which is often the one behind the last that was asked for."""
    cdef int low = 0, high = shift.count, middle
    if shift.last < high and shift.keys[shift.last] < key:
        low = shift.last + 1
        if low == high or shift.keys[low] >= key:
            high = low
    while low < high:
        middle = (low + high) // 2
        if shift.keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    shift.last = low
    return low


cdef uint32_t guess(Shift *shift, int at, uint32_t key) noexcept nogil:
    """By the nearest known number, if it is near; far from all, what moved how is anybody's guess: unmoved.

    at: what `find` says of the key.
    """
    cdef uint32_t added = 0, distance = FAR
    if at < shift.count and shift.keys[at] - key < distance:
        distance = shift.keys[at] - key
        added = shift.added[at]
    if at and key - shift.keys[at - 1] < distance:
        added = shift.added[at - 1]
    return key + added


cdef void learn(Shift *shift, int at, uint32_t key, uint32_t added) noexcept nogil:
    if at < shift.count and shift.keys[at] == key:
        shift.added[at] = added
        return
    if shift.count == KNOWN:
        return
    memmove(shift.keys + at + 1, shift.keys + at, (shift.count - at) * sizeof(uint32_t))
    memmove(shift.added + at + 1, shift.added + at, (shift.count - at) * sizeof(uint32_t))
    shift.keys[at] = key
    shift.added[at] = added
    shift.count += 1


cdef int word_kinds(const unsigned char *p, int64_t size, unsigned char *kinds) noexcept nogil:
    """Mark which 4-byte words of BTF type records are names and type numbers. Linux, Documentation/bpf/btf.rst."""
    cdef int64_t at = 0, words = size // 4, i, count
    cdef uint32_t info
    cdef int kind, each
    while at + 3 <= words:
        info = load32(p + 4 * (at + 1))
        kind = (info >> 24) & 31
        count = info & 0xFFFF
        kinds[at] = NAME
        if kind == 2 or 8 <= kind <= 14 or kind == 17 or kind == 18:
            kinds[at + 2] = TYPE
        at += 3
        each = 0
        if kind == 1 or kind == 14 or kind == 17:
            count = each = 1
        elif kind == 3:
            if at + 3 <= words:
                kinds[at] = kinds[at + 1] = TYPE
            count = 1
            each = 3
        elif kind == 4 or kind == 5 or kind == 15 or kind == 19:
            each = 3
        elif kind == 6 or kind == 13:
            each = 2
        elif kind > 19:
            return 0
        if each == 0:
            continue
        if count * each > words - at:
            return 0
        for i in range(count):
            if kind == 4 or kind == 5:
                kinds[at + 3 * i] = NAME
                kinds[at + 3 * i + 1] = TYPE
            elif kind == 6 or kind == 13:
                kinds[at + 2 * i] = NAME
                if kind == 13:
                    kinds[at + 2 * i + 1] = TYPE
            elif kind == 15:
                kinds[at + 3 * i] = TYPE
            elif kind == 19:
                kinds[at + 3 * i] = NAME
        at += count * each
    return 1


cdef class TableCoder:
    """The state of coding one file.

    Args:
        old, new, diff: the files, and a difference as long as the new file; new or diff is written.
        blocks: triples (new, old, length), ascending in new.
        order: block numbers, shortest first.
        sections: for each old section six numbers: offset and size in the old file, in the new file (0, 0 when it is
            not there), 1 if it has bytes in the file, 1 if it holds code.
        decoding: 1 to complete `new`, 0 to write `diff`.
    Raises ValueError unless blocks and sections lie inside the files.
    """

    cdef const unsigned char[::1] old_view
    cdef unsigned char[::1] new_view
    cdef unsigned char[::1] diff_view
    cdef const int64_t[::1] block_view
    cdef const int64_t[::1] section_view
    cdef const unsigned char *old
    cdef unsigned char *new
    cdef unsigned char *diff
    cdef const int64_t *blocks
    cdef int64_t old_size, new_size, block_count, section_count, granules
    cdef int32_t *owner
    cdef int64_t *last
    cdef int decoding
    cdef Shift name_shift
    cdef Shift type_shift

    def __cinit__(
        self, const unsigned char[::1] old not None, unsigned char[::1] new not None, unsigned char[::1] diff not None,
        const int64_t[::1] blocks not None, const int64_t[::1] order not None, const int64_t[::1] sections not None,
        int decoding,
    ):
        if not old.shape[0] or not new.shape[0] or blocks.shape[0] < 3 or not sections.shape[0]:
            raise ValueError("nothing to code")
        self.old_view, self.new_view, self.diff_view = old, new, diff
        self.block_view, self.section_view = blocks, sections
        self.old, self.new, self.diff = &old[0], &new[0], &diff[0]
        self.blocks = &blocks[0]
        self.old_size, self.new_size = old.shape[0], new.shape[0]
        self.block_count, self.section_count = blocks.shape[0] // 3, sections.shape[0] // COLUMNS
        self.decoding = decoding
        self._check(order)
        self.granules = self.old_size // GRANULE + 1
        self.owner = <int32_t *>malloc(self.granules * sizeof(int32_t))
        self.last = <int64_t *>malloc(self.section_count * sizeof(int64_t))
        self.name_shift.keys = <uint32_t *>malloc(4 * KNOWN * sizeof(uint32_t))
        if self.owner == NULL or self.last == NULL or self.name_shift.keys == NULL:
            raise MemoryError("address map")
        self.name_shift.added = self.name_shift.keys + KNOWN
        self.type_shift.keys = self.name_shift.keys + 2 * KNOWN
        self.type_shift.added = self.name_shift.keys + 3 * KNOWN
        memset(self.last, 0, self.section_count * sizeof(int64_t))
        with nogil:
            self._paint(&order[0])

    def __dealloc__(self):
        free(self.owner)
        free(self.last)
        free(self.name_shift.keys)

    cdef _check(self, const int64_t[::1] order):
        cdef int64_t i, end = 0
        cdef const int64_t *row
        if self.diff_view.shape[0] != self.new_size or order.shape[0] != self.block_count:
            raise ValueError("sizes differ")
        for i in range(self.block_count):
            row = self.blocks + 3 * i
            if row[0] < end or row[1] < 0 or row[2] < 1 or not 0 <= order[i] < self.block_count:
                raise ValueError("block out of range")
            if row[0] > self.new_size - row[2] or row[1] > self.old_size - row[2]:
                raise ValueError("block leaves a file")
            end = row[0] + row[2]
        for i in range(self.section_count):
            row = &self.section_view[COLUMNS * i]
            if row[0] < 0 or row[1] < 0 or row[2] < 0 or row[3] < 0:
                raise ValueError("section out of range")
            if row[4] and (row[0] > self.old_size - row[1] or row[2] > self.new_size - row[3]):
                raise ValueError("section leaves a file")

    cdef void _paint(self, const int64_t *order) noexcept nogil:
        """owner[g]: the longest block that touches granule g of the old file, or the nearest one."""
        cdef int64_t i, b, g, last
        memset(self.owner, 0xFF, self.granules * sizeof(int32_t))
        for i in range(self.block_count):
            b = order[i]
            g = self.blocks[3 * b + 1] // GRANULE
            last = (self.blocks[3 * b + 1] + self.blocks[3 * b + 2] - 1) // GRANULE
            while g <= last:
                self.owner[g] = <int32_t>b
                g += 1
        g = 0
        while g < self.granules and self.owner[g] < 0:
            g += 1
        for i in range(g):
            self.owner[i] = self.owner[g]
        for g in range(g + 1, self.granules):
            if self.owner[g] < 0:
                self.owner[g] = self.owner[g - 1]

    cdef uint64_t _moved(self, int64_t section, uint64_t value) noexcept nogil:
        """Where what was at `value` in an old section is in the new one."""
        cdef const int64_t *row
        cdef int64_t place, block
        if section <= 0 or section >= self.section_count:
            return value
        row = &self.section_view[COLUMNS * section]
        if row[4] and value <= <uint64_t>row[1]:
            place = row[0] + <int64_t>value
            block = self.owner[place // GRANULE] if place < self.old_size else self.block_count - 1
            place = place - self.blocks[3 * block + 1] + self.blocks[3 * block] - row[2]
            if 0 <= place <= row[3]:
                return <uint64_t>place
        return value + <uint64_t>self.last[section]

    cdef void _note(self, int64_t section, uint64_t old, uint64_t new) noexcept nogil:
        if 0 < section < self.section_count:
            self.last[section] = <int64_t>(new - old)

    cdef uint32_t _code32(self, int64_t at, uint32_t predicted) noexcept nogil:
        if self.decoding:
            store32(self.new + at, predicted + load32(self.diff + at))
        else:
            store32(self.diff + at, load32(self.new + at) - predicted)
        return load32(self.new + at)

    cdef uint64_t _code64(self, int64_t at, uint64_t predicted) noexcept nogil:
        if self.decoding:
            store64(self.new + at, predicted + load64(self.diff + at))
        else:
            store64(self.diff + at, load64(self.new + at) - predicted)
        return load64(self.new + at)

    cdef int64_t _first_block(self, int64_t at) noexcept nogil:
        """The first block that ends behind `at` in the new file."""
        cdef int64_t low = 0, high = self.block_count, middle
        while low < high:
            middle = (low + high) // 2
            if self.blocks[3 * middle] + self.blocks[3 * middle + 2] <= at:
                low = middle + 1
            else:
                high = middle
        return low

    cdef int64_t _old_of(self, int64_t *block, int64_t at, int64_t size) noexcept nogil:
        """The old offset of new bytes [at, at + size), or -1. Ascending calls share the cursor `block`."""
        cdef const int64_t *row
        while block[0] < self.block_count and self.blocks[3 * block[0]] + self.blocks[3 * block[0] + 2] <= at:
            block[0] += 1
        if block[0] == self.block_count:
            return -1
        row = self.blocks + 3 * block[0]
        if at < row[0] or at + size > row[0] + row[2]:
            return -1
        return at - row[0] + row[1]

    cdef const int64_t *_table(self, int64_t section) except NULL:
        if not 0 < section < self.section_count or not self.section_view[COLUMNS * section + 4]:
            raise ValueError("no such table")
        return &self.section_view[COLUMNS * section]

    def symbols(self, int64_t table, int64_t strings, const int64_t[::1] renumbered not None):
        """Code `.symtab`. renumbered: for each old section its new number, or -1."""
        cdef const int64_t *row = self._table(table)
        cdef int64_t at, old_at, block, section, number, known = renumbered.shape[0]
        cdef uint64_t value
        with nogil:
            block = self._first_block(row[2])
            for number in range(row[3] // SYMBOL):
                at = row[2] + SYMBOL * number
                old_at = self._old_of(&block, at, SYMBOL)
                if old_at < row[0] or old_at + SYMBOL > row[0] + row[1] or (old_at - row[0]) % SYMBOL:
                    continue
                value = load32(self.old + old_at)
                if value:
                    self._note(strings, value, self._code32(at, <uint32_t>self._moved(strings, value)))
                section = self.old[old_at + 6] | (<int64_t>self.old[old_at + 7] << 8)
                if section < known and renumbered[section] >= 0:
                    value = self.old[old_at + 4] | (<uint64_t>self.old[old_at + 5] << 8)
                    self._code32(at + 4, <uint32_t>(value | (<uint64_t>renumbered[section] << 16)))
                value = load64(self.old + old_at + 8)
                if value:
                    self._note(section, value, self._code64(at + 8, self._moved(section, value)))

    def relocations(self, int64_t table, int64_t symtab, int64_t target, const int32_t[::1] symbols not None):
        """Code a `.rela` section for section `target`. symbols: for each old symbol its new number, or -1."""
        cdef const int64_t *row = self._table(table)
        cdef const int64_t *symtab_row = self._table(symtab)
        cdef int64_t at, old_at, block, number, section, known = symbols.shape[0]
        cdef uint64_t value, bias
        cdef uint32_t symbol, kind
        cdef uint32_t added = 0
        cdef bint code = 0 < target < self.section_count and self.section_view[COLUMNS * target + 5]
        if known > symtab_row[1] // SYMBOL:
            raise ValueError("more symbols than there are")
        with nogil:
            block = self._first_block(row[2])
            for number in range(row[3] // RELA):
                at = row[2] + RELA * number
                old_at = self._old_of(&block, at, RELA)
                if old_at < row[0] or old_at + RELA > row[0] + row[1] or (old_at - row[0]) % RELA:
                    continue
                value = load64(self.old + old_at)
                self._note(target, value, self._code64(at, self._moved(target, value)))
                kind = load32(self.old + old_at + 8)
                symbol = load32(self.old + old_at + 12)
                if symbol < known and symbols[symbol] >= 0:
                    self._code32(at + 12, <uint32_t>symbols[symbol])
                else:
                    added = self._code32(at + 12, symbol + added) - symbol
                if symbol >= known:
                    continue
                section = symtab_row[0] + SYMBOL * <int64_t>symbol
                if (self.old[section + 4] & 15) != SECTION_SYMBOL:
                    continue
                section = self.old[section + 6] | (<int64_t>self.old[section + 7] << 8)
                bias = 4 if code and (kind == PC32 or kind == PLT32) else 0
                value = load64(self.old + old_at + 16) + bias
                self._note(section, value, self._code64(at + 16, self._moved(section, value) - bias) + bias)

    def types(self, int64_t table, int64_t start, int64_t size):
        """Code the type records in `.BTF`, which are at old[start : start + size]."""
        cdef const int64_t *row = self._table(table)
        cdef int64_t b, at, old_at, last
        cdef int place
        cdef unsigned char *kinds
        cdef uint32_t value
        cdef Shift *shift
        if start < row[0] or size < 4 or start > row[0] + row[1] - size:
            raise ValueError("types leave their section")
        kinds = <unsigned char *>malloc(size // 4)
        if kinds == NULL:
            raise MemoryError("kinds of words")
        try:
            with nogil:
                memset(kinds, OTHER, size // 4)
                word_kinds(self.old + start, size, kinds)
                self.name_shift.count = self.type_shift.count = 0
                self.name_shift.last = self.type_shift.last = 0
                b = self._first_block(row[2])
                while b < self.block_count and self.blocks[3 * b] < row[2] + row[3]:
                    old_at = self.blocks[3 * b + 1]
                    last = old_at + self.blocks[3 * b + 2] - 4
                    if last > start + size // 4 * 4 - 4:
                        last = start + size // 4 * 4 - 4
                    old_at = start if old_at <= start else old_at + (4 - (old_at - start) % 4) % 4
                    while old_at <= last:
                        at = old_at - self.blocks[3 * b + 1] + self.blocks[3 * b]
                        value = load32(self.old + old_at)
                        if kinds[(old_at - start) // 4] and value and row[2] <= at <= row[2] + row[3] - 4:
                            shift = &self.name_shift if kinds[(old_at - start) // 4] == NAME else &self.type_shift
                            place = find(shift, value)
                            learn(shift, place, value, self._code32(at, guess(shift, place, value)) - value)
                        old_at += 4
                    b += 1
        finally:
            free(kinds)


def blank_types(unsigned char[::1] image not None, int64_t start, int64_t size):
    """Zero the names and type numbers of BTF records at image[start : start + size]."""
    cdef int64_t i
    cdef unsigned char *kinds
    if start < 0 or size < 4 or start > image.shape[0] - size:
        raise ValueError("types leave the image")
    kinds = <unsigned char *>malloc(size // 4)
    if kinds == NULL:
        raise MemoryError("kinds of words")
    with nogil:
        memset(kinds, OTHER, size // 4)
        word_kinds(&image[start], size, kinds)
        for i in range(size // 4):
            if kinds[i]:
                store32(&image[start + 4 * i], 0)
    free(kinds)


def blank_symbols(unsigned char[::1] image not None, int64_t start, const uint32_t[::1] meanings not None):
    """Replace what numbers symbols by what they mean: `meanings`, one number for each."""
    cdef int64_t i
    if start < 0 or start > image.shape[0] - meanings.shape[0] * SYMBOL:
        raise ValueError("symbols leave the image")
    for i in range(meanings.shape[0]):
        store32(&image[start + SYMBOL * i], meanings[i])
        image[start + SYMBOL * i + 6] = image[start + SYMBOL * i + 7] = 0
        store64(&image[start + SYMBOL * i + 8], 0)


def blank_relocations(
    unsigned char[::1] image not None, int64_t start, int64_t size, const uint32_t[::1] meanings not None,
    const int64_t[::1] places not None, int bias,
):
    """Replace what relocations point at by what it is.

    Args:
        meanings: one number for each symbol.
        places: for each symbol the offset in `image` that addends count from, or -1 when the addend stays.
        bias: added to addends first.
    """
    cdef int64_t i, at, place
    cdef uint32_t symbol, content
    if start < 0 or size < 0 or start > image.shape[0] - size or places.shape[0] != meanings.shape[0]:
        raise ValueError("relocations leave the image")
    for i in range(size // RELA):
        at = start + RELA * i
        store64(&image[at], 0)
        symbol = load32(&image[at + 12])
        if symbol >= meanings.shape[0]:
            continue
        store32(&image[at + 12], meanings[symbol])
        if places[symbol] < 0:
            continue
        place = <int64_t>(load64(&image[at + 16]) + bias)
        if 0 <= place < image.shape[0] - places[symbol] - 8:
            place += places[symbol]
            content = load32(&image[place]) * 0x9E3779B1U ^ load32(&image[place + 4]) * 0x85EBCA6BU
            store64(&image[at + 16], content)
