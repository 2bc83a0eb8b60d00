"""Sketches of files: the smallest hashes of content-defined chunks (MinHash), so that similar files share some.

Chunks end where a gear hash (each byte shifts the hash by one bit, so that it depends on the last 64 bytes) has eight
zero bits at its top, after at least 64 bytes and at most 4096: about 300 bytes each.
"""

from libc.stdint cimport int64_t, uint64_t

cdef enum:
    LEAST = 64
    MOST = 4096
    ROOM = 256

cdef uint64_t GEAR[256]


cdef uint64_t _mixed(uint64_t value) noexcept nogil:
    """splitmix64 (Vigna 2015): every bit of the result depends on every bit of `value`."""
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9ULL
    value = (value ^ (value >> 27)) * 0x94D049BB133111EBULL
    return value ^ (value >> 31)


cdef void _fill_gear() noexcept nogil:
    cdef uint64_t i
    for i in range(256):
        GEAR[i] = _mixed((i + 1) * 0x9E3779B97F4A7C15ULL)


_fill_gear()


cdef void _keep(uint64_t *kept, int *count, int most, uint64_t value) noexcept nogil:
    """Insert into ascending `kept` unless it is there or larger than all of a full table."""
    cdef int at = count[0], i
    if at == most and value >= kept[at - 1]:
        return
    while at > 0 and kept[at - 1] > value:
        at -= 1
    if at > 0 and kept[at - 1] == value:
        return
    i = count[0] if count[0] < most else most - 1
    while i > at:
        kept[i] = kept[i - 1]
        i -= 1
    kept[at] = value
    if count[0] < most:
        count[0] += 1


def sketch(const unsigned char[::1] data not None, int most=32):
    """Up to `most` (at most 256) smallest chunk hashes, ascending, as a list of numbers below 2**64."""
    cdef uint64_t kept[ROOM]
    cdef uint64_t gear = 0, chunk = 0
    cdef int64_t i, size = data.shape[0], start = 0
    cdef int count = 0
    if not 0 < most <= ROOM:
        raise ValueError("size of a sketch")
    with nogil:
        for i in range(size):
            gear = (gear << 1) + GEAR[data[i]]
            chunk = (chunk ^ data[i]) * 0x100000001B3ULL
            if (i - start >= LEAST and (gear >> 56) == 0) or i - start >= MOST or i + 1 == size:
                _keep(kept, &count, most, _mixed(chunk))
                chunk = 0
                start = i + 1
    return [kept[i] for i in range(count)]
