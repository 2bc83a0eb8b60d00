# An adaptive binary range coder that is the same code in both directions.
#
# Every `code_*` function takes the value to write and returns the value read: encoding gives back what it got, decoding ignores its
# argument. So what a recipe contains is written down once. Probabilities have 16 bits and move by a 32nd; the interval has 32 bits with
# carry propagation, as in LZMA. Reading past the end of a recipe gives zeros and sets `over`.

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from .deflate_bits cimport Bytes, __builtin_clz, reserve

cdef enum:
    PROBABILITY_BITS = 16
    RATE = 5


cdef struct Coder:
    bint decoding
    uint64_t low
    uint32_t span
    uint32_t code
    uint8_t cache
    size_t pending
    Bytes out
    const uint8_t* data
    size_t size
    size_t at
    int over  # bytes read past the end, or -1 out of memory when encoding


cdef inline void _shift_low(Coder* self) noexcept nogil:
    cdef uint8_t carry
    if self.low < <uint64_t> 0xFF000000 or self.low >> 32:
        carry = <uint8_t> (self.low >> 32)
        if reserve(&self.out, self.pending + 1):
            self.over = -1
            return
        while True:
            self.out.data[self.out.size] = <uint8_t> (self.cache + carry)
            self.out.size += 1
            self.cache = 0xFF
            if self.pending == 0:
                break
            self.pending -= 1
        self.cache = <uint8_t> (self.low >> 24)
    else:
        self.pending += 1
    self.low = (self.low & 0x00FFFFFF) << 8


cdef inline uint8_t _next_byte(Coder* self) noexcept nogil:
    if self.at < self.size:
        self.at += 1
        return self.data[self.at - 1]
    self.over += 1
    return 0


cdef inline void start_encoding(Coder* self) noexcept nogil:
    self.decoding = False
    self.low = 0
    self.span = <uint32_t> 0xFFFFFFFF
    self.cache = 0
    self.pending = 0
    self.over = 0


cdef inline void start_decoding(Coder* self, const uint8_t* data, size_t size) noexcept nogil:
    cdef int i
    self.decoding = True
    self.data = data
    self.size = size
    self.at = 0
    self.over = 0
    self.span = <uint32_t> 0xFFFFFFFF
    self.code = 0
    for i in range(5):
        self.code = self.code << 8 | _next_byte(self)


cdef inline void finish_encoding(Coder* self) noexcept nogil:
    """Write the rest. Trailing zeros need not be kept: reading past the end gives them."""
    cdef int i
    for i in range(5):
        _shift_low(self)
    while self.out.size and self.out.data[self.out.size - 1] == 0:
        self.out.size -= 1


cdef inline int code_bit(Coder* self, uint16_t* probability, int bit) noexcept nogil:
    """One bit under an adaptive probability (of 0)."""
    cdef uint32_t bound = (self.span >> PROBABILITY_BITS) * probability[0]
    if self.decoding:
        bit = self.code >= bound
    if bit:
        if self.decoding:
            self.code -= bound
        else:
            self.low += bound
        self.span -= bound
        probability[0] -= probability[0] >> RATE
    else:
        self.span = bound
        probability[0] += (65535 - probability[0]) >> RATE
    while self.span < (1 << 24):
        self.span <<= 8
        if self.decoding:
            self.code = self.code << 8 | _next_byte(self)
        else:
            _shift_low(self)
    return bit


cdef inline uint32_t code_plain(Coder* self, uint32_t value, int count) noexcept nogil:
    """`count` bits, each as likely 0 as 1, high bit first."""
    cdef uint32_t result = 0
    cdef int i, bit
    for i in range(count - 1, -1, -1):
        bit = (value >> i) & 1
        self.span >>= 1
        if self.decoding:
            bit = self.code >= self.span
            if bit:
                self.code -= self.span
        elif bit:
            self.low += self.span
        result = result << 1 | <uint32_t> bit
        while self.span < (1 << 24):
            self.span <<= 8
            if self.decoding:
                self.code = self.code << 8 | _next_byte(self)
            else:
                _shift_low(self)
    return result


cdef inline uint32_t code_tree(Coder* self, uint16_t* tree, uint32_t value, int count) noexcept nogil:
    """A number of `count` bits, each bit in the context of those above; `tree` has 1 << count probabilities."""
    cdef uint32_t node = 1
    cdef int i
    for i in range(count - 1, -1, -1):
        node = node << 1 | <uint32_t> code_bit(self, &tree[node], (value >> i) & 1)
    return node - (<uint32_t> 1 << count)


cdef inline uint32_t code_number(Coder* self, uint16_t* tree, uint32_t value) noexcept nogil:
    """Any number below 2**31: its bit length by a 5-bit tree (32 probabilities), then the bits below the top one."""
    cdef uint32_t more = value + 1
    cdef int bits = 0
    if not self.decoding:
        bits = 31 - __builtin_clz(more)
    bits = <int> code_tree(self, tree, <uint32_t> bits, 5)
    return (<uint32_t> 1 << bits | code_plain(self, more, bits)) - 1
