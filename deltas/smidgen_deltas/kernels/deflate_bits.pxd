# Growable buffers, the bit order of RFC 1951, and its length and distance codes (3.2.5) as arithmetic.

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy

cdef extern from *:
    int __builtin_clz(unsigned int value) noexcept nogil

# A token is length << 16 | distance, or a literal byte with length 0.
cdef enum:
    MIN_MATCH = 3
    MAX_MATCH = 258
    LITERALS = 286
    DISTANCES = 30
    CODE_LENGTHS = 19
    END_OF_BLOCK = 256
    FIRST_LENGTH = 257


cdef struct Bytes:
    uint8_t* data
    size_t size
    size_t room


cdef inline int reserve(Bytes* self, size_t more) noexcept nogil:
    """Make room for `more` bytes; -1 without memory."""
    cdef size_t room
    cdef uint8_t* data
    if self.size + more <= self.room:
        return 0
    room = self.room * 2 if self.room else 4096
    if room < self.size + more:
        room = self.size + more
    data = <uint8_t*> realloc(self.data, room)
    if data == NULL:
        return -1
    self.data = data
    self.room = room
    return 0


cdef inline int append(Bytes* self, const uint8_t* data, size_t size) noexcept nogil:
    if reserve(self, size):
        return -1
    memcpy(self.data + self.size, data, size)
    self.size += size
    return 0


cdef struct BitWriter:
    Bytes out
    uint64_t bits
    int count


cdef inline void put_bits(BitWriter* self, uint32_t value, int count) noexcept nogil:
    """Append the low `count` <= 16 bits. The caller has reserved room."""
    self.bits |= <uint64_t> value << self.count
    self.count += count
    while self.count >= 8:
        self.out.data[self.out.size] = <uint8_t> self.bits
        self.out.size += 1
        self.bits >>= 8
        self.count -= 8


cdef inline void align_bits(BitWriter* self) noexcept nogil:
    """Pad with zeros to a whole byte."""
    if self.count:
        self.out.data[self.out.size] = <uint8_t> self.bits
        self.out.size += 1
        self.bits = 0
        self.count = 0


cdef inline int length_code(int length) noexcept nogil:
    """0..28 for 3..258."""
    cdef int x = length - 3, n
    if x < 8:
        return x
    if x == 255:
        return 28
    n = 31 - __builtin_clz(<unsigned int> x)
    return 4 * (n - 1) + ((x >> (n - 2)) & 3)


cdef inline int length_extra(int code) noexcept nogil:
    return 0 if code < 8 or code == 28 else (code >> 2) - 1


cdef inline int length_base(int code) noexcept nogil:
    if code < 8:
        return code + 3
    if code == 28:
        return 258
    return 3 + ((4 + (code & 3)) << length_extra(code))


cdef inline int distance_code(int distance) noexcept nogil:
    """0..29 for 1..32768."""
    cdef int x = distance - 1, n
    if x < 4:
        return x
    n = 31 - __builtin_clz(<unsigned int> x)
    return 2 * n + ((x >> (n - 1)) & 1)


cdef inline int distance_extra(int code) noexcept nogil:
    return 0 if code < 4 else (code >> 1) - 1


cdef inline int distance_base(int code) noexcept nogil:
    if code < 4:
        return code + 1
    return 1 + ((2 + (code & 1)) << distance_extra(code))
