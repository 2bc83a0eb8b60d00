# Predicting the next token as a known family of encoders would choose it: hash chains, greedy or lazy.
#
# The families: zlib and GNU gzip (3-byte hash, each byte inserted, lazy search must beat the match before), Go's compress/flate and the
# chain levels of its klauspost relative (4-byte multiplicative hash, minimum match 4). What Parameters says was read off the encoders'
# published descriptions and checked against their output.
#
# Positions are offsets into one buffer of plain bytes that slides; all of them move together in `slide`.

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from .deflate_fast cimport Fast, close_fast, open_fast, predict_fast, reset_fast, restart_fast, slide_fast

cdef enum:
    FAMILY_ZLIB = 0
    FAMILY_GZIP = 1
    FAMILY_GO = 2
    FAMILY_FAST = 3  # klauspost's level 5, in deflate_fast.pxd
    FAMILY_MINIZ = 4
    HASH_ROLLING = 0
    HASH_GO = 1  # big-endian word, 17 bits
    HASH_KLAUSPOST = 2  # little-endian word, 17 bits
    NEVER = -(1 << 30)  # a position that no distance reaches
    WINDOW_MASK = 32767


cdef struct Parameters:
    int family
    int level  # of the encoder, for what follows from it besides the numbers here
    int window_bits
    int hash_bits
    int hash_kind
    bint lazy
    int good
    int max_lazy  # lazy: no search behind a match of this length; greedy: longer matches are not inserted
    int nice
    int chain
    int too_far  # shortest matches further away are not taken; 0: no limit
    int too_far_length
    int min_length
    int filtered  # matches up to this length are not taken (zlib's Z_FILTERED: 5)
    int only  # 0 any match, 1 none (Huffman only), 2 distance 1 only (run lengths)
    int block_tokens  # a block ends with so many tokens; 0: only where corrections say
    bint cut_blocks  # GNU gzip's early end of blocks


cdef struct Model:
    Parameters with_
    Fast fast
    int32_t* head
    int32_t* prev
    const uint8_t* data  # position 0
    int32_t inserted  # positions below are in the chains
    int32_t start  # position of the stream's first byte; NEVER-like once out of reach
    int32_t base  # position of the encoder's window, where that matters
    int32_t end  # of the data that the encoder can see: the segment's end, or more than anyone looks ahead
    bint final_end  # `end` is the end of all data: GNU gzip looks behind it
    # The search at the position behind the last token, when the lazy evaluation has done it already.
    bint known
    int length
    int distance
    # What predict() found one further, for accept().
    bint next_known
    int next_length
    int next_distance


cdef inline int open_model(Model* self, const Parameters* parameters) noexcept nogil:
    cdef size_t i, size = <size_t> 1 << parameters.hash_bits
    memset(self, 0, sizeof(Model))
    self.with_ = parameters[0]
    self.head = <int32_t*> malloc(size * sizeof(int32_t))
    self.prev = <int32_t*> malloc((WINDOW_MASK + 1) * sizeof(int32_t))
    if self.head == NULL or self.prev == NULL:
        return -1
    if parameters.family == FAMILY_FAST and open_fast(&self.fast):
        return -1
    reset_model(self)
    return 0


cdef inline void reset_model(Model* self) noexcept nogil:
    """Forget all positions."""
    cdef size_t i, size = <size_t> 1 << self.with_.hash_bits
    for i in range(size):
        self.head[i] = NEVER
    for i in range(WINDOW_MASK + 1):
        self.prev[i] = NEVER
    self.known = False


cdef inline void restart_model(Model* self, int32_t at, int32_t first) noexcept nogil:
    """Begin at `at` without what is before; klauspost's takes a dictionary of the bytes from `first`."""
    if self.with_.family == FAMILY_FAST:
        restart_fast(&self.fast, self.data, at, first)
        return
    reset_model(self)
    self.inserted = at


cdef inline void close_model(Model* self) noexcept nogil:
    close_fast(&self.fast)
    free(self.head)
    free(self.prev)
    self.head = NULL
    self.prev = NULL


cdef inline void slide_model(Model* self, int32_t by) noexcept nogil:
    """All positions become smaller by `by`, a multiple of the window size."""
    cdef size_t i, size = <size_t> 1 << self.with_.hash_bits
    if self.with_.family == FAMILY_FAST:
        slide_fast(&self.fast, by)
    for i in range(size):
        self.head[i] = self.head[i] - by if self.head[i] > NEVER // 2 else NEVER
    for i in range(WINDOW_MASK + 1):
        self.prev[i] = self.prev[i] - by if self.prev[i] > NEVER // 2 else NEVER
    self.inserted -= by
    self.start = self.start - by if self.start > NEVER // 2 else NEVER
    self.base -= by
    self.end -= by


cdef inline uint32_t _hash(const Model* self, int32_t at) noexcept nogil:
    cdef const uint8_t* p = self.data + at
    cdef uint32_t word
    cdef int shift
    if self.with_.hash_kind == HASH_ROLLING:
        shift = (self.with_.hash_bits + 2) // 3
        word = (<uint32_t> p[0] << (2 * shift)) ^ (<uint32_t> p[1] << shift) ^ p[2]
        return word & ((<uint32_t> 1 << self.with_.hash_bits) - 1)
    if self.with_.hash_kind == HASH_GO:
        word = <uint32_t> p[0] << 24 | <uint32_t> p[1] << 16 | <uint32_t> p[2] << 8 | p[3]
        return (word * <uint32_t> 0x1E35A7BD) >> (32 - self.with_.hash_bits)
    word = <uint32_t> p[3] << 24 | <uint32_t> p[2] << 16 | <uint32_t> p[1] << 8 | p[0]
    return (word * <uint32_t> 2654435761) >> (32 - self.with_.hash_bits)


cdef inline void _insert_rolling(Model* self, int32_t at) noexcept nogil:
    cdef int32_t* head = self.head
    cdef int32_t* prev = self.prev
    cdef const uint8_t* data = self.data
    cdef int shift = (self.with_.hash_bits + 2) // 3
    cdef uint32_t mask = (<uint32_t> 1 << self.with_.hash_bits) - 1, h
    cdef int32_t i
    for i in range(self.inserted, at + 1):
        h = ((<uint32_t> data[i] << (2 * shift)) ^ (<uint32_t> data[i + 1] << shift) ^ data[i + 2]) & mask
        prev[i & WINDOW_MASK] = head[h]
        head[h] = i


cdef inline void insert_up_to(Model* self, int32_t at) noexcept nogil:
    """Insert every position up to `at` that has enough bytes behind it."""
    cdef int32_t i, last = self.end - self.with_.min_length
    cdef uint32_t h
    if self.with_.family == FAMILY_FAST:
        return
    if self.with_.family == FAMILY_GZIP and self.final_end:
        last = self.end - 1  # hashes what lies behind the end
    if at > last:
        at = last
    if self.with_.hash_kind == HASH_ROLLING:
        _insert_rolling(self, at)
    else:
        for i in range(self.inserted, at + 1):
            h = _hash(self, i)
            self.prev[i & WINDOW_MASK] = self.head[h]
            self.head[h] = i
    if at + 1 > self.inserted:
        self.inserted = at + 1


cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    /* How many bytes are equal, at most `limit`. */
    static inline int smidgen_same_bytes(const uint8_t *a, const uint8_t *b, int limit) {
        int i = 0;
        while (i + 8 <= limit) {
            uint64_t x, y;
            memcpy(&x, a + i, 8);
            memcpy(&y, b + i, 8);
            if (x != y) {
    #if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
                return i + (__builtin_ctzll(x ^ y) >> 3);
    #else
                break;
    #endif
            }
            i += 8;
        }
        while (i < limit && a[i] == b[i])
            i++;
        return i;
    }

    static inline uint16_t smidgen_two(const uint8_t *p) {
        uint16_t x;
        memcpy(&x, p, 2);
        return x;
    }
    """
    int _same_bytes "smidgen_same_bytes"(const uint8_t* a, const uint8_t* b, int limit) noexcept nogil
    uint16_t _two "smidgen_two"(const uint8_t* p) noexcept nogil


cdef inline int _search_zlib(Model* self, int32_t at, int best, int* distance) noexcept nogil:
    """The longest match longer than `best`, or `best`."""
    cdef const Parameters* p = &self.with_
    cdef int32_t max_distance = (<int32_t> 1 << p.window_bits) - 262
    cdef int32_t candidate, limit, lookahead = self.end - at
    cdef int chain = p.chain, nice = p.nice, most = 258, length, found = best
    cdef const int32_t* prev = self.prev
    cdef const uint8_t* data = self.data
    cdef const uint8_t* scan = data + at
    cdef const uint8_t* match
    cdef uint16_t first, last
    cdef bint bounded = p.family != FAMILY_GZIP or not self.final_end
    if (lookahead < 3 and bounded) or at >= self.inserted:
        return best
    candidate = prev[at & WINDOW_MASK]
    if candidate <= self.start or at - candidate > max_distance:
        return best
    limit = at - max_distance
    if limit < self.start:
        limit = self.start
    if best >= p.good:
        chain >>= 2
    if bounded:
        if nice > lookahead:
            nice = lookahead
        if most > lookahead:
            most = lookahead
        if found >= most:
            return best
    first = _two(scan)
    last = _two(scan + found - 1)
    while True:
        match = data + candidate
        if _two(match + found - 1) == last and _two(match) == first:
            length = 2 + _same_bytes(match + 2, scan + 2, most - 2)
            if length > found:
                found = length
                distance[0] = at - candidate
                if length >= nice or length >= most:
                    break
                last = _two(scan + found - 1)
        candidate = prev[candidate & WINDOW_MASK]
        if candidate <= limit:
            break
        chain -= 1
        if chain == 0:
            break
    if found == best:
        return best
    if found > lookahead:
        found = lookahead
    if found <= p.filtered:
        return 2
    if found == 3 and p.too_far and distance[0] > p.too_far:
        return 2
    return found


cdef inline int _search_miniz(Model* self, int32_t at, int best, int* distance) noexcept nogil:
    """Chains are walked in groups of three, and positions are kept in 16 bits with 0 meaning none."""
    cdef const Parameters* p = &self.with_
    cdef const int32_t* prev = self.prev
    cdef uint16_t first, last
    cdef int32_t candidate = at, lookahead = self.end - at, reach = at - self.start
    cdef int length, found, most = 258 if lookahead > 258 else lookahead, tries, probe
    cdef const uint8_t* scan = self.data + at
    cdef const uint8_t* match
    if best < 2:
        best = 2
    found = best
    if most <= found or at >= self.inserted:
        return 0
    if reach > 32768 - most:
        reach = 32768 - most
    tries = ((p.chain if best < p.good else p.chain >> 2) + 2) // 3
    probe = 0
    first = _two(scan)
    last = _two(scan + found - 1)
    while True:
        if probe == 0:
            if tries == 0:
                break
            tries -= 1
            probe = 3
        probe -= 1
        candidate = prev[candidate & WINDOW_MASK]
        if (candidate & 0xFFFF) == 0 or at - candidate > reach:
            break
        match = self.data + candidate
        if _two(match + found - 1) != last:
            continue
        probe = 0
        if _two(match) != first:
            continue
        length = _same_bytes(match, scan, most)
        if length > found:
            found = length
            distance[0] = at - candidate
            if length == most:
                break
            last = _two(scan + found - 1)
    if found == best:
        return 0
    if (found == 3 and distance[0] >= p.too_far) or distance[0] == (at & WINDOW_MASK):
        return 0
    return found


cdef inline int _search_go(Model* self, int32_t at, int best, int* distance) noexcept nogil:
    cdef const Parameters* p = &self.with_
    cdef const int32_t* prev = self.prev
    cdef int32_t candidate, limit, lookahead = self.end - at
    cdef int tries = p.chain, nice = p.nice, most = 258, length, found = 3
    cdef const uint8_t* scan = self.data + at
    cdef const uint8_t* match
    if lookahead <= 3 or lookahead <= best or at >= self.inserted:
        return 3
    # The window moves by 32 KiB when less than a longest match is left of it and there is more to come.
    while at - self.base > 65274 and self.end > self.base + 65536:
        self.base += 32768
    candidate = prev[at & WINDOW_MASK]
    limit = at - 32768
    if limit < self.base:
        limit = self.base
    if candidate < limit:
        return 3
    if most > lookahead:
        most = lookahead
    if nice > most:
        nice = most
    while tries > 0:
        tries -= 1
        match = self.data + candidate
        if match[found] == scan[found]:
            length = _same_bytes(match, scan, most)
            if length > found and (length > p.too_far_length or not p.too_far or at - candidate <= p.too_far):
                found = length
                distance[0] = at - candidate
                if length >= nice:
                    break
        if candidate == at - 32768:
            break
        candidate = prev[candidate & WINDOW_MASK]
        if candidate < limit:
            break
    return found


cdef inline int _search(Model* self, int32_t at, int best, int* distance) noexcept nogil:
    cdef int length
    if at >= self.end:
        return self.with_.min_length - 1
    insert_up_to(self, at)
    if self.with_.only:
        if self.with_.only == 1 or at == self.start:
            return self.with_.min_length - 1
        length = self.end - at
        length = _same_bytes(self.data + at - 1, self.data + at, length if length < 258 else 258)
        distance[0] = 1
        return length if length >= 3 else 2
    if self.with_.family == FAMILY_GO:
        return _search_go(self, at, best, distance)
    if self.with_.family == FAMILY_MINIZ:
        return _search_miniz(self, at, best, distance)
    return _search_zlib(self, at, best, distance)


cdef inline uint32_t predict(Model* self, int32_t at) noexcept nogil:
    """The token at `at`: length << 16 | distance, or the literal byte."""
    cdef int none = self.with_.min_length - 1
    if self.with_.family == FAMILY_FAST:
        self.next_known = False
        return predict_fast(&self.fast, self.data, at, self.end)
    if not self.known:
        self.distance = 0
        self.length = _search(self, at, none, &self.distance)
    self.next_known = False
    if self.with_.lazy:
        self.next_known = True
        self.next_length = none
        self.next_distance = 0
        if self.length < self.with_.max_lazy:
            self.next_length = _search(self, at + 1, self.length, &self.next_distance)
        elif at + 1 < self.end:
            insert_up_to(self, at + 1)
        if self.length > none and self.next_length <= self.length:
            return <uint32_t> self.length << 16 | <uint32_t> self.distance
    elif self.length > none:
        return <uint32_t> self.length << 16 | <uint32_t> self.distance
    return self.data[at]


cdef inline void accept(Model* self, int32_t at, uint32_t token) noexcept nogil:
    """`token` is what stands at `at`. Must follow predict() for the same position."""
    cdef int length = token >> 16
    if length == 0:
        self.known = self.next_known
        self.length = self.next_length
        self.distance = self.next_distance
        return
    self.known = False
    if self.with_.family == FAMILY_FAST:
        return
    if self.with_.lazy or length <= self.with_.max_lazy:
        insert_up_to(self, at + length - 1)
    else:
        if self.inserted < at + length:
            self.inserted = at + length


cdef inline int hops_of(Model* self, int32_t at, int length, int distance, int limit) noexcept nogil:
    """Which one `distance` is among the chain's candidates that match `length` bytes; -1 when not among the first `limit`."""
    cdef int32_t candidate, low = at - 32768
    cdef int hops = 0, steps = 0
    if at >= self.inserted:
        return -1
    if low < self.start:
        low = self.start
    candidate = self.prev[at & WINDOW_MASK]
    while candidate > low and steps < 4096 and hops < limit:
        if at - candidate == distance:
            return hops
        if _same_bytes(self.data + candidate, self.data + at, length) >= length:
            hops += 1
        candidate = self.prev[candidate & WINDOW_MASK]
        steps += 1
    return -1


cdef inline int distance_of(Model* self, int32_t at, int length, int hops) noexcept nogil:
    """The distance that hops_of() counted; 0 when there is none."""
    cdef int32_t candidate, low = at - 32768
    cdef int steps = 0
    if at >= self.inserted:
        return 0
    if low < self.start:
        low = self.start
    candidate = self.prev[at & WINDOW_MASK]
    while candidate > low and steps < 4096:
        if _same_bytes(self.data + candidate, self.data + at, length) >= length:
            if hops == 0:
                return at - candidate
            hops -= 1
        candidate = self.prev[candidate & WINDOW_MASK]
        steps += 1
    return 0
