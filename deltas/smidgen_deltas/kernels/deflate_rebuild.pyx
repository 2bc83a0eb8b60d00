"""Writing deflate streams again from their plain bytes, a model and corrections to it.

`Rebuilder` is fed plain bytes in any portions and gives compressed bytes as soon as they are certain. It holds the last 128 KiB, what it was
fed last, and the tokens of one block. Corrections come from untrusted deltas: every one is checked before it is acted on.
"""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from .deflate_bits cimport BitWriter, align_bits, append, put_bits, reserve
from .deflate_blocks cimport (
    EVENT_COUNTED,
    EVENT_NATURAL,
    EVENT_STORED,
    code_chunks,
    code_event,
    code_form,
    code_header,
    NO_TOKEN,
    code_miss,
    miss_context,
    reset_contexts,
    token_fits,
    write_stored,
    write_tokens,
)
from .deflate_coder cimport code_bit, start_decoding
from .deflate_inflate cimport BLOCK_NO_MEMORY, DYNAMIC, FIXED, MAX_BLOCK_TOKENS, STORED, Block, grow_tokens
from .deflate_model cimport FAMILY_FAST, Parameters, accept, close_model, open_model, predict
from .deflate_stream cimport (
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
from .deflate_trees cimport Header


class CorrectionsInvalid(Exception):
    """Corrections do not fit the plain bytes."""


cdef enum:
    AT_SEGMENT = 0  # a segment starts
    AT_BLOCK = 1  # a block starts
    IN_BLOCK = 2
    AT_END = 3  # a segment ends
    FINISHED = 4

    MAX_MARKERS = 64
    MAX_OUT = 1 << 20  # bytes after which a call returns

    OK = 0
    WAITING = 1  # for more plain bytes
    INVALID = 2
    NO_MEMORY = 3


cdef class Rebuilder:
    cdef Stream stream
    cdef BitWriter out
    cdef Block block
    cdef bytes corrections
    cdef object segments  # lengths, an iterator
    cdef int state
    cdef bint closed
    cdef uint64_t segment_end  # offset in the stream; only if known_end
    cdef bint known_end
    cdef int event
    cdef uint32_t left  # tokens of a counted block
    cdef bint corrected, full

    def __cinit__(
        self,
        dict parameters,
        int builder,
        bint joined,
        bint final_apart,
        int32_t period,
        bint anew,
        segments,
        bytes corrections not None,
    ):
        cdef Parameters p = parameters
        cdef Stream* s = &self.stream
        s.parameters = p
        s.builder = builder
        s.joined = joined
        s.final_apart = final_apart
        s.period = period
        s.anew = anew
        self.corrections = corrections
        self.segments = iter(segments)
        reset_contexts(&s.contexts)
        start_decoding(&s.coder, <const uint8_t*> <char*> corrections, <size_t> len(corrections))
        if open_model(&s.model, &s.parameters):
            raise MemoryError
        self._next_segment()

    def __dealloc__(self):
        free(self.stream.plain.data)
        free(self.out.out.data)
        free(self.block.tokens)
        close_model(&self.stream.model)

    cdef _next_segment(self):
        cdef uint64_t start = self.stream.origin + <uint64_t> self.stream.at
        self.state = AT_SEGMENT
        if self.stream.period:
            self.segment_end = start + <uint64_t> self.stream.period
            self.known_end = True
            return
        length = next(self.segments, None)
        self.known_end = length is not None
        if length is not None:
            self.segment_end = start + <uint64_t> length

    def feed(self, const uint8_t[::1] data not None) -> bytes:
        """More plain bytes; compressed bytes that follow from them. Call again with none until nothing more comes.

        Raises CorrectionsInvalid.
        """
        if data.shape[0] and append(&self.stream.plain, &data[0], data.shape[0]):
            raise MemoryError
        return self._run()

    def finish(self) -> bytes:
        """No more plain bytes come. Compressed bytes; call again until nothing more comes. Raises CorrectionsInvalid."""
        self.closed = True
        if put_garbage(&self.stream):
            raise MemoryError
        out = self._run()
        if not out and self.state != FINISHED:
            raise CorrectionsInvalid("corrections describe a longer stream")
        return out

    cdef bytes _run(self):
        cdef Stream* s = &self.stream
        cdef int result = OK
        s.model.data = s.plain.data
        while result == OK and self.out.out.size < MAX_OUT:
            if self.state == FINISHED:
                if <size_t> s.at < s.plain.size:
                    result = INVALID
                break
            if self.state == AT_END:
                result = self._end()
            elif self.state == AT_SEGMENT:
                result = self._start()
            else:
                with nogil:
                    result = self._block()
        if result == NO_MEMORY:
            raise MemoryError
        if result == INVALID:
            raise CorrectionsInvalid("corrections do not fit the plain bytes")
        slide(s)
        if self.out.out.size == 0:
            return b""
        out = (<char*> self.out.out.data)[: self.out.out.size]
        self.out.out.size = 0
        return out

    cdef bint _see_end(self) noexcept nogil:
        """Set how far the model sees. True when that is the segment's end."""
        cdef Stream* s = &self.stream
        if self.known_end and self.segment_end - s.origin <= s.plain.size:
            s.model.end = <int32_t> (self.segment_end - s.origin)
            return True
        s.model.end = <int32_t> s.plain.size
        s.model.final_end = self.closed and not self.known_end
        return self.closed

    cdef bint _is_last(self) noexcept nogil:
        """Is the segment that ends here the last? Only to be asked when that is certain."""
        if self.stream.period:
            return self.closed and <size_t> self.stream.at == self.stream.plain.size
        return not self.known_end

    cdef bint _certain(self) noexcept nogil:
        """At a segment's end: is it known whether it is the last?"""
        return self.closed or not self.stream.period or <size_t> self.stream.at < self.stream.plain.size

    cdef int _start(self):
        """A segment without bytes may have no block at all."""
        cdef Stream* s = &self.stream
        cdef bint end = self._see_end(), last
        if not end and <size_t> s.at == s.plain.size:
            return WAITING
        self.state = AT_BLOCK
        if end and s.at == s.model.end:
            if not self._certain():
                self.state = AT_SEGMENT
                return WAITING
            last = self._is_last()
            if not code_more(s, last, True, False):
                self.state = AT_END
        return OK

    cdef int _end(self):
        """Behind a segment's last block."""
        cdef Stream* s = &self.stream
        cdef uint32_t fixed = 0, stored = 0
        cdef bint last = self._is_last()
        if last:
            if not self.closed:
                return WAITING
            if s.final_apart and write_stored(&self.out, NULL, 0, True):
                return NO_MEMORY
            if reserve(&self.out.out, 16):
                return NO_MEMORY
            align_bits(&self.out)
            self.state = FINISHED
            return OK
        code_marker(s, self.out.count, &fixed, &stored)
        if fixed > MAX_MARKERS or stored > MAX_MARKERS:
            return INVALID
        if reserve(&self.out.out, 4 * fixed + 16):
            return NO_MEMORY
        while fixed:
            put_bits(&self.out, 2, 10)
            fixed -= 1
        while stored:
            if write_stored(&self.out, NULL, 0, False):
                return NO_MEMORY
            stored -= 1
        begin_segment(s)
        self._next_segment()
        return OK

    cdef int _block(self) noexcept nogil:
        """Go on with a block as far as the plain bytes allow."""
        cdef Stream* s = &self.stream
        cdef bint end = self._see_end()
        cdef int result
        if self.state == AT_BLOCK:
            if not end and <size_t> s.at == s.plain.size:
                return WAITING
            self._begin_block(end and s.at == s.model.end)
        if self.event == EVENT_STORED:
            return self._stored_block(end)
        result = self._tokens(end)
        return result if result else self._end_block(end)

    cdef void _begin_block(self, bint empty) noexcept nogil:
        cdef Stream* s = &self.stream
        self.left = code_event(&s.coder, &s.contexts, &self.event, 0, s.event_before)
        s.event_before = self.event
        self.state = IN_BLOCK
        self.full = False
        self.block.count = 0
        begin_block(s)
        if self.event == EVENT_NATURAL and s.parameters.family == FAMILY_FAST and not empty:
            self.left = code_chunks(&s.coder, &s.contexts, 0)
        if self.event != EVENT_STORED:
            self.corrected = code_bit(&s.coder, &s.contexts.corrected[0], 0)

    cdef int _stored_block(self, bint end) noexcept nogil:
        cdef Stream* s = &self.stream
        cdef int32_t to = s.at + <int32_t> self.left
        cdef bint full, final = False
        cdef int32_t start = s.at
        cdef Header header
        if self.left > 65535:
            return INVALID
        if to > s.model.end or (not end and to + lookahead(s) > s.model.end):
            return INVALID if end else WAITING
        if end and to == s.model.end and not self._certain():
            return WAITING
        simulate_stored(s, to, &full)
        s.model.known = False
        s.ended_full = False
        header.codes = 0
        end_block(s, STORED, &header)
        if self._close_block(end, &final):
            return INVALID
        return NO_MEMORY if write_stored(&self.out, s.plain.data + start, to - start, final) else OK

    cdef int _tokens(self, bint end) noexcept nogil:
        """Tokens until the block ends or more plain bytes are needed."""
        cdef Stream* s = &self.stream
        cdef uint32_t token
        cdef int result
        while True:
            if self.event == EVENT_COUNTED:
                if self.left == 0:
                    return OK
            elif self.full or (end and s.at == s.model.end):
                return OK
            if s.at >= s.model.end or (not end and s.at + lookahead(s) > s.model.end):
                return INVALID if end else WAITING
            if self.block.count == self.block.room:
                result = grow_tokens(&self.block)
                if result:
                    return NO_MEMORY if result == BLOCK_NO_MEMORY else INVALID
            token = predict(&s.model, s.at)
            if self.corrected:
                token = self._correct(token)
                if token == NO_TOKEN:
                    return INVALID
            accept(&s.model, s.at, token)
            self.block.tokens[self.block.count] = token
            self.block.count += 1
            self.full = take_token(s, token)
            if self.event == EVENT_COUNTED:
                self.left -= 1
            elif self.full and s.parameters.family == FAMILY_FAST:
                self.left -= 1
                self.full = self.left == 0

    cdef uint32_t _correct(self, uint32_t token) noexcept nogil:
        """The real token instead of the predicted one; NO_TOKEN when it cannot be."""
        cdef Stream* s = &self.stream
        cdef bint wrong = code_bit(&s.coder, &s.contexts.miss[miss_context(token, s.history)], 0)
        s.history = (s.history << 1 | wrong) & 3
        if wrong:
            token = code_miss(&s.coder, &s.contexts, &s.model, s.at, token, 0, 0)
            if token == NO_TOKEN or not token_fits(&s.model, s.at, token):
                return NO_TOKEN
        return token

    cdef int _end_block(self, bint end) noexcept nogil:
        """All tokens are there: form, header, bits."""
        cdef Stream* s = &self.stream
        cdef Header predicted, header
        cdef int form, result
        cdef bint final = False
        cdef int32_t start = s.block_start
        if end and s.at == s.model.end and not self._certain():
            return WAITING
        s.ended_full = self.full
        form = predict_form(s, &predicted)
        form = code_form(&s.coder, &s.contexts, form, form)
        memset(&header, 0, sizeof(Header))
        if form == DYNAMIC:
            if code_header(&s.coder, &s.contexts, &header, &predicted, s.builder, s.joined):
                return INVALID
        elif form == STORED and s.at - start > 65535:
            return INVALID
        end_block(s, form, &header)
        if self._close_block(end, &final):
            return INVALID
        if form == STORED:
            result = write_stored(&self.out, s.plain.data + start, s.at - start, final)
        else:
            result = write_tokens(&self.out, self.block.tokens, self.block.count, form, &header, final)
        return OK if result == 0 else NO_MEMORY if result == -1 else INVALID

    cdef int _close_block(self, bint end, bint* final) noexcept nogil:
        """What comes behind the block, and so whether it is the stream's final one."""
        cdef Stream* s = &self.stream
        cdef bint last
        self.state = AT_BLOCK
        if not end or s.at < s.model.end:
            return 0
        last = self._is_last()
        if not code_more(s, last, False, False):
            self.state = AT_END
            final[0] = last and not s.final_apart
        elif self.block.count == 0 and self.event == EVENT_NATURAL and not last:
            return -1  # no encoder writes empty blocks without end
        return 0
