"""Section headers of ELF64 files as rows of numbers; a kernel has thousands of modules with dozens of sections each.

Everything is little-endian. No input is trusted: what lies outside of the file is no name, and no section at all.
Source: System V ABI, chapter 4.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy

cdef enum:
    HEADER = 64        # bytes of a section header
    COLUMNS = 8        # of a row: offset and length of its name in the file, kind, flags, offset, size, link, info
    PAIRED = 6         # of what `paired` gives
    NAME_LIMIT = 64
    EMPTY = 0          # kinds that have no bytes in the file
    NOBITS = 8
    EXECUTABLE = 4
    MEANING = 1        # byte before a name that is a section's


cdef inline uint32_t load32(const unsigned char *p) noexcept nogil:
    return p[0] | (<uint32_t>p[1] << 8) | (<uint32_t>p[2] << 16) | (<uint32_t>p[3] << 24)


cdef inline uint64_t load64(const unsigned char *p) noexcept nogil:
    return <uint64_t>load32(p) | (<uint64_t>load32(p + 4) << 32)


cdef inline bint holds(const int64_t *row) noexcept nogil:
    return row[2] != EMPTY and row[2] != NOBITS


cdef bint fill(
    const unsigned char *data, uint64_t end, const unsigned char *headers, int64_t count, int64_t names, int64_t *row
) noexcept nogil:
    cdef const unsigned char *header = headers + HEADER * names
    cdef const unsigned char *zero
    cdef uint64_t strings = min(load64(header + 24), end)
    cdef uint64_t strings_size = min(load64(header + 32), end - strings)
    cdef uint64_t at, offset, size
    cdef int64_t i
    for i in range(count):
        header = headers + HEADER * i
        at = load32(header)
        row[0] = row[1] = 0
        if at < strings_size:
            row[0] = strings + at
            row[1] = min(<uint64_t>NAME_LIMIT, strings_size - at)
            zero = <const unsigned char *>memchr(data + row[0], 0, row[1])
            if zero != NULL:
                row[1] = zero - data - row[0]
        row[2] = load32(header + 4)
        row[3] = load64(header + 8)
        offset, size = load64(header + 24), load64(header + 32)
        row[4] = offset
        row[5] = size
        row[6] = load32(header + 40)
        row[7] = load32(header + 44)
        if holds(row) and (offset > end or size > end - offset):
            return False
        row += COLUMNS
    return True


def read(const unsigned char[::1] data not None, int64_t at, int64_t names, int64_t[::1] out not None) -> bool:
    """Read as many headers from `at` on as `out` has rows; whether all sections lie inside the file.

    Args:
        names: number of the section that has their names.
        out: for each section its name's offset and length, kind, flags, offset, size, link, info.
    Raises ValueError when headers are outside of the file or of `out`.
    """
    cdef int64_t count = out.shape[0] // COLUMNS
    cdef bint inside
    if out.shape[0] % COLUMNS or not 0 <= names < count:
        raise ValueError("not a row for each section")
    if at < 0 or count > (data.shape[0] - at) // HEADER:
        raise ValueError("headers leave the file")
    with nogil:
        inside = fill(&data[0], data.shape[0], &data[at], count, names, &out[0])
    return inside


def meanings(const unsigned char[::1] data not None, const int64_t[::1] rows not None) -> list:
    """For each section the byte 1 and its name: what a symbol that stands for it means.

    Raises ValueError when a name leaves the file.
    """
    cdef int64_t i, at, size
    cdef bytes name
    cdef list found = []
    for i in range(rows.shape[0] // COLUMNS):
        at, size = rows[COLUMNS * i], rows[COLUMNS * i + 1]
        if at < 0 or not 0 <= size <= NAME_LIMIT or at > data.shape[0] - size:
            raise ValueError("a name leaves the file")
        name = PyBytes_FromStringAndSize(NULL, size + 1)
        PyBytes_AS_STRING(name)[0] = MEANING
        if size:
            memcpy(PyBytes_AS_STRING(name) + 1, &data[at], size)
        found.append(name)
    return found


def paired(
    const int64_t[::1] old not None, const int64_t[::1] new not None, const int64_t[::1] pairs not None,
    int64_t[::1] out not None,
):
    """What `kernels.relocatable` needs of each old section: six numbers, see there.

    Args:
        old, new: rows.
        pairs: for each old section its number in the new file, or -1.
    Raises ValueError unless there are as many pairs as sections, of sections that exist.
    """
    cdef int64_t i, k, count = pairs.shape[0]
    cdef const int64_t *row
    cdef const int64_t *there
    if old.shape[0] != COLUMNS * count or out.shape[0] != PAIRED * count:
        raise ValueError("not a pair for each section")
    for i in range(count):
        if not -1 <= pairs[i] < new.shape[0] // COLUMNS:
            raise ValueError("no such section")
        row = &old[COLUMNS * i]
        for k in range(PAIRED):
            out[PAIRED * i + k] = 0
        out[PAIRED * i + 5] = 1 if row[3] & EXECUTABLE else 0
        if pairs[i] < 0 or not holds(row):
            continue
        there = &new[COLUMNS * pairs[i]]
        if holds(there):
            out[PAIRED * i], out[PAIRED * i + 1] = row[4], row[5]
            out[PAIRED * i + 2], out[PAIRED * i + 3] = there[4], there[5]
            out[PAIRED * i + 4] = 1
