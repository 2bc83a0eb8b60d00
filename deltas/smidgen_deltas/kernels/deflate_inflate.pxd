# One deflate block at a time from compressed bits to tokens (RFC 1951). Strict: what no encoder writes is refused, since it could not be
# written again (non-zero padding, length 258 by code 284, over-subscribed codes).

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy, memset

from .deflate_bits cimport (
    DISTANCES,
    END_OF_BLOCK,
    FIRST_LENGTH,
    LITERALS,
    Bytes,
    distance_base,
    distance_extra,
    length_base,
    length_extra,
    reserve,
)
from .deflate_trees cimport Header, code_order, fixed_length

cdef enum:
    BLOCK_READ = 0
    BLOCK_NEEDS_INPUT = 1
    BLOCK_BAD = 2
    BLOCK_NO_MEMORY = 3
    STORED = 0
    FIXED = 1
    DYNAMIC = 2
    MAX_BLOCK_TOKENS = 1 << 22
    MAX_BLOCK_PLAIN = 1 << 26


cdef struct BitReader:
    const uint8_t* data
    size_t size
    size_t at
    uint64_t bits
    int count


cdef struct Block:
    int kind
    bint final
    uint32_t* tokens
    size_t count
    size_t room
    size_t plain  # bytes that the block stands for
    Header header


# Decoding table entry: symbol << 4 | code length; 0 where no code leads.
cdef struct Decoder:
    uint16_t[1 << 15] table
    int bits


cdef inline void refill(BitReader* self) noexcept nogil:
    while self.count <= 56 and self.at < self.size:
        self.bits |= <uint64_t> self.data[self.at] << self.count
        self.at += 1
        self.count += 8


cdef inline int take(BitReader* self, int count) noexcept nogil:
    """The next bits, or -1 for lack of input."""
    cdef int value
    if self.count < count:
        refill(self)
        if self.count < count:
            return -1
    value = <int> (self.bits & ((<uint64_t> 1 << count) - 1))
    self.bits >>= count
    self.count -= count
    return value


cdef inline bint make_decoder(Decoder* self, const uint8_t* lengths, int symbols) noexcept nogil:
    """False when over-subscribed."""
    cdef int[16] count
    cdef uint32_t[16] following
    cdef uint32_t code = 0, turned, step
    cdef int i, bits
    memset(count, 0, sizeof(count))
    for i in range(symbols):
        count[lengths[i]] += 1
    count[0] = 0
    self.bits = 1
    for bits in range(1, 16):
        code = (code + count[bits - 1]) << 1
        following[bits] = code
        if code + count[bits] > (<uint32_t> 1 << bits):
            return False
        if count[bits]:
            self.bits = bits
    memset(self.table, 0, sizeof(uint16_t) << self.bits)
    for i in range(symbols):
        bits = lengths[i]
        if not bits:
            continue
        code = following[bits]
        following[bits] += 1
        turned = 0
        for step in range(bits):
            turned = turned << 1 | (code & 1)
            code >>= 1
        step = <uint32_t> 1 << bits
        while turned < (<uint32_t> 1 << self.bits):
            self.table[turned] = <uint16_t> (i << 4 | bits)
            turned += step
    return True


cdef inline int symbol(BitReader* self, const Decoder* decoder) noexcept nogil:
    """The next symbol; -1 for lack of input, -2 for a code that means nothing."""
    cdef int entry, length
    if self.count < 15:
        refill(self)
    entry = decoder.table[self.bits & ((<uint64_t> 1 << decoder.bits) - 1)]
    length = entry & 15
    if length == 0:
        return -1 if self.count < decoder.bits else -2
    if length > self.count:
        return -1
    self.bits >>= length
    self.count -= length
    return entry >> 4


cdef inline int _read_header(BitReader* self, Header* header, Decoder* decoder) noexcept nogil:
    """A dynamic block's header up to its tokens."""
    cdef int value, i, at = 0, total, run, fill
    value = take(self, 14)
    if value < 0:
        return BLOCK_NEEDS_INPUT
    header.literals = 257 + (value & 31)
    header.distances = 1 + ((value >> 5) & 31)
    header.codes = 4 + (value >> 10)
    if header.literals > LITERALS or header.distances > DISTANCES:
        return BLOCK_BAD
    memset(header.code_lengths, 0, sizeof(header.code_lengths))
    for i in range(header.codes):
        value = take(self, 3)
        if value < 0:
            return BLOCK_NEEDS_INPUT
        header.code_lengths[code_order(i)] = <uint8_t> value
    if not make_decoder(decoder, header.code_lengths, 19):
        return BLOCK_BAD
    total = header.literals + header.distances
    header.ops = 0
    while at < total:
        value = symbol(self, decoder)
        if value < 0:
            return BLOCK_NEEDS_INPUT if value == -1 else BLOCK_BAD
        header.op[header.ops] = <uint8_t> value
        header.extra[header.ops] = 0
        if value < 16:
            header.lengths[at] = <uint8_t> value
            at += 1
        else:
            run = take(self, 7 if value == 18 else value - 14)
            if run < 0:
                return BLOCK_NEEDS_INPUT
            header.extra[header.ops] = <uint8_t> run
            run += 11 if value == 18 else 3
            fill = 0
            if value == 16:
                if at == 0:
                    return BLOCK_BAD
                fill = header.lengths[at - 1]
            if at + run > total:
                return BLOCK_BAD
            memset(header.lengths + at, fill, run)
            at += run
        header.ops += 1
    if header.lengths[END_OF_BLOCK] == 0:
        return BLOCK_BAD
    return BLOCK_READ


cdef inline int grow_tokens(Block* block) noexcept nogil:
    """Room for one more token, within the limit."""
    cdef size_t room
    cdef uint32_t* tokens
    if block.count < block.room:
        return BLOCK_READ
    if block.count >= MAX_BLOCK_TOKENS:
        return BLOCK_BAD
    room = block.room * 2 if block.room else 512
    tokens = <uint32_t*> realloc(block.tokens, room * sizeof(uint32_t))
    if tokens == NULL:
        return BLOCK_NO_MEMORY
    block.tokens = tokens
    block.room = room
    return BLOCK_READ


cdef inline int _read_tokens(
    BitReader* self, Block* block, Bytes* plain, size_t history, const Decoder* literals, const Decoder* distances
) noexcept nogil:
    """Tokens up to the end of block. `history` bytes at the end of `plain` may be referred to at the start."""
    cdef int value, code, length, distance, extra
    cdef size_t start = plain.size, i
    cdef uint8_t* to
    block.count = 0
    while True:
        value = symbol(self, literals)
        if value < 0:
            return BLOCK_NEEDS_INPUT if value == -1 else BLOCK_BAD
        if value == END_OF_BLOCK:
            break
        if block.count == block.room:
            code = grow_tokens(block)
            if code:
                return code
        if plain.size + 258 > plain.room:
            if plain.size - start > MAX_BLOCK_PLAIN:
                return BLOCK_BAD
            if reserve(plain, 1 << 16):
                return BLOCK_NO_MEMORY
        if value < END_OF_BLOCK:
            plain.data[plain.size] = <uint8_t> value
            plain.size += 1
            block.tokens[block.count] = <uint32_t> value
            block.count += 1
            continue
        code = value - FIRST_LENGTH
        if code > 28:
            return BLOCK_BAD
        extra = take(self, length_extra(code))
        if extra < 0:
            return BLOCK_NEEDS_INPUT
        length = length_base(code) + extra
        if length > 258 or (length == 258 and code != 28):
            return BLOCK_BAD
        code = symbol(self, distances)
        if code < 0:
            return BLOCK_NEEDS_INPUT if code == -1 else BLOCK_BAD
        if code >= DISTANCES:
            return BLOCK_BAD
        extra = take(self, distance_extra(code))
        if extra < 0:
            return BLOCK_NEEDS_INPUT
        distance = distance_base(code) + extra
        if <size_t> distance > history + (plain.size - start):
            return BLOCK_BAD
        to = plain.data + plain.size
        for i in range(<size_t> length):
            to[i] = (to - distance)[i]
        plain.size += length
        block.tokens[block.count] = <uint32_t> length << 16 | <uint32_t> distance
        block.count += 1
    block.plain = plain.size - start
    return BLOCK_READ


cdef inline int _read_stored(BitReader* self, Block* block, Bytes* plain) noexcept nogil:
    cdef int value, size
    value = take(self, self.count & 7)
    if value:
        return BLOCK_BAD
    size = take(self, 16)
    value = take(self, 16)
    if size < 0 or value < 0:
        return BLOCK_NEEDS_INPUT
    if size != (~value & 0xFFFF):
        return BLOCK_BAD
    if reserve(plain, size):
        return BLOCK_NO_MEMORY
    block.plain = size
    block.count = 0
    while size and self.count:
        plain.data[plain.size] = <uint8_t> take(self, 8)
        plain.size += 1
        size -= 1
    if self.size - self.at < <size_t> size:
        return BLOCK_NEEDS_INPUT
    if size:
        memcpy(plain.data + plain.size, self.data + self.at, size)
    plain.size += size
    self.at += size
    return BLOCK_READ


cdef inline int read_block(
    BitReader* self, Block* block, Bytes* plain, size_t history, Decoder* literals, Decoder* distances
) noexcept nogil:
    """The next block. After anything but BLOCK_READ the reader and `plain` are as they were."""
    cdef BitReader before = self[0]
    cdef size_t size = plain.size
    cdef uint8_t[288] fixed
    cdef int i, result = BLOCK_NEEDS_INPUT, bits = take(self, 3)
    if bits >= 0:
        block.final = bits & 1
        block.kind = bits >> 1
        if block.kind == STORED:
            result = _read_stored(self, block, plain)
        elif block.kind == FIXED:
            for i in range(288):
                fixed[i] = <uint8_t> fixed_length(i)
            make_decoder(literals, fixed, 288)
            memset(fixed, 5, 32)
            make_decoder(distances, fixed, 32)
            result = _read_tokens(self, block, plain, history, literals, distances)
        elif block.kind == DYNAMIC:
            result = _read_header(self, &block.header, literals)
            if result == BLOCK_READ:
                i = make_decoder(literals, block.header.lengths, block.header.literals)
                i &= make_decoder(distances, block.header.lengths + block.header.literals, block.header.distances)
                result = _read_tokens(self, block, plain, history, literals, distances) if i else BLOCK_BAD
        else:
            result = BLOCK_BAD
    if result != BLOCK_READ:
        self[0] = before
        plain.size = size
    return result
