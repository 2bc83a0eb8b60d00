"""Differences along an alignment, and back: bytes mod 256."""

from libc.stdint cimport int64_t


def subtract(const unsigned char[::1] new not None, const unsigned char[::1] base not None, unsigned char[::1] out not None):
    """out = new - base; all of one length."""
    cdef int64_t i, size = new.shape[0]
    if base.shape[0] != size or out.shape[0] != size:
        raise ValueError("lengths differ")
    with nogil:
        for i in range(size):
            out[i] = <unsigned char>(new[i] - base[i])


def add(unsigned char[::1] target not None, const unsigned char[::1] diff not None):
    """target += diff; both of one length."""
    cdef int64_t i, size = target.shape[0]
    if diff.shape[0] != size:
        raise ValueError("lengths differ")
    with nogil:
        for i in range(size):
            target[i] = <unsigned char>(target[i] + diff[i])
