# What both directions share about a block: its counts, where it ends, which form it takes, and how all that differs from the prediction.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from .deflate_bits cimport (
    DISTANCES,
    END_OF_BLOCK,
    FIRST_LENGTH,
    LITERALS,
    BitWriter,
    align_bits,
    append,
    distance_base,
    distance_code,
    distance_extra,
    length_base,
    length_code,
    length_extra,
    put_bits,
    reserve,
)
from .deflate_coder cimport Coder, code_bit, code_number, code_plain, code_tree
from .deflate_fast cimport CHUNK_LITERAL, CHUNK_STORED
from .deflate_inflate cimport DYNAMIC, FIXED, MAX_BLOCK_TOKENS, STORED
from .deflate_model cimport FAMILY_FAST, FAMILY_GO, FAMILY_MINIZ, Model, distance_of
from .deflate_trees cimport (
    BUILDER_GO,
    Header,
    body_bits,
    code_order,
    code_the_ops,
    extra_bits,
    fixed_length,
    header_bits,
    make_codes,
    predict_header,
    scan_lengths,
)

cdef enum:
    EVENT_NATURAL = 0  # the block ends where the encoder's rule says
    EVENT_COUNTED = 1  # it has a given number of tokens
    EVENT_STORED = 2  # it is stored and has a given number of bytes
    MAX_HOPS = 1000
    MAX_CHUNKS = 1 << 20
    NO_TOKEN = 0x7FFFFFFF  # longer than any match


cdef struct Counts:
    uint32_t[286] literals
    uint32_t[30] distances
    uint32_t tokens
    uint32_t matches


cdef struct Contexts:
    uint16_t[8] event
    uint16_t[2][32] event_size
    uint16_t[4] corrected
    uint16_t[64] miss
    uint16_t[8] kind_of_miss
    uint16_t[2][256] length
    uint16_t[4] distance_kind
    uint16_t[32] hops
    uint16_t[32] distance_slot
    uint16_t[16] form
    uint16_t[4] header_same
    uint16_t[64] header_counts
    uint16_t[16][16] lengths
    uint16_t[4] op
    uint16_t[3][128] op_extra
    uint16_t[16] code_count
    uint16_t[8][8] code_lengths
    uint16_t[8] more
    uint16_t[8] chunks
    uint16_t marker
    uint16_t[32] marker_fixed
    uint16_t[32] marker_stored


cdef inline void reset_contexts(Contexts* self) noexcept nogil:
    cdef uint16_t* p = <uint16_t*> self
    cdef size_t i
    for i in range(sizeof(Contexts) // sizeof(uint16_t)):
        p[i] = 32768


cdef inline void clear_counts(Counts* self) noexcept nogil:
    memset(self, 0, sizeof(Counts))
    self.literals[END_OF_BLOCK] = 1


cdef inline void count_token(Counts* self, uint32_t token) noexcept nogil:
    cdef int length = token >> 16
    self.tokens += 1
    if length:
        self.literals[FIRST_LENGTH + length_code(length)] += 1
        self.distances[distance_code(token & 0xFFFF)] += 1
        self.matches += 1
    else:
        self.literals[token] += 1


cdef inline bint _miniz_is_full(const Counts* self, int32_t plain) noexcept nogil:
    """Its buffer of codes (a byte for a literal, three for a match, a bit for each) is full, or hardly smaller than the data."""
    cdef uint32_t size = 1 + self.tokens + 2 * self.matches + (self.tokens >> 3)
    return size > 65528 or (plain > 31744 and (size * 115) >> 7 >= <uint32_t> plain)


cdef inline bint block_is_full(
    const Counts* self, const Model* model, int32_t block_start, int32_t token_start, uint32_t token
) noexcept nogil:
    """Does the encoder end its block behind the token at `token_start`? For klauspost's: may it?"""
    cdef uint64_t size
    cdef int i
    if model.with_.family == FAMILY_FAST:
        return token_start + (1 if token < 256 else <int32_t> (token >> 16)) == model.fast.end
    if model.with_.family == FAMILY_MINIZ:
        return _miniz_is_full(self, token_start + (1 if token < 256 else <int32_t> (token >> 16)) - block_start)
    if self.tokens == <uint32_t> model.with_.block_tokens:
        return True
    if not model.with_.cut_blocks or (self.tokens & 0xFFF) or model.with_.level <= 2:
        return False
    size = <uint64_t> self.tokens * 8
    for i in range(DISTANCES):
        size += <uint64_t> self.distances[i] * <uint64_t> (5 + distance_extra(i))
    size >>= 3
    return self.matches < self.tokens // 2 and size < <uint64_t> (
        token_start + model.with_.lazy - block_start
    ) // 2


cdef inline int choose_form(
    const Counts* self, const Header* header, int family, int32_t plain, bint storable
) noexcept nogil:
    """Which form the encoder gives a block of `plain` bytes, `header` being its dynamic one."""
    cdef uint32_t[30] used
    cdef uint64_t extra = extra_bits(self.literals, self.distances), dynamic, fixed, best
    cdef int i
    memcpy(used, self.distances, sizeof(used))
    if family == FAMILY_GO and self.matches == 0:
        used[0] = 1  # Go counts the distance code that it has to send
    if family == FAMILY_GO and not storable:
        extra = 0
    dynamic = header_bits(header) + extra + body_bits(header.lengths, header.literals, self.literals, used) + 3
    fixed = extra + body_bits(NULL, 0, self.literals, used) + 3
    if family == FAMILY_GO:
        best = dynamic if dynamic < fixed else fixed
        if storable and <uint64_t> (plain + 5) * 8 < best:
            return STORED
        return DYNAMIC if dynamic < fixed else FIXED
    if family == FAMILY_MINIZ:
        if plain < 48:
            return FIXED
        return STORED if storable and plain > 32 and (dynamic >> 3) + 1 >= <uint64_t> plain else DYNAMIC
    dynamic = (dynamic + 7) >> 3
    fixed = (fixed + 7) >> 3
    best = fixed if fixed <= dynamic else dynamic
    if storable and <uint64_t> plain + 4 <= best:
        return STORED
    return FIXED if fixed == best else DYNAMIC


cdef inline bint _incompressible(const Counts* self, int32_t plain) noexcept nogil:
    """Are byte values spread so evenly that klauspost's encoder does not try? (sum of squares against twice the size)"""
    cdef int64_t difference, total = 0, most = <int64_t> plain * 2 * 65536
    cdef int i
    for i in range(256):
        difference = <int64_t> self.literals[i] * 256 - plain
        total += difference * difference
        if total > most:
            return False
    return total < most


cdef inline int choose_form_fast(
    const Counts* self, const Header* header, int kind, int32_t plain, uint32_t last_header
) noexcept nogil:
    """The same for klauspost's encoder, whose chunk of `plain` bytes was of `kind`."""
    cdef uint32_t[30] used
    cdef uint64_t extra = extra_bits(self.literals, self.distances), dynamic, fixed
    cdef uint64_t stored = <uint64_t> (plain + 5) * 8
    memcpy(used, self.distances, sizeof(used))
    if self.matches == 0:
        used[0] = 1
    if kind == CHUNK_STORED:
        return STORED
    dynamic = body_bits(header.lengths, header.literals, self.literals, used) + extra
    if kind == CHUNK_LITERAL:
        if plain > 1024 and _incompressible(self, plain):
            return STORED
        dynamic += last_header if last_header else 560
        dynamic += dynamic >> 7
        return STORED if stored <= dynamic else DYNAMIC
    dynamic += header_bits(header) + 3
    fixed = extra + body_bits(NULL, 0, self.literals, used) + 3
    if self.tokens < 250 and fixed <= dynamic:
        return STORED if stored <= fixed else FIXED
    return STORED if stored <= dynamic else DYNAMIC


cdef inline uint32_t code_chunks(Coder* coder, Contexts* contexts, uint32_t chunks) noexcept nogil:
    """How many chunks klauspost's encoder put under one header, at least 1."""
    cdef uint32_t count = 1
    while code_bit(coder, &contexts.chunks[count if count < 7 else 7], count < chunks):
        count += 1
        if count == MAX_CHUNKS:
            break
    return count


cdef inline int code_form(Coder* coder, Contexts* contexts, int form, int predicted) noexcept nogil:
    """The form, mostly the predicted one."""
    cdef int other
    if not code_bit(coder, &contexts.form[predicted], form != predicted):
        return predicted
    other = code_bit(coder, &contexts.form[4 + predicted], form == (predicted + 2) % 3)
    return (predicted + 1 + other) % 3


cdef inline uint32_t code_event(Coder* coder, Contexts* contexts, int* event, uint32_t size, int before) noexcept nogil:
    """How the block ends; tokens or bytes where that is not the encoder's rule."""
    if not code_bit(coder, &contexts.event[before], event[0] != EVENT_NATURAL):
        event[0] = EVENT_NATURAL
        return 0
    event[0] = EVENT_STORED if code_bit(coder, &contexts.event[4 + before], event[0] == EVENT_STORED) else EVENT_COUNTED
    return code_number(coder, contexts.event_size[event[0] - 1], size)


cdef inline int miss_context(uint32_t predicted, int history) noexcept nogil:
    """Of whether a prediction is wrong: what it is, and how the last two fared."""
    cdef int length = predicted >> 16, kind
    if length == 0:
        kind = 0
    elif length <= 6:
        kind = length - 2
    else:
        kind = 5 if length < 16 else 6 if length < 258 else 7
    return kind << 2 | (history & 3)


cdef inline uint32_t code_miss(
    Coder* coder, Contexts* contexts, Model* model, int32_t at, uint32_t predicted, uint32_t token, int hops
) noexcept nogil:
    """A token that is not the predicted one. Decoding: NO_TOKEN when it cannot stand at `at`."""
    cdef int length = token >> 16, distance = token & 0xFFFF, slot
    cdef bint matched = predicted >> 16 != 0, known
    if matched and code_bit(coder, &contexts.kind_of_miss[0], length == 0):
        return model.data[at]
    known = matched and code_bit(coder, &contexts.kind_of_miss[1], distance == <int> (predicted & 0xFFFF))
    length = 3 + <int> code_tree(coder, contexts.length[known], <uint32_t> (length - 3), 8)
    if known:
        distance = predicted & 0xFFFF
    elif code_bit(coder, &contexts.distance_kind[0], hops < 0):
        slot = <int> code_tree(coder, contexts.distance_slot, <uint32_t> (0 if coder.decoding else distance_code(distance)), 5)
        if slot >= DISTANCES:
            return NO_TOKEN
        distance = distance_base(slot) + <int> code_plain(
            coder, <uint32_t> (distance - distance_base(slot)), distance_extra(slot)
        )
    else:
        hops = <int> code_number(coder, contexts.hops, <uint32_t> hops)
        if coder.decoding:
            distance = distance_of(model, at, length, hops) if hops < MAX_HOPS else 0
    return <uint32_t> length << 16 | <uint32_t> distance


cdef inline bint token_fits(const Model* model, int32_t at, uint32_t token) noexcept nogil:
    """Does the match say what the plain bytes are?"""
    cdef int32_t length = token >> 16, distance = token & 0xFFFF
    if length == 0:
        return True
    if distance == 0 or distance > at - model.start or distance > 32768 or length > model.end - at:
        return False
    return memcmp(model.data + at, model.data + at - distance, length) == 0 if distance >= length else (
        _overlapping(model.data + at, distance, length)
    )


cdef inline bint _overlapping(const uint8_t* at, int distance, int length) noexcept nogil:
    cdef int i
    for i in range(length):
        if at[i] != (at - distance)[i]:
            return False
    return True


cdef inline bint _same_header(const Header* a, const Header* b) noexcept nogil:
    cdef int i
    if a.literals != b.literals or a.distances != b.distances or a.codes != b.codes or a.ops != b.ops:
        return False
    if memcmp(a.lengths, b.lengths, a.literals + a.distances) or memcmp(a.op, b.op, a.ops):
        return False
    if memcmp(a.extra, b.extra, a.ops):
        return False
    return memcmp(a.code_lengths, b.code_lengths, 19) == 0


cdef inline int code_header(
    Coder* coder, Contexts* contexts, Header* header, const Header* predicted, int builder, bint joined
) noexcept nogil:
    """A dynamic header, mostly the predicted one. Decoding: -1 when the recipe makes no sense."""
    cdef Header guess
    cdef int i, value, at
    if not code_bit(coder, &contexts.header_same[0], 0 if coder.decoding else not _same_header(header, predicted)):
        header[0] = predicted[0]
        return 0
    header.literals = 257 + <int> code_tree(coder, contexts.header_counts, <uint32_t> (header.literals - 257), 5)
    header.distances = 1 + <int> code_tree(coder, contexts.header_counts + 32, <uint32_t> (header.distances - 1), 5)
    if header.literals > LITERALS or header.distances > DISTANCES:
        return -1
    for i in range(header.literals + header.distances):
        at = i if i < header.literals else i - header.literals
        if i < header.literals:
            value = predicted.lengths[i] if i < predicted.literals else 0
        else:
            value = predicted.lengths[predicted.literals + at] if at < predicted.distances else 0
        header.lengths[i] = <uint8_t> code_tree(coder, contexts.lengths[value], header.lengths[i], 4)
    guess = header[0]
    scan_lengths(&guess, joined)
    if _code_ops(coder, contexts, header, &guess):
        return -1
    guess = header[0]
    code_the_ops(&guess, builder)
    _code_code_lengths(coder, contexts, header, &guess)
    return 0


cdef inline int _code_ops(Coder* coder, Contexts* contexts, Header* header, const Header* guess) noexcept nogil:
    """How the code lengths are packed in runs."""
    cdef int total = header.literals + header.distances, at = 0, kind, run, first, i, extra, bits
    cdef bint differ = False
    if not coder.decoding:
        differ = header.ops != guess.ops or memcmp(header.op, guess.op, guess.ops) != 0
        differ = differ or memcmp(header.extra, guess.extra, guess.ops) != 0
    if not code_bit(coder, &contexts.header_same[1], differ):
        header.ops = guess.ops
        memcpy(header.op, guess.op, guess.ops)
        memcpy(header.extra, guess.extra, guess.ops)
        return 0
    i = 0
    while at < total:
        kind = 0
        if not coder.decoding and header.op[i] >= 16:
            kind = header.op[i] - 15
        kind = <int> code_tree(coder, contexts.op, <uint32_t> kind, 2)
        header.op[i] = <uint8_t> (15 + kind) if kind else header.lengths[at]
        if kind == 0:
            header.extra[i] = 0
            at += 1
        else:
            bits = 7 if kind == 3 else kind + 1
            extra = <int> code_tree(coder, contexts.op_extra[kind - 1], header.extra[i], bits)
            header.extra[i] = <uint8_t> extra
            run = extra + (11 if kind == 3 else 3)
            first = 0 if kind > 1 else header.lengths[at - 1] if at else 255
            if at + run > total:
                return -1
            while run:
                if header.lengths[at] != first:
                    return -1
                at += 1
                run -= 1
        i += 1
    header.ops = i
    return 0


cdef inline void _code_code_lengths(Coder* coder, Contexts* contexts, Header* header, const Header* guess) noexcept nogil:
    cdef int i
    cdef bint differ = False
    if not coder.decoding:
        differ = header.codes != guess.codes or memcmp(header.code_lengths, guess.code_lengths, 19) != 0
    if not code_bit(coder, &contexts.header_same[2], differ):
        header.codes = guess.codes
        memcpy(header.code_lengths, guess.code_lengths, 19)
        return
    header.codes = 4 + <int> code_tree(coder, contexts.code_count, <uint32_t> (header.codes - 4), 4)
    if header.codes > 19:
        header.codes = 19
    for i in range(19):
        header.code_lengths[i] = <uint8_t> code_tree(
            coder, contexts.code_lengths[guess.code_lengths[i]], header.code_lengths[i], 3
        )


cdef inline int write_stored(BitWriter* out, const uint8_t* plain, int size, bint final) noexcept nogil:
    if reserve(&out.out, <size_t> size + 16):
        return -1
    put_bits(out, final, 3)
    align_bits(out)
    put_bits(out, <uint32_t> size, 16)
    put_bits(out, <uint32_t> (size ^ 0xFFFF), 16)
    return append(&out.out, plain, <size_t> size) if size else 0


cdef inline int _write_header(BitWriter* out, const Header* header) noexcept nogil:
    cdef uint16_t[19] codes
    cdef int i, op
    if not make_codes(header.code_lengths, 19, codes):
        return -2
    put_bits(out, <uint32_t> (header.literals - 257), 5)
    put_bits(out, <uint32_t> (header.distances - 1), 5)
    put_bits(out, <uint32_t> (header.codes - 4), 4)
    for i in range(header.codes):
        put_bits(out, header.code_lengths[code_order(i)], 3)
    for i in range(header.ops):
        op = header.op[i]
        put_bits(out, codes[op], header.code_lengths[op])
        if op >= 16:
            put_bits(out, header.extra[i], 7 if op == 18 else op - 14)
    return 0


cdef inline int write_tokens(
    BitWriter* out, const uint32_t* tokens, size_t count, int form, const Header* header, bint final
) noexcept nogil:
    """A fixed or dynamic block. -1 without memory, -2 when the header is no code."""
    cdef uint16_t[288] literal_codes
    cdef uint16_t[32] distance_codes
    cdef uint8_t[288] literal_lengths
    cdef uint8_t[32] distance_lengths
    cdef int i, code, length, distance
    cdef size_t n
    if reserve(&out.out, count * 6 + 1024):
        return -1
    put_bits(out, <uint32_t> (final | form << 1), 3)
    memset(literal_lengths, 0, sizeof(literal_lengths))
    memset(distance_lengths, 0, sizeof(distance_lengths))
    if form == DYNAMIC:
        code = _write_header(out, header)
        if code:
            return code
        memcpy(literal_lengths, header.lengths, header.literals)
        memcpy(distance_lengths, header.lengths + header.literals, header.distances)
    else:
        for i in range(288):
            literal_lengths[i] = <uint8_t> fixed_length(i)
        memset(distance_lengths, 5, sizeof(distance_lengths))
    if not make_codes(literal_lengths, 288, literal_codes) or not make_codes(distance_lengths, 32, distance_codes):
        return -2
    for n in range(count):
        length = tokens[n] >> 16
        if length == 0:
            code = tokens[n]
            put_bits(out, literal_codes[code], literal_lengths[code])
            continue
        distance = tokens[n] & 0xFFFF
        code = length_code(length)
        put_bits(out, literal_codes[FIRST_LENGTH + code], literal_lengths[FIRST_LENGTH + code])
        put_bits(out, <uint32_t> (length - length_base(code)), length_extra(code))
        code = distance_code(distance)
        put_bits(out, distance_codes[code], distance_lengths[code])
        put_bits(out, <uint32_t> (distance - distance_base(code)), distance_extra(code))
    put_bits(out, literal_codes[END_OF_BLOCK], literal_lengths[END_OF_BLOCK])
    return 0
