# Huffman codes as encoders build them, and the header that describes them (RFC 1951 3.2.7).
#
# Three builders, all deterministic in every tie: the heap with length limiting that zlib and GNU gzip share, package-merge in
# order of (frequency, symbol) as Go's libraries have it, and miniz's two queues. A block's real code lengths are coded as corrections to one of them.

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport qsort
from libc.string cimport memset

from .deflate_bits cimport CODE_LENGTHS, DISTANCES, FIRST_LENGTH, LITERALS, distance_extra, length_extra

cdef enum:
    BUILDER_ZLIB = 0
    BUILDER_GO = 1
    BUILDER_MINIZ = 2
    MAX_CODE_BITS = 15
    MAX_HEADER_BITS = 7
    MAX_LENGTHS = 320  # 286 + 30 and some room


cdef struct Header:
    int literals  # HLIT + 257
    int distances  # HDIST + 1
    int codes  # HCLEN + 4
    uint8_t lengths[320]  # literal/length lengths, then distance lengths directly behind
    uint8_t code_lengths[19]
    int ops
    uint8_t op[320]  # 0..15 a length, 16..18 a repeat
    uint8_t extra[320]  # the repeat's extra bits


cdef inline bint _smaller(const uint32_t* weight, const uint8_t* depth, int n, int m) noexcept nogil:
    return weight[n] < weight[m] or (weight[n] == weight[m] and depth[n] <= depth[m])


cdef inline void _sift(
    int* heap, int size, int at, const uint32_t* weight, const uint8_t* depth
) noexcept nogil:
    cdef int moved = heap[at], child = at << 1
    while child <= size:
        if child < size and _smaller(weight, depth, heap[child + 1], heap[child]):
            child += 1
        if _smaller(weight, depth, moved, heap[child]):
            break
        heap[at] = heap[child]
        at = child
        child <<= 1
    heap[at] = moved


cdef inline int zlib_lengths(const uint32_t* counts, int symbols, int limit, uint8_t* lengths) noexcept nogil:
    """Code lengths of zlib and GNU gzip; the number of symbols up to the last one that has a code."""
    cdef uint32_t[2 * 288 + 1] weight
    cdef uint8_t[2 * 288 + 1] depth
    cdef int[2 * 288 + 1] heap
    cdef int[2 * 288 + 1] parent
    cdef int[2 * 288 + 1] level
    cdef int[2 * 288 + 1] order  # nodes in order of growing depth at the end
    cdef int[17] of_length
    cdef int size = 0, last = -1, node, n, m, i, bits, overflow = 0, at, h
    for n in range(symbols):
        lengths[n] = 0
        weight[n] = counts[n]
        depth[n] = 0
        if counts[n]:
            size += 1
            heap[size] = n
            last = n
    while size < 2:  # a code of one symbol is not sent; zlib takes the lowest unused ones
        if last < 2:
            last += 1
            node = last
        else:
            node = 0
        size += 1
        heap[size] = node
        weight[node] = 1
        depth[node] = 0
    for i in range(size // 2, 0, -1):
        _sift(heap, size, i, weight, depth)
    node = symbols
    at = 2 * symbols + 1  # order[] is filled downwards
    while True:
        n = heap[1]
        heap[1] = heap[size]
        size -= 1
        _sift(heap, size, 1, weight, depth)
        m = heap[1]
        at -= 1
        order[at] = n
        at -= 1
        order[at] = m
        weight[node] = weight[n] + weight[m]
        depth[node] = (depth[n] if depth[n] >= depth[m] else depth[m]) + 1
        parent[n] = node
        parent[m] = node
        heap[1] = node
        node += 1
        _sift(heap, size, 1, weight, depth)
        if size < 2:
            break
    at -= 1
    order[at] = heap[1]
    # Lengths from the root down, limited; then as many leaves moved as overflowed.
    memset(of_length, 0, sizeof(of_length))
    level[order[at]] = 0
    for h in range(at + 1, 2 * symbols + 1):
        n = order[h]
        bits = level[parent[n]] + 1
        if bits > limit:
            bits = limit
            overflow += 1
        level[n] = bits
        if n < symbols:
            of_length[bits] += 1
            lengths[n] = <uint8_t> bits
    if overflow:
        while overflow > 0:
            bits = limit - 1
            while of_length[bits] == 0:
                bits -= 1
            of_length[bits] -= 1
            of_length[bits + 1] += 2
            of_length[limit] -= 1
            overflow -= 2
        h = 2 * symbols + 1
        for bits in range(limit, 0, -1):
            n = of_length[bits]
            while n:
                h -= 1
                m = order[h]
                if m < symbols:
                    lengths[m] = <uint8_t> bits
                    n -= 1
    return last + 1


cdef struct Leaf:
    uint32_t weight
    int symbol


cdef inline int _by_weight(const void* a, const void* b) noexcept nogil:
    cdef const Leaf* x = <const Leaf*> a
    cdef const Leaf* y = <const Leaf*> b
    if x.weight != y.weight:
        return -1 if x.weight < y.weight else 1
    return x.symbol - y.symbol


cdef inline int go_lengths(const uint32_t* counts, int symbols, int limit, uint8_t* lengths) noexcept nogil:
    """Optimal limited lengths, the rarest symbols getting the longest codes (boundary package-merge, ties to pairs)."""
    cdef Leaf[288] leaf
    cdef uint64_t[16][576] row  # weights of each level's items
    cdef uint16_t[16][576] leaves  # how many leaves are among the first items
    cdef int[16] length_of
    cdef int n = 0, i, level, want, taken, leaf_at, pair_at, last = 0, count, bits
    for i in range(symbols):
        lengths[i] = 0
        if counts[i]:
            leaf[n].weight = counts[i]
            leaf[n].symbol = i
            n += 1
            last = i + 1
    if n <= 2:
        for i in range(n):
            lengths[leaf[i].symbol] = 1
        return last
    qsort(leaf, n, sizeof(Leaf), _by_weight)
    if limit > n - 1:
        limit = n - 1
    # Level 1 is the deepest: leaves only. Level k merges the leaves with the pairs of level k - 1; leaves come
    # first only where they are lighter.
    for i in range(n):
        row[1][i] = leaf[i].weight
        leaves[1][i] = <uint16_t> (i + 1)
    length_of[1] = n
    for level in range(2, limit + 1):
        leaf_at = 0
        pair_at = 0
        count = 0
        while leaf_at < n or 2 * pair_at + 1 < length_of[level - 1]:
            if count == 2 * n - 2:
                break
            if leaf_at < n and (
                leaf_at < 2
                or 2 * pair_at + 1 >= length_of[level - 1]
                or leaf[leaf_at].weight < row[level - 1][2 * pair_at] + row[level - 1][2 * pair_at + 1]
            ):
                row[level][count] = leaf[leaf_at].weight
                leaf_at += 1
            else:
                row[level][count] = row[level - 1][2 * pair_at] + row[level - 1][2 * pair_at + 1]
                pair_at += 1
            leaves[level][count] = <uint16_t> leaf_at
            count += 1
        length_of[level] = count
    # The first 2n - 2 items of the top level decide; each level's pairs select twice as many below.
    want = 2 * n - 2
    for level in range(limit, 0, -1):
        taken = leaves[level][want - 1] if want else 0
        for i in range(taken):
            lengths[leaf[i].symbol] += 1
        want = 2 * (want - taken)
    return last


cdef inline void _two_queues(uint32_t* key, int n) noexcept nogil:
    """Sorted weights to depths, in place (Moffat and Katajainen); a leaf is preferred to a pair of the same weight."""
    cdef int root = 0, leaf = 2, next, part, free_nodes, used, depth
    key[0] += key[1]
    for next in range(1, n - 1):
        for part in range(2):
            if leaf >= n or ((part == 0 or root < next) and key[root] < key[leaf]):
                key[next] = key[root] if part == 0 else key[next] + key[root]
                key[root] = <uint32_t> next
                root += 1
            else:
                key[next] = key[leaf] if part == 0 else key[next] + key[leaf]
                leaf += 1
    key[n - 2] = 0
    for next in range(n - 3, -1, -1):
        key[next] = key[key[next]] + 1
    free_nodes = 1
    used = 0
    depth = 0
    root = n - 2
    next = n - 1
    while free_nodes > 0:
        while root >= 0 and key[root] == <uint32_t> depth:
            used += 1
            root -= 1
        while free_nodes > used:
            key[next] = <uint32_t> depth
            next -= 1
            free_nodes -= 1
        free_nodes = 2 * used
        depth += 1
        used = 0


cdef inline int miniz_lengths(const uint32_t* counts, int symbols, int limit, uint8_t* lengths) noexcept nogil:
    cdef Leaf[288] leaf
    cdef uint32_t[288] key
    cdef int[300] of_length
    cdef int n = 0, i, bits, last = 0, at
    cdef uint32_t total = 0
    for i in range(symbols):
        lengths[i] = 0
        if counts[i]:
            leaf[n].weight = counts[i]
            leaf[n].symbol = i
            n += 1
            last = i + 1
    if n <= 1:
        if n:
            lengths[leaf[0].symbol] = 1
        return last
    qsort(leaf, n, sizeof(Leaf), _by_weight)
    for i in range(n):
        key[i] = leaf[i].weight
    _two_queues(key, n)
    memset(of_length, 0, sizeof(of_length))
    for i in range(n):
        of_length[key[i] if key[i] < <uint32_t> limit else limit] += 1
    for bits in range(1, limit + 1):
        total += <uint32_t> of_length[bits] << (limit - bits)
    while total > (<uint32_t> 1 << limit):
        of_length[limit] -= 1
        for bits in range(limit - 1, 0, -1):
            if of_length[bits]:
                of_length[bits] -= 1
                of_length[bits + 1] += 2
                break
        total -= 1
    at = n
    for bits in range(1, limit + 1):
        for i in range(of_length[bits]):
            at -= 1
            lengths[leaf[at].symbol] = <uint8_t> bits
    return last


cdef inline int build_lengths(
    int builder, const uint32_t* counts, int symbols, int limit, uint8_t* lengths
) noexcept nogil:
    if builder == BUILDER_GO:
        return go_lengths(counts, symbols, limit, lengths)
    if builder == BUILDER_MINIZ:
        return miniz_lengths(counts, symbols, limit, lengths)
    return zlib_lengths(counts, symbols, limit, lengths)


cdef inline bint make_codes(const uint8_t* lengths, int symbols, uint16_t* codes) noexcept nogil:
    """Canonical codes (RFC 1951 3.2.2), bits reversed for writing. False if the lengths are over-subscribed."""
    cdef int[17] count
    cdef uint32_t[17] following
    cdef uint32_t code = 0, turned
    cdef int i, bits
    memset(count, 0, sizeof(count))
    for i in range(symbols):
        count[lengths[i]] += 1
    count[0] = 0
    for bits in range(1, 16):
        code = (code + count[bits - 1]) << 1
        following[bits] = code
        if code + count[bits] > (<uint32_t> 1 << bits):
            return False
    for i in range(symbols):
        if lengths[i]:
            code = following[lengths[i]]
            following[lengths[i]] += 1
            turned = 0
            for bits in range(lengths[i]):
                turned = turned << 1 | (code & 1)
                code >>= 1
            codes[i] = <uint16_t> turned
        else:
            codes[i] = 0
    return True


cdef inline void _put_op(Header* self, int op, int extra) noexcept nogil:
    self.op[self.ops] = <uint8_t> op
    self.extra[self.ops] = <uint8_t> extra
    self.ops += 1


cdef inline void _scan(Header* self, const uint8_t* lengths, int count) noexcept nogil:
    """Run lengths, greedy, as all common encoders write them."""
    cdef int at = 0, run, part, value
    while at < count:
        value = lengths[at]
        run = 1
        while at + run < count and lengths[at + run] == value:
            run += 1
        at += run
        if value:
            _put_op(self, value, 0)
            run -= 1
            while run >= 3:
                part = 6 if run > 6 else run
                _put_op(self, 16, part - 3)
                run -= part
        else:
            while run >= 11:
                part = 138 if run > 138 else run
                _put_op(self, 18, part - 11)
                run -= part
            if run >= 3:
                _put_op(self, 17, run - 3)
                run = 0
        while run:
            _put_op(self, value, 0)
            run -= 1


cdef inline void scan_lengths(Header* self, bint joined) noexcept nogil:
    """Fill `op` and `extra`; `joined` lets a run reach from the literal into the distance lengths."""
    self.ops = 0
    if joined:
        _scan(self, self.lengths, self.literals + self.distances)
    else:
        _scan(self, self.lengths, self.literals)
        _scan(self, self.lengths + self.literals, self.distances)


cdef inline int code_order(int i) noexcept nogil:
    """The order in which lengths of the code length code are sent."""
    return (<const uint8_t*> b"\x10\x11\x12\x00\x08\x07\x09\x06\x0a\x05\x0b\x04\x0c\x03\x0d\x02\x0e\x01\x0f")[i]


cdef inline void code_the_ops(Header* self, int builder) noexcept nogil:
    """Fill `code_lengths` and `codes` from the ops."""
    cdef uint32_t[19] counts
    cdef int i
    memset(counts, 0, sizeof(counts))
    for i in range(self.ops):
        counts[self.op[i]] += 1
    build_lengths(builder, counts, CODE_LENGTHS, MAX_HEADER_BITS, self.code_lengths)
    self.codes = CODE_LENGTHS
    while self.codes > 4 and self.code_lengths[code_order(self.codes - 1)] == 0:
        self.codes -= 1


cdef inline void predict_header(
    Header* self, int builder, bint joined, const uint32_t* literals, const uint32_t* distances
) noexcept nogil:
    """The header that an encoder gives for these frequencies (286 and 30 counts, end of block included)."""
    cdef uint8_t[32] apart
    cdef uint32_t[30] used
    cdef int i, any_used = 0
    self.literals = build_lengths(builder, literals, LITERALS, MAX_CODE_BITS, self.lengths)
    for i in range(DISTANCES):
        used[i] = distances[i]
        any_used |= used[i] != 0
    if builder == BUILDER_GO and not any_used:
        used[0] = 1
    self.distances = build_lengths(builder, used, DISTANCES, MAX_CODE_BITS, apart)
    if self.distances < 1:
        self.distances = 1
    for i in range(self.distances):
        self.lengths[self.literals + i] = apart[i]
    scan_lengths(self, joined)
    code_the_ops(self, builder)


cdef inline uint64_t header_bits(const Header* self) noexcept nogil:
    """Size of the header from HLIT on, in bits."""
    cdef uint64_t total = 14 + 3 * self.codes
    cdef int i
    for i in range(self.ops):
        total += self.code_lengths[self.op[i]]
        if self.op[i] >= 16:
            total += 7 if self.op[i] == 18 else self.op[i] - 14
    return total


cdef inline int fixed_length(int symbol) noexcept nogil:
    return 8 if symbol < 144 else 9 if symbol < 256 else 7 if symbol < 280 else 8


cdef inline uint64_t body_bits(
    const uint8_t* lengths, int literal_count, const uint32_t* literals, const uint32_t* distances
) noexcept nogil:
    """Size of the tokens and the end of block, in bits, without extra bits. NULL lengths mean the fixed code."""
    cdef uint64_t total = 0
    cdef int i
    for i in range(LITERALS):
        if literals[i]:
            total += <uint64_t> literals[i] * <uint64_t> (fixed_length(i) if lengths == NULL else lengths[i])
    for i in range(DISTANCES):
        if distances[i]:
            total += <uint64_t> distances[i] * <uint64_t> (5 if lengths == NULL else lengths[literal_count + i])
    return total


cdef inline uint64_t extra_bits(const uint32_t* literals, const uint32_t* distances) noexcept nogil:
    cdef uint64_t total = 0
    cdef int i
    for i in range(29):
        total += <uint64_t> literals[FIRST_LENGTH + i] * <uint64_t> length_extra(i)
    for i in range(DISTANCES):
        total += <uint64_t> distances[i] * <uint64_t> distance_extra(i)
    return total
