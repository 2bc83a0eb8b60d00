"""Differences along an alignment, and back: bytes mod 256; and the blocks of an alignment as patches hold them."""

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy


def subtract(const unsigned char[::1] new not None, const unsigned char[::1] base not None, unsigned char[::1] out not None):
    """out = new - base; all of one length."""
    cdef int64_t i, size = new.shape[0]
    if base.shape[0] != size or out.shape[0] != size:
        raise ValueError("lengths differ")
    with nogil:
        for i in range(size):
            out[i] = <unsigned char>(new[i] - base[i])


def add(unsigned char[::1] target not None, const unsigned char[::1] diff not None):
    """target += diff; both of one length."""
    cdef int64_t i, size = target.shape[0]
    if diff.shape[0] != size:
        raise ValueError("lengths differ")
    with nogil:
        for i in range(size):
            target[i] = <unsigned char>(target[i] + diff[i])


cdef inline int64_t number(const unsigned char *data, int64_t *at, int64_t end) noexcept nogil:
    """The varint at `at`, which moves behind it; -1 for one of more than 8 bytes, cut short or not in shortest form."""
    cdef uint64_t value = 0
    cdef int shift = 0
    cdef unsigned char byte
    while at[0] < end and shift < 56:
        byte = data[at[0]]
        at[0] += 1
        value |= <uint64_t>(byte & 0x7F) << shift
        if byte < 0x80:
            return -1 if byte == 0 and shift else <int64_t>value
        shift += 7
    return -1


cdef int64_t decode(
    const unsigned char *data, int64_t at, int64_t end, int64_t old_size, int64_t size, int64_t *out, int64_t count
) noexcept nogil:
    cdef int64_t i, column, value, new_at = 0, old_at = 0, covered = 0
    for column in range(3):
        for i in range(count):
            value = number(data, &at, end)
            if value < 0:
                return -1
            out[3 * i + column] = value
    for i in range(count):
        if out[3 * i] > size or out[3 * i + 2] >= size:
            return -1
        new_at += out[3 * i]
        value = out[3 * i + 1]
        old_at += -((value + 1) // 2) if value & 1 else value // 2
        out[3 * i] = new_at
        out[3 * i + 1] = old_at
        out[3 * i + 2] += 1
        if new_at > size - out[3 * i + 2] or not 0 <= old_at <= old_size - out[3 * i + 2]:
            return -1
        new_at += out[3 * i + 2]
        old_at += out[3 * i + 2]
        covered += out[3 * i + 2]
    return covered if at == end else -1


def blocks_of(const unsigned char[::1] data not None, int64_t at, int64_t old_size, int64_t size, int64_t[::1] out not None):
    """Decode the blocks of a patch: gaps, steps and lengths, as many of each as `out` has triples, up to the end.

    out: (new, old, length) of each block, ascending in new, inside both files.
    Returns the bytes that blocks cover, or -1 when anything is odd; what, the caller finds out more slowly.
    """
    cdef int64_t count = out.shape[0] // 3, end = data.shape[0], covered
    if not 0 <= at <= end or out.shape[0] % 3:
        raise ValueError("blocks outside of the data")
    if not count:
        return 0 if at == end else -1
    if at == end:
        return -1
    with nogil:
        covered = decode(&data[0], at, end, old_size, size, &out[0], count)
    return covered


cdef int64_t bounded(
    const int64_t *block, int64_t done, int64_t used, int64_t size, int64_t diff, int64_t extra
) except -1:
    """Where a block ends in the new file. ValueError unless it lies behind `done`, with its bytes in the streams."""
    cdef int64_t at = block[0], length = block[2]
    if length < 0 or at < done or at > size - length:
        raise ValueError("a block leaves a file")
    if length > diff - used or at - used > extra:
        raise ValueError("a block leaves its stream")
    return at + length


cdef int build(
    const unsigned char[::1] old, bint copying, const int64_t[::1] blocks, const unsigned char[::1] diff,
    const unsigned char[::1] extra, unsigned char[::1] out,
) except -1:
    """Fill `out` block by block; with `copying`, blocks are taken from `old` first."""
    cdef int64_t i, k, at, old_at, end, done = 0, used = 0, size = out.shape[0]
    if diff.shape[0] + extra.shape[0] != size or blocks.shape[0] % 3:
        raise ValueError("streams do not fill the file")
    for i in range(blocks.shape[0] // 3):
        end = bounded(&blocks[3 * i], done, used, size, diff.shape[0], extra.shape[0])
        at, old_at = blocks[3 * i], blocks[3 * i + 1]
        if copying and (old_at < 0 or old_at > old.shape[0] - (end - at)):
            raise ValueError("a block leaves a file")
        with nogil:
            if at > done:
                memcpy(&out[done], &extra[done - used], at - done)
            if copying and end > at:
                memcpy(&out[at], &old[old_at], end - at)
            for k in range(end - at):
                out[at + k] = <unsigned char>(out[at + k] + diff[used + k])
        used += end - at
        done = end
    if used != diff.shape[0]:
        raise ValueError("blocks do not use up their stream")
    if size > done:
        memcpy(&out[done], &extra[done - used], size - done)
    return 0


def assemble(
    const unsigned char[::1] old not None, const int64_t[::1] blocks not None, const unsigned char[::1] diff not None,
    const unsigned char[::1] extra not None, unsigned char[::1] out not None,
):
    """out = the blocks of `old` plus `diff`, and `extra` between them. Raises ValueError unless all of it fits."""
    build(old, True, blocks, diff, extra, out)


def complete(
    const int64_t[::1] blocks not None, const unsigned char[::1] diff not None, const unsigned char[::1] extra not None,
    unsigned char[::1] out not None,
):
    """out += `diff` in the blocks, and = `extra` between them. Raises ValueError unless all of it fits."""
    build(out, False, blocks, diff, extra, out)


def spread(const int64_t[::1] blocks not None, const unsigned char[::1] diff not None, unsigned char[::1] out not None):
    """`diff` where its blocks are in `out`. Raises ValueError unless all of it fits."""
    cdef int64_t i, end, done = 0, used = 0, size = out.shape[0]
    if blocks.shape[0] % 3:
        raise ValueError("not triples")
    for i in range(blocks.shape[0] // 3):
        end = bounded(&blocks[3 * i], done, used, size, diff.shape[0], size)
        if blocks[3 * i + 2]:
            memcpy(&out[blocks[3 * i]], &diff[used], blocks[3 * i + 2])
        used += blocks[3 * i + 2]
        done = end
    if used != diff.shape[0]:
        raise ValueError("blocks do not use up their stream")
