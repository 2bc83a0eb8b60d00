"""CRC64 as .xz files use it (ECMA-182 polynomial, reflected)."""

from libc.stdint cimport uint8_t, uint64_t

cdef uint64_t[8][256] TABLE


cdef void _fill() noexcept nogil:
    cdef uint64_t value
    cdef int i, j
    for i in range(256):
        value = <uint64_t> i
        for j in range(8):
            value = (value >> 1) ^ (0xC96C5795D7870F42ULL if value & 1 else 0)
        TABLE[0][i] = value
    for j in range(1, 8):
        for i in range(256):
            value = TABLE[j - 1][i]
            TABLE[j][i] = TABLE[0][value & 0xFF] ^ (value >> 8)


cdef uint64_t _crc64(const uint8_t* data, Py_ssize_t size) noexcept nogil:
    cdef uint64_t value = ~<uint64_t> 0
    cdef Py_ssize_t i = 0
    while i + 8 <= size:
        value = (
            TABLE[7][(value ^ data[i]) & 0xFF]
            ^ TABLE[6][((value >> 8) ^ data[i + 1]) & 0xFF]
            ^ TABLE[5][((value >> 16) ^ data[i + 2]) & 0xFF]
            ^ TABLE[4][((value >> 24) ^ data[i + 3]) & 0xFF]
            ^ TABLE[3][((value >> 32) ^ data[i + 4]) & 0xFF]
            ^ TABLE[2][((value >> 40) ^ data[i + 5]) & 0xFF]
            ^ TABLE[1][((value >> 48) ^ data[i + 6]) & 0xFF]
            ^ TABLE[0][((value >> 56) ^ data[i + 7]) & 0xFF]
        )
        i += 8
    while i < size:
        value = TABLE[0][(value ^ data[i]) & 0xFF] ^ (value >> 8)
        i += 1
    return ~value


def crc64(const uint8_t[::1] data not None) -> int:
    """CRC64 of `data`."""
    cdef uint64_t value
    cdef Py_ssize_t size = data.shape[0]
    if not size:
        return 0
    with nogil:
        value = _crc64(&data[0], size)
    return value


_fill()
