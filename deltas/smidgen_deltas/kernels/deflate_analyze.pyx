"""Taking deflate streams apart: tokens, trial of encoder models, and the corrections to the best one.

`Analyzer` is fed compressed bytes. It holds what it has decoded until the model has been chosen and has caught up, so memory is bounded by the
largest block. See unpackers/DEFLATE.md for what the corrections mean.
"""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memmove, memset

from .deflate_bits cimport Bytes, append, reserve
from .deflate_blocks cimport (
    EVENT_COUNTED,
    EVENT_NATURAL,
    EVENT_STORED,
    MAX_CHUNKS,
    MAX_HOPS,
    block_is_full,
    clear_counts,
    code_chunks,
    code_event,
    code_form,
    code_header,
    code_miss,
    count_token,
    miss_context,
    reset_contexts,
)
from .deflate_coder cimport code_bit, finish_encoding, start_encoding
from .deflate_inflate cimport (
    BLOCK_BAD,
    BLOCK_NEEDS_INPUT,
    BLOCK_NO_MEMORY,
    BLOCK_READ,
    DYNAMIC,
    FIXED,
    STORED,
    BitReader,
    Block,
    Decoder,
    read_block,
)
from .deflate_model cimport (
    FAMILY_FAST,
    Model,
    Parameters,
    accept,
    close_model,
    hops_of,
    insert_up_to,
    open_model,
    predict,
    restart_model,
)
from .deflate_stream cimport (
    LOOKAHEAD,
    LOOKAHEAD_FAST,
    Stream,
    begin_block,
    begin_segment,
    code_marker,
    code_more,
    end_block,
    lookahead,
    predict_form,
    put_garbage,
    simulate_stored,
    slide,
    take_token,
)
from .deflate_trees cimport Header, predict_header


class DeflateRefused(Exception):
    """Not deflate, damaged, or written in a way that is not written again here."""


cdef enum:
    MAX_WAITING = 1 << 15  # blocks decoded and not yet predicted
    MAX_SEGMENTS = 1 << 20


cdef struct Miss:
    uint32_t index
    uint32_t predicted
    int hops


cdef class Pending:
    """One decoded block that waits for its prediction."""

    cdef Block block
    cdef int bits  # of the last byte, used when the block ended

    def __dealloc__(self):
        free(self.block.tokens)


cdef bint marks(Pending item) noexcept:
    """An empty block that is not the last and carries nothing but an end of segment."""
    return item.block.plain == 0 and not item.block.final and item.block.kind != DYNAMIC


cdef Parameters parameters_of(dict values) except *:
    cdef Parameters p
    p = values
    return p


cdef class Analyzer:
    cdef Stream stream
    cdef Bytes input
    cdef BitReader reader
    cdef Decoder* literals
    cdef Decoder* distances
    cdef list queue
    cdef list spare
    cdef list segments
    cdef bint closed, ended, last_apart, fresh  # fresh: at a segment's start
    cdef size_t wanted  # input that must be there before the next try
    cdef size_t handed  # of plain: already given away
    cdef Miss* misses
    cdef size_t miss_count, miss_room
    cdef uint32_t* predicted
    cdef size_t predicted_room
    cdef readonly uint64_t missed
    cdef readonly uint64_t tokens
    cdef readonly uint64_t blocks

    def __cinit__(self):
        self.literals = <Decoder*> malloc(sizeof(Decoder))
        self.distances = <Decoder*> malloc(sizeof(Decoder))
        if self.literals == NULL or self.distances == NULL:
            raise MemoryError
        self.queue = []
        self.spare = []
        self.segments = []
        reset_contexts(&self.stream.contexts)
        start_encoding(&self.stream.coder)

    def __dealloc__(self):
        free(self.literals)
        free(self.distances)
        free(self.input.data)
        free(self.stream.plain.data)
        free(self.stream.coder.out.data)
        free(self.misses)
        free(self.predicted)
        close_model(&self.stream.model)

    def feed(self, const uint8_t[::1] data not None):
        """More compressed bytes."""
        cdef size_t used = self.reader.at
        if used > 1 << 16:
            memmove(self.input.data, self.input.data + used, self.input.size - used)
            self.input.size -= used
            self.reader.at = 0
            self.wanted = self.wanted - used if self.wanted > used else 0
        if data.shape[0] and append(&self.input, &data[0], data.shape[0]):
            raise MemoryError
        self.reader.data = self.input.data
        self.reader.size = self.input.size

    def close(self):
        """No more compressed bytes will come."""
        self.closed = True

    @property
    def done(self) -> bool:
        """The final block has been decoded."""
        return self.ended

    def unused(self) -> bytes:
        """Those of the bytes fed that lie behind the final block. Raises DeflateRefused when its padding is not zero."""
        cdef size_t start
        if not self.ended or self.reader.bits & ((<uint64_t> 1 << (self.reader.count & 7)) - 1):
            raise DeflateRefused("padding behind the final block")
        start = self.reader.at - <size_t> (self.reader.count // 8)
        return (<char*> self.input.data)[start : self.input.size] if start < self.input.size else b""

    def take_plain(self) -> bytes:
        """Plain bytes decoded since the last call."""
        cdef size_t start = self.handed
        self.handed = self.stream.plain.size
        if start == self.handed:
            return b""
        return (<char*> self.stream.plain.data)[start : self.handed]

    def decode(self, size_t ahead) -> bool:
        """Decode until `ahead` bytes and one block more wait for prediction, or the stream ends. False for lack of input.

        Raises DeflateRefused.
        """
        cdef Pending item
        cdef int result
        while not self.ended and not self._enough(ahead):
            if not self.closed and self.input.size < self.wanted:
                return False
            if len(self.queue) >= MAX_WAITING:
                raise DeflateRefused("too many small blocks")
            item = self.spare.pop() if self.spare else Pending()
            result = self._read(item)
            if result == BLOCK_NEEDS_INPUT:
                self.spare.append(item)
                if self.closed:
                    raise DeflateRefused("deflate stream ends early")
                self.wanted = self.input.size + (self.input.size - self.reader.at) // 2 + 1
                return False
            if result == BLOCK_NO_MEMORY:
                raise MemoryError
            if result != BLOCK_READ:
                raise DeflateRefused("not a deflate block")
            self.queue.append(item)
            self.ended = item.block.final
            self.last_apart = item.block.final and item.block.kind == STORED and item.block.plain == 0
        return True

    cdef bint _enough(self, size_t ahead):
        cdef size_t waiting = self.stream.plain.size - <size_t> self.stream.at
        if len(self.queue) < 2 or marks(self.queue[len(self.queue) - 1]):
            return False
        return waiting >= ahead and waiting >= (<Pending> self.queue[0]).block.plain + LOOKAHEAD_FAST

    cdef int _read(self, Pending item):
        cdef size_t history = self.stream.plain.size
        cdef int result
        if history > 32768:
            history = 32768
        with nogil:
            result = read_block(
                &self.reader, &item.block, &self.stream.plain, history, self.literals, self.distances
            )
        item.bits = (-self.reader.count) & 7
        return result

    def first_marker(self) -> int:
        """Offset of the first end of segment among the waiting blocks, or -1."""
        cdef Pending item
        cdef uint64_t at = self.stream.origin + <uint64_t> self.stream.at
        for item in self.queue:
            at += item.block.plain
            if marks(item):
                return at
        return -1

    def waiting_tokens(self) -> int:
        """Tokens of the decoded blocks that wait."""
        cdef Pending item
        cdef size_t total = 0
        for item in self.queue:
            total += item.block.count
        return total

    def trial(self, dict parameters, uint64_t limit, bint anew) -> tuple[int, int]:
        """(wrong predictions, tokens tried) of a model over the waiting blocks; stops above `limit` wrong ones.

        `anew`: each segment is taken by itself.
        """
        cdef Model model
        cdef Parameters p = parameters_of(parameters)
        cdef Stream* s = &self.stream
        cdef uint64_t wrong = 0, tried = 0
        cdef Pending item
        cdef int32_t end
        if open_model(&model, &p):
            close_model(&model)
            raise MemoryError
        s.parameters = p
        if put_garbage(s):
            raise MemoryError
        model.data = s.plain.data
        model.end = <int32_t> s.plain.size
        cdef int32_t at = s.at, first = s.at
        for item in self.queue:
            end = self._segment_end_from(at, item)
            model.end = end if end >= 0 else <int32_t> s.plain.size
            model.final_end = end == <int32_t> s.plain.size and self._final_end()
            if anew and marks(item):
                restart_model(&model, at, first)
                first = at
            if item.block.kind == STORED:
                if end < 0 and at + <int32_t> item.block.plain + lookahead(s) > model.end:
                    break
                insert_up_to(&model, at + <int32_t> item.block.plain - 1)
                model.known = False
            elif not self._try_block(&model, &item.block, at, end >= 0, limit, &wrong, &tried):
                break
            at += <int32_t> item.block.plain
        close_model(&model)
        return wrong, tried

    cdef bint _try_block(
        self, Model* model, Block* block, int32_t at, bint sure, uint64_t limit, uint64_t* wrong, uint64_t* tried
    ):
        """False to stop."""
        cdef size_t i
        cdef int32_t start = at
        cdef uint32_t token
        cdef bint full = False, early = False
        with nogil:
            clear_counts(&self.stream.counts)
            for i in range(block.count):
                if not sure and at + lookahead(&self.stream) > model.end:
                    return False
                token = block.tokens[i]
                wrong[0] += predict(model, at) != token
                tried[0] += 1
                accept(model, at, token)
                count_token(&self.stream.counts, token)
                early = early or (full and model.with_.family != FAMILY_FAST)
                full = block_is_full(&self.stream.counts, model, start, at, token)
                at += 1 if token < 256 else <int32_t> (token >> 16)
                if wrong[0] > limit:
                    return False
            if early or not (full or at == model.end):
                wrong[0] += 8
        return True

    def try_header(self, int builder, bint joined) -> int:
        """How many code lengths of the first dynamic block differ from what a builder of codes makes."""
        cdef Pending item
        cdef Header header
        cdef int i, differ = 0
        cdef size_t n
        for item in self.queue:
            if item.block.kind != DYNAMIC:
                continue
            clear_counts(&self.stream.counts)
            for n in range(item.block.count):
                count_token(&self.stream.counts, item.block.tokens[n])
            memset(&header, 0, sizeof(header))
            predict_header(&header, builder, joined, self.stream.counts.literals, self.stream.counts.distances)
            differ += abs(header.literals - item.block.header.literals)
            differ += abs(header.distances - item.block.header.distances)
            differ += abs(header.ops - item.block.header.ops) + abs(header.codes - item.block.header.codes)
            for i in range(header.literals + header.distances):
                differ += header.lengths[i] != item.block.header.lengths[i]
            for i in range(19):
                differ += header.code_lengths[i] != item.block.header.code_lengths[i]
            break
        return differ

    def choose(self, dict parameters, int builder, bint joined, int32_t period, bint anew):
        """Fix the model. Must come before advance()."""
        cdef Stream* s = &self.stream
        s.parameters = parameters_of(parameters)
        s.builder = builder
        s.joined = joined
        s.period = period
        s.anew = anew
        if open_model(&s.model, &s.parameters):
            raise MemoryError
        self.fresh = True

    cdef int32_t _segment_end_from(self, int32_t at, Pending first):
        """Position of the end of the segment that `first`, which starts at `at`, is in; -1 when not decoded yet."""
        cdef Pending item
        cdef bint found = False
        cdef int32_t to = at, period_end = -1
        cdef uint64_t absolute
        if self.stream.period:
            absolute = self.stream.origin + <uint64_t> at
            period_end = at + <int32_t> (self.stream.period - absolute % <uint64_t> self.stream.period)
            if absolute and absolute % <uint64_t> self.stream.period == 0 and first.block.plain == 0:
                period_end = at
        for item in self.queue:
            found = found or item is first
            if not found:
                continue
            if marks(item):
                break
            to += <int32_t> item.block.plain
            if item.block.final:
                break
        else:
            to = -1
        if period_end >= 0 and (to < 0 or period_end < to):
            if period_end <= <int32_t> self.stream.plain.size:
                return period_end
        return to

    def advance(self):
        """Predict and correct as many waiting blocks as can be. Raises DeflateRefused when the period does not fit."""
        cdef Pending item
        cdef Stream* s = &self.stream
        cdef int32_t end
        if self.handed != s.plain.size:
            raise RuntimeError("advance() before take_plain()")
        if self.ended and put_garbage(s):
            raise MemoryError
        s.model.data = s.plain.data
        while self.queue:
            item = self.queue[0]
            end = self._segment_end_from(s.at, item)
            if end < 0 and s.plain.size - <size_t> s.at < item.block.plain + <size_t> lookahead(s):
                break
            if end >= 0 and not self._can_end(s.at + <int32_t> item.block.plain, end):
                break
            if end >= 0 and s.at + <int32_t> item.block.plain > end:
                raise DeflateRefused("segments are not as long as supposed")
            s.model.end = end if end >= 0 else <int32_t> s.plain.size
            s.model.final_end = end == <int32_t> s.plain.size and self._final_end()
            self._block(item, end)
        slide(s)
        self.handed = s.plain.size

    cdef bint _final_end(self):
        """Is the end of the bytes that of the last segment, as rebuilding will know it?"""
        cdef Pending item
        if self.stream.period or not self.ended:
            return False
        for item in self.queue:
            if marks(item):
                return False
        return True

    cdef bint _can_end(self, int32_t to, int32_t end):
        """Is what follows a block that ends its segment decoded: all empty blocks and the one behind them?"""
        cdef Pending item
        if to < end or self.ended:
            return True
        for item in self.queue[1:]:
            if not marks(item):
                return True
        return False

    cdef _block(self, Pending item, int32_t end):
        """One block at the front of the queue, and the segment's end behind it where that is reached."""
        cdef Stream* s = &self.stream
        cdef bint last
        if self.fresh and s.at == end and self._empty_segment(item):
            return
        self.fresh = False
        self.queue.pop(0)
        self.blocks += 1
        if item.block.kind == STORED:
            self._stored(&item.block, end)
        else:
            self._coded(&item.block, end)
        if s.at == end:
            last = self._is_last()
            if last:
                s.final_apart = self.last_apart
            if self._another(last):
                code_more(s, last, False, True)
            else:
                code_more(s, last, False, False)
                self._end_segment(last, item.bits)
        self.spare.append(item)

    cdef bint _is_last(self):
        """No marker waits before the end: this segment is the stream's last."""
        cdef Pending item
        if not self.ended:
            return False
        for item in self.queue:
            if marks(item) or item.block.plain:
                return False
        return True

    cdef bint _another(self, bint last):
        """Is the next block one without bytes that is no marker?"""
        cdef Pending item
        if not self.queue:
            return False
        item = self.queue[0]
        if marks(item) or item.block.plain:
            return False
        return not (last and self.stream.final_apart and item.block.final and len(self.queue) == 1)

    cdef bint _empty_segment(self, Pending item):
        """A segment without bytes starts: True when it also has no blocks and is over."""
        cdef Stream* s = &self.stream
        cdef bint last = self._is_last(), more
        if last:
            s.final_apart = self.last_apart
        more = self._another(last)
        code_more(s, last, True, more)
        if more:
            return False
        self._end_segment(last, -1)
        return True

    cdef _end_segment(self, bint last, int bits):
        cdef Stream* s = &self.stream
        cdef Pending item
        cdef uint32_t fixed = 0, stored = 0
        if last:
            self.queue.clear()
            return
        while self.queue and (s.period or not stored):
            item = self.queue[0]
            if not marks(item):
                break
            if stored and item.block.kind == FIXED:
                raise DeflateRefused("segments end in an unusual way")
            fixed += item.block.kind == FIXED
            stored += item.block.kind == STORED
            self.spare.append(self.queue.pop(0))
        if len(self.segments) >= MAX_SEGMENTS:
            raise DeflateRefused("too many segments")
        code_marker(s, bits if bits >= 0 else 0, &fixed, &stored)
        if not s.period:
            self.segments.append(s.origin + <uint64_t> s.at - s.segment_start)
        self.fresh = True
        begin_segment(s)

    cdef _stored(self, Block* block, int32_t end):
        """The model goes over the bytes as if they had been tokens; both directions do."""
        cdef Stream* s = &self.stream
        cdef int event
        cdef bint natural, full
        cdef Header header
        with nogil:
            natural = simulate_stored(s, s.at + <int32_t> block.plain, &full)
            natural = natural or (s.at == end and not full)
            natural = predict_form(s, &header) == STORED and natural
            event = EVENT_NATURAL if natural else EVENT_STORED
            code_event(&s.coder, &s.contexts, &event, <uint32_t> block.plain, s.event_before)
            s.event_before = event
            if natural:
                self._chunks(s.at == s.block_start)
                code_bit(&s.coder, &s.contexts.corrected[0], 0)
                code_form(&s.coder, &s.contexts, STORED, STORED)
            else:
                s.model.known = False
            s.ended_full = natural and full
            end_block(s, STORED, &header)

    cdef void _chunks(self, bint empty) noexcept nogil:
        """How many chunks a natural block has; an empty one at the end has none."""
        cdef Stream* s = &self.stream
        if s.parameters.family == FAMILY_FAST and not empty:
            code_chunks(&s.coder, &s.contexts, s.fulls)

    cdef _coded(self, Block* block, int32_t end):
        cdef Stream* s = &self.stream
        cdef int event, form
        cdef bint natural
        cdef Header header
        with nogil:
            natural = self._tokens(block, end)
            event = EVENT_NATURAL if natural else EVENT_COUNTED
            code_event(&s.coder, &s.contexts, &event, <uint32_t> block.count, s.event_before)
            s.event_before = event
            if natural:
                self._chunks(block.count == 0)
            self._corrections(block)
            form = predict_form(s, &header)
            code_form(&s.coder, &s.contexts, block.kind, form)
            if block.kind == DYNAMIC:
                code_header(&s.coder, &s.contexts, &block.header, &header, s.builder, s.joined)
            end_block(s, block.kind, &block.header)
        if self.miss_count == <size_t> -1 or s.coder.over < 0:
            raise MemoryError

    cdef bint _tokens(self, Block* block, int32_t end) noexcept nogil:
        """Compare predictions with the tokens; does the block end where the encoder's rule says?"""
        cdef Stream* s = &self.stream
        cdef size_t i
        cdef uint32_t token, guess
        cdef bint full = False, early = False
        self.miss_count = 0
        begin_block(s)
        for i in range(block.count):
            token = block.tokens[i]
            guess = predict(&s.model, s.at)
            if guess != token:
                self._note(<uint32_t> i, guess, token)
            accept(&s.model, s.at, token)
            early = early or full
            full = take_token(s, token)
        self.tokens += block.count
        s.ended_full = full and not early
        if s.parameters.family == FAMILY_FAST:
            return s.fulls < MAX_CHUNKS and (full or (s.at == end and block.count == 0))
        return not early and (full or s.at == end)

    cdef void _note(self, uint32_t index, uint32_t guess, uint32_t token) noexcept nogil:
        cdef Miss* more
        cdef Miss* miss
        cdef int length = token >> 16
        if self.miss_count == <size_t> -1:
            return
        if self.miss_count == self.miss_room:
            self.miss_room = self.miss_room * 2 + 256
            more = <Miss*> realloc(self.misses, self.miss_room * sizeof(Miss))
            if more == NULL:
                self.miss_count = <size_t> -1
                return
            self.misses = more
        miss = &self.misses[self.miss_count]
        miss.index = index
        miss.predicted = guess
        miss.hops = -1
        if length:
            miss.hops = hops_of(&self.stream.model, self.stream.at, length, token & 0xFFFF, MAX_HOPS)
        self.miss_count += 1
        self.missed += 1

    cdef void _corrections(self, Block* block) noexcept nogil:
        """Code where predictions were wrong, token by token, in blocks that have any."""
        cdef Stream* s = &self.stream
        cdef size_t i, n = 0
        cdef int32_t at = s.block_start
        cdef uint32_t token, guess
        cdef bint wrong
        if self.miss_count == <size_t> -1:
            return
        if not code_bit(&s.coder, &s.contexts.corrected[0], self.miss_count != 0):
            return
        for i in range(block.count):
            token = block.tokens[i]
            wrong = n < self.miss_count and self.misses[n].index == i
            guess = self.misses[n].predicted if wrong else token
            code_bit(&s.coder, &s.contexts.miss[miss_context(guess, s.history)], wrong)
            s.history = (s.history << 1 | wrong) & 3
            if wrong:
                code_miss(&s.coder, &s.contexts, &s.model, at, guess, token, self.misses[n].hops)
                n += 1
            at += 1 if token < 256 else <int32_t> (token >> 16)

    def corrections_so_far(self) -> int:
        """Bytes of corrections up to now."""
        return self.stream.coder.out.size

    def finish(self) -> tuple[bytes, list[int], bool]:
        """(corrections, lengths of all segments but the last, whether the stream ends in an empty stored block)."""
        if not self.ended or self.queue:
            raise RuntimeError("finish() before the end of the stream")
        finish_encoding(&self.stream.coder)
        if self.stream.coder.over < 0:
            raise MemoryError
        out = (<char*> self.stream.coder.out.data)[: self.stream.coder.out.size] if self.stream.coder.out.size else b""
        return out, self.segments, bool(self.stream.final_apart)
