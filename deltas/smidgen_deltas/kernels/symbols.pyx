"""Symbols of two builds of a relocatable object, by what they mean: their name, or that of the section they stand for.

A name ends at a zero byte, at the end of the string table or after NAME_LIMIT bytes. No input is trusted: what lies
outside of the image is no name.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcmp

cdef extern from *:
    ctypedef unsigned long long uint128_t "unsigned __int128"

cdef enum:
    SYMBOL = 24        # bytes: name (4), info, other, section (2), value (8), size (8)
    SECTION_SYMBOL = 3
    NAME_LIMIT = 256

cdef uint64_t PRIME = (<uint64_t>1 << 61) - 1

cdef struct Name:
    const unsigned char *start
    int64_t size


cdef class SymbolTable:
    """The symbols of one image.

    Args:
        image: the object.
        symbols: offset of the symbols and how many there are.
        strings: offset and size of their names.
        sections: for each section what a symbol that stands for it means.
    Raises ValueError when a table leaves the image.
    """

    cdef const unsigned char[::1] image
    cdef const unsigned char *symbols
    cdef const unsigned char *strings
    cdef int64_t count
    cdef int64_t strings_size
    cdef int64_t section_count
    cdef Name *sections
    cdef list _kept

    def __cinit__(self, const unsigned char[::1] image not None, symbols, strings, list sections not None):
        cdef int64_t at = symbols[0], strings_at = strings[0], number
        cdef bytes name
        self.sections = NULL
        self.image, self._kept = image, sections
        self.count, self.strings_size, self.section_count = symbols[1], strings[1], len(sections)
        if self.count < 0 or self.strings_size < 0 or at < 0 or strings_at < 0:
            raise ValueError("a table leaves the image")
        if self.count > (image.shape[0] - at) // SYMBOL or self.strings_size > image.shape[0] - strings_at:
            raise ValueError("a table leaves the image")
        self.symbols = &image[at] if self.count else NULL
        self.strings = &image[strings_at] if self.strings_size else NULL
        self.sections = <Name *>malloc((self.section_count + 1) * sizeof(Name))
        if self.sections == NULL:
            raise MemoryError("names of sections")
        for number in range(self.section_count):
            name = sections[number]
            self.sections[number].start = <const unsigned char *>PyBytes_AS_STRING(name)
            self.sections[number].size = PyBytes_GET_SIZE(name)

    def __dealloc__(self):
        free(self.sections)

    cdef Name name(self, int64_t number) noexcept nogil:
        cdef const unsigned char *symbol = self.symbols + SYMBOL * number
        cdef const unsigned char *end
        cdef int64_t at = symbol[0] | (<int64_t>symbol[1] << 8) | (<int64_t>symbol[2] << 16) | (<int64_t>symbol[3] << 24)
        cdef int64_t section = symbol[6] | (<int64_t>symbol[7] << 8)
        cdef Name found
        if (symbol[4] & 15) == SECTION_SYMBOL and section < self.section_count:
            return self.sections[section]
        found.start, found.size = self.strings, 0
        if at < self.strings_size:
            found.start = self.strings + at
            found.size = min(<int64_t>NAME_LIMIT, self.strings_size - at)
            end = <const unsigned char *>memchr(found.start, 0, found.size)
            if end != NULL:
                found.size = end - found.start
        return found


cdef uint64_t hashed(Name name, uint64_t base) noexcept nogil:
    """A polynomial in a secret `base`: no file can be made whose names collide."""
    cdef uint64_t value = 1
    cdef uint128_t product
    cdef int64_t i
    for i in range(name.size):
        product = <uint128_t>value * base + name.start[i]
        value = <uint64_t>(product & PRIME) + <uint64_t>(product >> 61)
        if value >= PRIME:
            value -= PRIME
    return value


cdef inline bint same(Name one, Name other) noexcept nogil:
    return one.size == other.size and (one.size == 0 or memcmp(one.start, other.start, one.size) == 0)


def renumber(SymbolTable old not None, SymbolTable new not None, uint64_t base, int32_t[::1] out not None):
    """For each old symbol the number of the new one of the same meaning (the same number of such before), or -1.

    Args:
        base: for hashing, a secret of this process; the result does not depend on it.
        out: as many numbers as `old` has symbols.
    """
    cdef int64_t number, slots = 16, slot, alike = 0
    cdef int32_t *table
    cdef int32_t *following
    cdef int32_t *last
    cdef int32_t *names
    cdef Name name
    if out.shape[0] != old.count or new.count > 0x7FFFFFFF:
        raise ValueError("not a number for each symbol")
    with nogil:  # as the rule has it, for as many of a meaning come before on both sides
        while alike < min(old.count, new.count) and same(old.name(alike), new.name(alike)):
            out[alike] = <int32_t>alike
            alike += 1
    while slots < 2 * (new.count - alike):
        slots *= 2
    # slot -> names: the first symbol of a meaning, or -1; table: the first that was not taken; last: the last so far
    names = <int32_t *>malloc(slots * sizeof(int32_t))
    table = <int32_t *>malloc(slots * sizeof(int32_t))
    last = <int32_t *>malloc(slots * sizeof(int32_t))
    following = <int32_t *>malloc((new.count + 1) * sizeof(int32_t))
    try:
        if table == NULL or last == NULL or following == NULL or names == NULL:
            raise MemoryError("numbers of symbols")
        with nogil:
            for slot in range(slots):
                names[slot] = -1
            for number in range(alike, new.count):
                name = new.name(number)
                following[number] = -1
                slot = hashed(name, base) & (slots - 1)
                while names[slot] >= 0 and not same(new.name(names[slot]), name):
                    slot = (slot + 1) & (slots - 1)
                if names[slot] < 0:
                    names[slot] = table[slot] = <int32_t>number
                else:
                    following[last[slot]] = <int32_t>number
                last[slot] = <int32_t>number
            for number in range(alike, old.count):
                name = old.name(number)
                slot = hashed(name, base) & (slots - 1)
                while names[slot] >= 0 and not same(new.name(names[slot]), name):
                    slot = (slot + 1) & (slots - 1)
                out[number] = -1
                if names[slot] >= 0 and table[slot] >= 0:
                    out[number] = table[slot]
                    table[slot] = following[table[slot]]
    finally:
        free(table)
        free(last)
        free(following)
        free(names)


cdef uint32_t CRC[256]


cdef void make_crc() noexcept:
    cdef uint32_t value
    cdef int i, bit
    for i in range(256):
        value = i
        for bit in range(8):
            value = (value >> 1) ^ (0xEDB88320U if value & 1 else 0)
        CRC[i] = value


make_crc()


def meanings(SymbolTable table not None, uint32_t[::1] out not None):
    """The CRC-32 of what each symbol means, into `out`, which has as many numbers as there are symbols."""
    cdef int64_t number, i
    cdef uint32_t value
    cdef Name name
    if out.shape[0] != table.count:
        raise ValueError("not a number for each symbol")
    with nogil:
        for number in range(table.count):
            name = table.name(number)
            value = 0xFFFFFFFFU
            for i in range(name.size):
                value = (value >> 8) ^ CRC[(value ^ name.start[i]) & 0xFF]
            out[number] = value ^ 0xFFFFFFFFU


def places(SymbolTable table not None, const int64_t[::1] offsets not None, int64_t[::1] out not None):
    """For each symbol that stands for a section the offset of that section, for others -1."""
    cdef int64_t number, section
    cdef const unsigned char *symbol
    if out.shape[0] != table.count:
        raise ValueError("not a number for each symbol")
    for number in range(table.count):
        symbol = table.symbols + SYMBOL * number
        section = symbol[6] | (<int64_t>symbol[7] << 8)
        out[number] = -1
        if (symbol[4] & 15) == SECTION_SYMBOL and section < offsets.shape[0]:
            out[number] = offsets[section]
