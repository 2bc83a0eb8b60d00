# The state that taking apart and rebuilding share: a sliding buffer of plain bytes, the model over it, the coder of corrections.

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memmove, memset

from .deflate_bits cimport Bytes, reserve
from .deflate_blocks cimport (
    Contexts,
    Counts,
    block_is_full,
    choose_form,
    choose_form_fast,
    clear_counts,
    count_token,
)
from .deflate_coder cimport Coder, code_bit, code_number
from .deflate_inflate cimport DYNAMIC
from .deflate_model cimport (
    FAMILY_FAST,
    FAMILY_GO,
    FAMILY_GZIP,
    Model,
    Parameters,
    accept,
    insert_up_to,
    predict,
    reset_model,
    restart_model,
    slide_model,
)
from .deflate_trees cimport Header, header_bits, predict_header

cdef enum:
    LOOKAHEAD = 1024  # more than any search of two positions and a hash looks at
    LOOKAHEAD_FAST = 65535 + 1024  # a whole chunk
    HISTORY = 1 << 17  # kept behind the position: a stored block and the window before it
    SLIDE_AT = 1 << 20
    GARBAGE = 512  # bytes written behind the end


cdef struct Stream:
    Parameters parameters
    int builder
    bint joined
    bint final_apart  # the stream ends with an empty stored block of its own, as Go's do
    int32_t period  # segments of this size, 0 for none
    bint anew  # no segment refers to the ones before
    Bytes plain
    uint64_t origin  # offset in the stream of the buffer's first byte
    int32_t at  # everything before is in finished tokens
    int32_t block_start
    Model model
    Coder coder
    Contexts contexts
    Counts counts
    Counts first_counts  # when the block could have ended for the first time, and what else was so then
    int32_t first_plain
    int first_kind
    uint32_t fulls
    uint32_t last_header  # bits of the header that klauspost's encoder could go on using, or 0
    bint last_empty
    uint64_t segment_start
    int event_before
    int history  # of the last two predictions, wrong ones as set bits
    bint ended_full  # the last block ended by the encoder's rule of size


cdef inline void slide(Stream* self) noexcept nogil:
    """Drop what is out of every reach."""
    cdef int32_t by = self.at - HISTORY
    if self.at < SLIDE_AT:
        return
    by &= ~65535  # miniz has positions modulo 64 KiB
    memmove(self.plain.data, self.plain.data + by, self.plain.size - <size_t> by)
    self.plain.size -= <size_t> by
    self.origin += <uint64_t> by
    self.at -= by
    self.block_start -= by
    self.model.data = self.plain.data
    slide_model(&self.model, by)


cdef inline int put_garbage(Stream* self) noexcept nogil:
    """What lies behind the end of the data in GNU gzip's window: two zeros, then the data of 32 KiB before."""
    cdef size_t end = self.plain.size, i
    if reserve(&self.plain, GARBAGE):
        return -1
    self.model.data = self.plain.data
    memset(self.plain.data + end, 0, GARBAGE)
    if self.parameters.family == FAMILY_GZIP and self.origin + end >= 65536:
        for i in range(2, GARBAGE):
            self.plain.data[end + i] = self.plain.data[end + i - 32768]
    return 0


cdef inline void begin_segment(Stream* self) noexcept nogil:
    """Where an encoder is restarted on the bytes before (pigz), a greedy one knows all of them."""
    cdef int32_t low = self.at - 32768
    cdef uint64_t now = self.origin + <uint64_t> self.at
    if self.anew:
        restart_model(&self.model, self.at, self.at - <int32_t> (
            now - self.segment_start if now - self.segment_start < HISTORY else HISTORY
        ))
        if self.period:
            self.model.start = self.at
    elif self.period and not self.parameters.lazy:
        reset_model(&self.model)
        self.model.inserted = low if low > 0 else 0
    self.model.known = False
    self.segment_start = now
    self.last_header = 0


cdef inline int32_t lookahead(const Stream* self) noexcept nogil:
    """Bytes that must be there behind a token's start, unless the segment ends before."""
    return LOOKAHEAD_FAST if self.parameters.family == FAMILY_FAST else LOOKAHEAD


cdef inline void begin_block(Stream* self) noexcept nogil:
    clear_counts(&self.counts)
    self.fulls = 0


cdef inline bint take_token(Stream* self, uint32_t token) noexcept nogil:
    """Count a token that the model has accepted and go behind it. True when the encoder ends (or may end) the block here."""
    cdef bint full
    count_token(&self.counts, token)
    full = block_is_full(&self.counts, &self.model, self.block_start, self.at, token)
    self.at += 1 if token < 256 else <int32_t> (token >> 16)
    if full:
        self.fulls += 1
        if self.fulls == 1 and self.parameters.family == FAMILY_FAST:
            self.first_counts = self.counts
            self.first_plain = self.at - self.block_start
            self.first_kind = self.model.fast.kind
    return full


cdef inline bint is_storable(const Stream* self, int32_t to) noexcept nogil:
    """Can the block up to `to` be stored? One stored block holds it, and the encoder still has its bytes."""
    if to - self.block_start > 65535:
        return False
    return self.parameters.family != FAMILY_GO or self.block_start >= self.model.base


cdef inline int predict_form(Stream* self, Header* header) noexcept nogil:
    """The form of the block that has just ended, and its dynamic header."""
    cdef const Counts* counts = &self.counts
    cdef int32_t plain = self.at - self.block_start
    cdef bint fast = self.parameters.family == FAMILY_FAST and self.fulls
    if fast:
        counts = &self.first_counts
        plain = self.first_plain
    memset(header, 0, sizeof(Header))
    predict_header(header, self.builder, self.joined, counts.literals, counts.distances)
    if fast:
        return choose_form_fast(counts, header, self.first_kind, plain, self.last_header)
    return choose_form(counts, header, self.parameters.family, plain, is_storable(self, self.at))


cdef inline void end_block(Stream* self, int form, const Header* header) noexcept nogil:
    """Remember what the next block depends on."""
    self.last_empty = self.block_start == self.at
    self.last_header = <uint32_t> header_bits(header) + 3 if form == DYNAMIC else 0
    self.block_start = self.at


cdef inline bint code_more(Stream* self, bint last, bint empty, bint more) noexcept nogil:
    """Does another block without bytes follow at the segment's end?"""
    cdef bint predicted = last and not self.final_apart and (
        empty
        or (self.ended_full and self.parameters.family != FAMILY_GO and self.parameters.family != FAMILY_FAST)
        or (self.parameters.family == FAMILY_FAST and not self.last_empty)
    )
    return code_bit(&self.coder, &self.contexts.more[last << 1 | empty], more != predicted) != predicted


cdef inline void code_marker(Stream* self, int bits, uint32_t* fixed, uint32_t* stored) noexcept nogil:
    """Empty blocks behind a segment: some fixed ones, then some stored ones. `bits`: how many of the last byte are used."""
    cdef uint32_t guess_fixed = 0, guess_stored = 1
    if self.period and self.anew:
        guess_stored = 2
    elif self.period and not bits & 1:
        guess_stored = 0
        guess_fixed = ((8 - bits) & 7) >> 1
    if not code_bit(&self.coder, &self.contexts.marker, fixed[0] != guess_fixed or stored[0] != guess_stored):
        fixed[0] = guess_fixed
        stored[0] = guess_stored
        return
    fixed[0] = code_number(&self.coder, self.contexts.marker_fixed, fixed[0])
    stored[0] = code_number(&self.coder, self.contexts.marker_stored, stored[0])


cdef inline bint simulate_stored(Stream* self, int32_t to, bint* full) noexcept nogil:
    """Let the model take its own tokens up to `to`. True when its block ended exactly there; `full` when it ended there or before."""
    cdef uint32_t token
    full[0] = False
    begin_block(self)
    while self.at < to:
        token = predict(&self.model, self.at)
        if full[0] or self.at + (1 if token < 256 else <int32_t> (token >> 16)) > to:
            # It would have ended its block before, or elsewhere. Only the chains matter from here on.
            insert_up_to(&self.model, to - 1)
            self.model.known = False
            self.at = to
            full[0] = True
            return False
        accept(&self.model, self.at, token)
        full[0] = take_token(self, token)
    return full[0]
