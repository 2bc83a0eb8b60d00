"""Blocks of a tar, of 512 bytes: the checksum of a header, and what one has that another has not."""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy

cdef enum:
    BLOCK = 512
    SUM_AT = 148      # checksum field
    SUM_END = 156
    SIZE_AT = 124     # size field
    SIZE_END = 136
    JOINED = 2        # so many equal bytes between changes are taken for changed: a run more costs as much
    LONGEST = 255     # a run, and what lies between two


cdef const uint8_t *bytes_of(bytes block) except NULL:
    if len(block) != BLOCK:
        raise ValueError("not a block of a tar")
    return <const uint8_t *><const char *>block


cdef int equal_bytes(const uint8_t *one, const uint8_t *other) noexcept nogil:
    cdef int i, j, found = 0
    cdef uint8_t part
    for i in range(0, BLOCK, 128):  # sums of 128 fit a byte, which compilers make quick
        part = 0
        for j in range(128):
            part += one[i + j] == other[i + j]
        found += part
    return found


def checksum(bytes block not None) -> int:
    """The unsigned sum of a header block, its checksum field counted as blanks. Raises ValueError unless 512 bytes."""
    cdef const uint8_t *data = bytes_of(block)
    cdef uint32_t found = 0
    cdef int i
    for i in range(BLOCK):
        found += data[i]
    for i in range(SUM_AT, SUM_END):
        found += 32 - <uint32_t>data[i]
    return found


def changes(bytes block not None, tuple bases not None, bint without_sum, bint without_size):
    """What turns the most similar of `bases`, the first of them if there are several, into `block`.

    Args:
        bases: at least one.
        without_sum, without_size: leave that field out, though it counts as similar or not.
    Returns the number of the base; pairs of bytes, how many stay and how many are replaced; the latter bytes.
    Raises ValueError for what is no block.
    """
    cdef const uint8_t *data = bytes_of(block)
    cdef const uint8_t *base = NULL
    cdef const uint8_t *other
    cdef uint8_t mask[BLOCK]
    cdef uint8_t runs[2 * BLOCK]
    cdef uint8_t changed[BLOCK]
    cdef int i, number, equal, best = -1, most = -1, start, end, gap, length, at = 0, used = 0, size = 0
    for number in range(len(bases)):
        other = bytes_of(bases[number])
        equal = equal_bytes(data, other)
        if equal > most:
            most, best, base = equal, number, other
    if base == NULL:
        raise ValueError("nothing to compare with")
    for i in range(BLOCK):
        mask[i] = data[i] ^ base[i]
    if without_sum:
        for i in range(SUM_AT, SUM_END):
            mask[i] = 0
    if without_size:
        for i in range(SIZE_AT, SIZE_END):
            mask[i] = 0
    i = 0
    while i < BLOCK:
        if not mask[i]:
            i += 1
            continue
        start = i
        end = i + 1
        i += 1
        while i < BLOCK and i - end <= JOINED:
            if mask[i]:
                end = i + 1
            i += 1
        i = end
        while start < end:
            gap = min(start - at, LONGEST)
            length = 0 if start - at > LONGEST else min(end - start, LONGEST)
            runs[used] = gap
            runs[used + 1] = length
            used += 2
            memcpy(changed + size, data + start, length)
            size += length
            at += gap + length
            start += length
    return best, (<const char *>runs)[:used], (<const char *>changed)[:size]
