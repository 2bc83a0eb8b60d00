"""Aligning two buffers, allowing mismatches: the scan of bsdiff (Percival 2003) over a hash index of the old buffer.

Memory: 4 bytes per `step` bytes of old, plus a table of 4 * 2**bits bytes (bits = log2 of the positions, 10 to 24).
Old buffers above 2 GiB are indexed with a larger step, so positions always fit in 32 bits.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    static inline uint64_t sm_load64(const unsigned char *p) { uint64_t v; memcpy(&v, p, 8); return v; }
    static inline int64_t sm_equal(const unsigned char *a, const unsigned char *b, int64_t limit) {
        int64_t n = 0;
        while (n + 8 <= limit) {
            uint64_t x = sm_load64(a + n) ^ sm_load64(b + n);
            if (x) {
    #if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
                return n + (__builtin_clzll(x) >> 3);
    #else
                return n + (__builtin_ctzll(x) >> 3);
    #endif
            }
            n += 8;
        }
        while (n < limit && a[n] == b[n]) n++;
        return n;
    }
    static inline uint32_t sm_hash(const unsigned char *p, int bits) {
        uint64_t v = 0;
        for (int i = 0; i < 8; i++) v |= (uint64_t)p[i] << (8 * i);
        return (uint32_t)((v * 0x9E3779B97F4A7C15ull) >> (64 - bits));
    }
    """
    int64_t sm_equal(const unsigned char *a, const unsigned char *b, int64_t limit) nogil
    uint32_t sm_hash(const unsigned char *p, int bits) nogil

cdef enum:
    KEY = 8          # bytes hashed
    ENOUGH = 2048    # a match of this length is taken without looking for a longer one
    DIAGONAL = 24    # so many equal bytes on the current diagonal make a search needless

cdef struct Index:
    const unsigned char *old
    int64_t size
    int32_t *head
    int32_t *chain
    int bits
    int step
    int depth
    int gain

cdef struct Blocks:
    int64_t *data
    int64_t count
    int64_t room


cdef int _add(Blocks *blocks, int64_t new_at, int64_t old_at, int64_t length) noexcept nogil:
    cdef int64_t *grown
    if length <= 0:
        return 0
    if blocks.count == blocks.room:
        blocks.room = blocks.room * 2 + 64
        grown = <int64_t *>realloc(blocks.data, blocks.room * 3 * sizeof(int64_t))
        if grown == NULL:
            return -1
        blocks.data = grown
    blocks.data[3 * blocks.count] = new_at
    blocks.data[3 * blocks.count + 1] = old_at
    blocks.data[3 * blocks.count + 2] = length
    blocks.count += 1
    return 0


cdef void _fill(Index *index) noexcept nogil:
    cdef int64_t at, slot
    cdef uint32_t key
    memset(index.head, 0xFF, sizeof(int32_t) << index.bits)
    # backwards, so that chains run from the front of the buffer to its end
    at = ((index.size - KEY) // index.step) * index.step if index.size >= KEY else -1
    while at >= 0:
        key = sm_hash(index.old + at, index.bits)
        slot = at // index.step
        index.chain[slot] = index.head[key]
        index.head[key] = <int32_t>slot
        at -= index.step


cdef int64_t _search(Index *index, const unsigned char *new, int64_t left, int64_t hint, int64_t *found) noexcept nogil:
    """Length of the longest match found for new[0:left], its place in found[0]; `hint` is tried first."""
    cdef int64_t best = 0, length, at, limit
    cdef int32_t slot
    cdef int tries = index.depth
    if 0 <= hint < index.size:
        limit = index.size - hint
        best = sm_equal(index.old + hint, new, limit if limit < left else left)
        found[0] = hint
        if best >= DIAGONAL:
            return best
    if left < KEY:
        return best
    slot = index.head[sm_hash(new, index.bits)]
    while slot >= 0 and tries > 0:
        at = <int64_t>slot * index.step
        limit = index.size - at
        if limit > left:
            limit = left
        if limit > best and index.old[at + best] == new[best]:
            length = sm_equal(index.old + at, new, limit)
            if length > best:
                best = length
                found[0] = at
                if best >= ENOUGH:
                    break
        slot = index.chain[slot]
        tries -= 1
    return best


cdef int _scan(Index *index, const unsigned char *new, int64_t size, Blocks *blocks) noexcept nogil:
    cdef const unsigned char *old = index.old
    cdef int64_t old_size = index.size
    cdef int64_t scan = 0, length = 0, pos = 0
    cdef int64_t last_scan = 0, last_pos = 0, offset = 0
    cdef int64_t score, ahead, i, s, best, forward, backward, overlap, cut
    while scan < size:
        score = 0
        scan += length
        ahead = scan
        while scan < size:
            length = _search(index, new + scan, size - scan, scan + offset, &pos)
            while ahead < scan + length:
                if 0 <= ahead + offset < old_size and old[ahead + offset] == new[ahead]:
                    score += 1
                ahead += 1
            if (length == score and length != 0) or length > score + index.gain:
                break
            if 0 <= scan + offset < old_size and old[scan + offset] == new[scan]:
                score -= 1
            scan += 1
        if length == score and scan < size:
            continue
        # extend the last match forwards and this one backwards while more bytes agree than not
        s = best = forward = i = 0
        while last_scan + i < scan and last_pos + i < old_size:
            if old[last_pos + i] == new[last_scan + i]:
                s += 1
            i += 1
            if s * 2 - i > best * 2 - forward:
                best = s
                forward = i
        backward = 0
        if scan < size:
            s = best = 0
            i = 1
            while scan >= last_scan + i and pos >= i:
                if old[pos - i] == new[scan - i]:
                    s += 1
                if s * 2 - i > best * 2 - backward:
                    best = s
                    backward = i
                i += 1
        if last_scan + forward > scan - backward:
            overlap = (last_scan + forward) - (scan - backward)
            s = best = cut = 0
            for i in range(overlap):
                if new[last_scan + forward - overlap + i] == old[last_pos + forward - overlap + i]:
                    s += 1
                if new[scan - backward + i] == old[pos - backward + i]:
                    s -= 1
                if s > best:
                    best = s
                    cut = i + 1
            forward += cut - overlap
            backward -= cut
        if _add(blocks, last_scan, last_pos, forward) < 0:
            return -1
        last_scan = scan - backward
        last_pos = pos - backward
        offset = pos - scan
    return 0


def align(const unsigned char[::1] old not None, const unsigned char[::1] new not None, int depth=32, int step=1,
          int gain=8):
    """Blocks of `new` that resemble `old`.

    Args:
        depth: how many candidates are compared per position; more is slower and finds longer matches.
        step: index every step-th position of old only; saves memory and time.
        gain: so many more bytes than on the current diagonal must agree for a new block; more gives fewer blocks.
    Returns:
        array of int64 as bytes in native order: triples (offset in new, offset in old, length), ascending in new, not
        overlapping in new. What no block covers is new.
    Raises MemoryError.
    """
    cdef Index index
    cdef Blocks blocks
    cdef int64_t positions
    cdef int failed
    cdef const unsigned char *target = &new[0] if new.shape[0] else NULL
    if not new.shape[0] or not old.shape[0]:
        return b""
    index.old = &old[0]
    index.size = old.shape[0]
    while index.size // step >= 0x7FFFFFFF:
        step *= 2
    index.step = step
    index.depth = depth
    index.gain = gain
    positions = index.size // step + 1
    index.bits = 10
    while index.bits < 24 and (<int64_t>1 << index.bits) < positions:
        index.bits += 1
    blocks.data = NULL
    blocks.count = blocks.room = 0
    index.head = <int32_t *>malloc(sizeof(int32_t) << index.bits)
    index.chain = <int32_t *>malloc(positions * sizeof(int32_t))
    try:
        if index.head == NULL or index.chain == NULL:
            raise MemoryError("index of the old buffer")
        with nogil:
            _fill(&index)
            failed = _scan(&index, target, new.shape[0], &blocks)
        if failed:
            raise MemoryError("blocks of an alignment")
        return (<char *>blocks.data)[: blocks.count * 3 * sizeof(int64_t)] if blocks.count else b""
    finally:
        free(index.head)
        free(index.chain)
        free(blocks.data)
