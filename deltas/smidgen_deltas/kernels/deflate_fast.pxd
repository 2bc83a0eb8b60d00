# The default level (5) of klauspost's flate for Go, which pgzip uses and so skopeo, podman and buildah: a greedy encoder with one table of
# 4-byte and one of 7-byte hashes, each keeping the last one or two positions, working on chunks of 65,535 bytes.
#
# A chunk is predicted as a whole: its tokens stand in a queue. What the stream really has does not change the prediction, so a wrong
# token is followed by right ones as soon as token starts coincide again.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

cdef enum:
    CHUNK = 65535
    CHUNK_HISTORY = 5 * 65535  # bytes that the encoder keeps before it moves the last 32 KiB down
    REACH = 32768
    TABLE_BITS = 15
    MARGIN = 11  # no match starts so close to a chunk's end
    LEAST_CHUNK = 13
    LEAST_MATCHED_CHUNK = 128  # shorter ones at the end are only Huffman coded
    DICTIONARY = 16384  # what pgzip gives a block of the one before
    OUT_OF_REACH = -(1 << 30)

    CHUNK_MATCHED = 0
    CHUNK_LITERAL = 1
    CHUNK_STORED = 2


cdef struct Pair:
    int32_t current
    int32_t before


cdef struct Fast:
    int32_t* short_table
    Pair* long_table
    uint32_t* queue
    int32_t count  # tokens in the queue
    int32_t next  # index of the token at `at`
    int32_t at
    int32_t start  # of the chunk
    int32_t end
    int32_t history  # position of the first byte that matches may reach
    int kind  # of the chunk


cdef inline int open_fast(Fast* self) noexcept nogil:
    self.short_table = <int32_t*> malloc(sizeof(int32_t) << TABLE_BITS)
    self.long_table = <Pair*> malloc(sizeof(Pair) << TABLE_BITS)
    self.queue = <uint32_t*> malloc(sizeof(uint32_t) * (CHUNK + 1))
    if self.short_table == NULL or self.long_table == NULL or self.queue == NULL:
        return -1
    reset_fast(self, 0)
    return 0


cdef inline void close_fast(Fast* self) noexcept nogil:
    free(self.short_table)
    free(self.long_table)
    free(self.queue)
    self.short_table = NULL
    self.long_table = NULL
    self.queue = NULL


cdef inline void reset_fast(Fast* self, int32_t at) noexcept nogil:
    """Forget everything; nothing before `at` is reached."""
    cdef int i
    for i in range(1 << TABLE_BITS):
        self.short_table[i] = OUT_OF_REACH
        self.long_table[i].current = OUT_OF_REACH
        self.long_table[i].before = OUT_OF_REACH
    self.history = at
    self.start = at
    self.end = at
    self.at = at
    self.count = 0
    self.next = 0


cdef inline int32_t _moved(int32_t position, int32_t by) noexcept nogil:
    return position - by if position > OUT_OF_REACH // 2 else OUT_OF_REACH


cdef inline void slide_fast(Fast* self, int32_t by) noexcept nogil:
    cdef int i
    for i in range(1 << TABLE_BITS):
        self.short_table[i] = _moved(self.short_table[i], by)
        self.long_table[i].current = _moved(self.long_table[i].current, by)
        self.long_table[i].before = _moved(self.long_table[i].before, by)
    self.at -= by
    self.start -= by
    self.end -= by
    self.history -= by


cdef inline uint64_t _load8(const uint8_t* p) noexcept nogil:
    return (
        <uint64_t> p[0]
        | <uint64_t> p[1] << 8
        | <uint64_t> p[2] << 16
        | <uint64_t> p[3] << 24
        | <uint64_t> p[4] << 32
        | <uint64_t> p[5] << 40
        | <uint64_t> p[6] << 48
        | <uint64_t> p[7] << 56
    )


cdef inline bint _same4(const uint8_t* a, const uint8_t* b) noexcept nogil:
    return a[0] == b[0] and a[1] == b[1] and a[2] == b[2] and a[3] == b[3]


cdef inline uint32_t _short_hash(uint64_t word) noexcept nogil:
    return (<uint32_t> word * <uint32_t> 2654435761) >> (32 - TABLE_BITS)


cdef inline uint32_t _long_hash(uint64_t word) noexcept nogil:
    return <uint32_t> (((word << 8) * <uint64_t> 58295818150454627) >> (64 - TABLE_BITS))


cdef inline void _put_long(Fast* self, uint32_t hash, int32_t position) noexcept nogil:
    self.long_table[hash].before = self.long_table[hash].current
    self.long_table[hash].current = position


cdef inline int32_t _extend(const uint8_t* data, int32_t s, int32_t t, int32_t end) noexcept nogil:
    """Equal bytes at s and t, up to `end`."""
    cdef int32_t first = s
    cdef uint64_t x, y
    while s + 8 <= end:
        memcpy(&x, data + s, 8)
        memcpy(&y, data + t, 8)
        if x != y:
            break
        s += 8
        t += 8
    while s < end and data[s] == data[t]:
        s += 1
        t += 1
    return s - first


cdef inline int32_t _match(const uint8_t* data, int32_t s, int32_t t, int32_t end) noexcept nogil:
    """Length of the match at s, four bytes being equal, at most 258."""
    return 4 + _extend(data, s + 4, t + 4, end if end < s + 258 else s + 258)


cdef inline bint _near(int32_t s, int32_t t) noexcept nogil:
    return s - t < REACH


cdef inline void _emit_literals(Fast* self, const uint8_t* data, int32_t start, int32_t end) noexcept nogil:
    cdef int32_t i
    for i in range(start, end):
        self.queue[self.count] = data[i]
        self.count += 1


cdef inline void _emit_match(Fast* self, int32_t length, int32_t distance) noexcept nogil:
    """Cut in pieces that are all at least 3 long."""
    cdef int32_t part
    while length > 0:
        part = length
        if part > 258:
            part = 258 if length > 261 else 255
        self.queue[self.count] = <uint32_t> part << 16 | <uint32_t> distance
        self.count += 1
        length -= part


# What the search at one place found: s, t and the length so far (0: four bytes, not extended yet).
cdef struct Found:
    int32_t s
    int32_t t
    int32_t length
    int32_t following  # where the search would have gone on


cdef inline bint _find(Fast* self, const uint8_t* data, Found* found, int32_t emitted, int32_t limit, int32_t end) noexcept nogil:
    """The next match at or behind found.s; False when the chunk ends before."""
    cdef int32_t s, following = found.s, t, other, length, more
    cdef uint64_t here = _load8(data + found.s), there
    cdef uint32_t short_hash, long_hash
    cdef int32_t short_candidate
    cdef Pair candidate
    while True:
        short_hash = _short_hash(here)
        long_hash = _long_hash(here)
        s = following
        following = s + 1 + ((s - emitted) >> 6)
        found.following = following
        if following > limit:
            return False
        short_candidate = self.short_table[short_hash]
        candidate = self.long_table[long_hash]
        there = _load8(data + following)
        self.short_table[short_hash] = s
        _put_long(self, long_hash, s)
        short_hash = _short_hash(there)
        long_hash = _long_hash(there)
        found.s = s
        found.length = 0
        if _near(s, candidate.current):
            if _same4(data + s, data + candidate.current):
                self.short_table[short_hash] = following
                _put_long(self, long_hash, following)
                found.t = candidate.current
                if _near(s, candidate.before) and _same4(data + s, data + candidate.before):
                    length = _match(data, s, candidate.current, end)
                    more = _match(data, s, candidate.before, end)
                    found.length = length
                    if more > length:
                        found.t = candidate.before
                        found.length = more
                return True
            if _near(s, candidate.before) and _same4(data + s, data + candidate.before):
                self.short_table[short_hash] = following
                _put_long(self, long_hash, following)
                found.t = candidate.before
                return True
        if _near(s, short_candidate) and _same4(data + s, data + short_candidate):
            length = _match(data, s, short_candidate, end)
            found.t = short_candidate
            found.length = length
            candidate = self.long_table[long_hash]
            self.short_table[short_hash] = following
            _put_long(self, long_hash, following)
            if _near(following, candidate.current):
                for t in range(2):
                    other = candidate.before if t else candidate.current
                    if _near(following, other) and _same4(data + following, data + other):
                        more = _match(data, following, other, end)
                        if more > length:
                            found.s = following
                            found.t = other
                            found.length = more
                            break
            return True
        here = there


cdef inline void _improve(Fast* self, const uint8_t* data, Found* found, int32_t limit, int32_t end) noexcept nogil:
    """Extend, and look whether another match reaches further back from where this one ends."""
    cdef int32_t s2, t2, length
    if found.length == 0:
        found.length = 4 + _extend(data, found.s + 4, found.t + 4, end)
    elif found.length == 258:
        found.length += _extend(data, found.s + 258, found.t + 258, end)
    if found.length < 30 and found.s + found.length < limit:
        t2 = self.long_table[_long_hash(_load8(data + found.s + found.length))].current - found.length + 2
        s2 = found.s + 2
        if t2 >= self.history and s2 - t2 < REACH and s2 > t2:
            length = _extend(data, s2, t2, end)
            if length > found.length:
                found.t = t2
                found.s = s2
                found.length = length


cdef inline void _index_inside(Fast* self, const uint8_t* data, int32_t first, int32_t last) noexcept nogil:
    """Hash some positions from `first` on, before `last`."""
    cdef uint64_t word
    cdef int32_t i = first
    if i >= last:
        return
    word = _load8(data + i)
    self.short_table[_short_hash(word)] = i
    _put_long(self, _long_hash(word), i)
    word >>= 8
    _put_long(self, _long_hash(word), i + 1)
    word >>= 8
    self.short_table[_short_hash(word)] = i + 2
    i += 4
    while i < last:
        word = _load8(data + i)
        _put_long(self, _long_hash(word), i)
        self.short_table[_short_hash(word >> 8)] = i + 1
        i += 3


cdef inline void _encode(Fast* self, const uint8_t* data, int32_t start, int32_t end) noexcept nogil:
    """Fill the queue with a chunk's tokens; empty when there are no matches."""
    cdef int32_t limit = end - MARGIN, emitted = start
    cdef uint64_t word
    cdef Found found
    self.count = 0
    if end - start < LEAST_CHUNK:
        return
    found.s = start
    while _find(self, data, &found, emitted, limit, end):
        _improve(self, data, &found, limit, end)
        while found.t > self.history and found.s > emitted and data[found.t - 1] == data[found.s - 1]:
            found.s -= 1
            found.t -= 1
            found.length += 1
        _emit_literals(self, data, emitted, found.s)
        _emit_match(self, found.length, found.s - found.t)
        found.s += found.length
        emitted = found.s
        if found.following >= found.s:
            found.s = found.following + 1
        if found.s >= limit:
            break
        _index_inside(self, data, found.s - found.length + 1, found.s - 1)
        word = _load8(data + found.s - 1)
        self.short_table[_short_hash(word)] = found.s - 1
        _put_long(self, _long_hash(word), found.s - 1)
    if self.count and emitted < end:
        _emit_literals(self, data, emitted, end)


cdef inline void restart_fast(Fast* self, const uint8_t* data, int32_t at, int32_t first) noexcept nogil:
    """As pgzip starts a block at `at`: knowing the last 16 KiB since `first`, if there are more than that."""
    reset_fast(self, at)
    if at - first > DICTIONARY:
        self.history = at - DICTIONARY
        _encode(self, data, at - DICTIONARY, at)
        self.count = 0


cdef inline void begin_chunk(Fast* self, const uint8_t* data, int32_t at, int32_t end) noexcept nogil:
    """Predict the chunk at `at`, of which and whose segment `end` is the end."""
    cdef int32_t size
    if end - at > CHUNK:
        end = at + CHUNK
    size = end - at
    self.start = at
    self.end = end
    self.at = at
    self.next = 0
    self.kind = CHUNK_MATCHED
    if size < LEAST_MATCHED_CHUNK:
        reset_fast(self, end)
        self.start = at
        self.at = at
        self.kind = CHUNK_STORED if size <= 32 else CHUNK_LITERAL
    else:
        if at - self.history + size > CHUNK_HISTORY:
            self.history = at - REACH
        _encode(self, data, at, end)
        if self.count == 0:
            self.kind = CHUNK_STORED
        elif self.count > size - (size >> 4):
            self.kind = CHUNK_LITERAL
    if self.kind != CHUNK_MATCHED:
        self.count = 0
        _emit_literals(self, data, at, end)


cdef inline uint32_t predict_fast(Fast* self, const uint8_t* data, int32_t at, int32_t end) noexcept nogil:
    """The token at `at`, or a literal where none is supposed to start."""
    cdef uint32_t token
    if at >= self.end:
        begin_chunk(self, data, at, end)
    while self.at < at:
        token = self.queue[self.next]
        self.next += 1
        self.at += 1 if token < 256 else <int32_t> (token >> 16)
    return self.queue[self.next] if self.at == at and self.next < self.count else data[at]
