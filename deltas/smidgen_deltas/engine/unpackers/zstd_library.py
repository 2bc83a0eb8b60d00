"""The libzstd versions whose bytes can be had here: the one that Python brings, and the system's where it is another.

libzstd promises to read, not to write, the same bytes across versions. An image made on Debian 12 has an initial
ramdisk of libzstd 1.5.4; a machine that runs Debian 12 has that library. So the system's is asked through ctypes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from functools import cache
from typing import Final, Protocol

from smidgen_deltas import zstd
from smidgen_deltas.engine.unpackers.base import RecipeInvalid

_SYSTEM: Final = "libzstd.so.1"
_CONTINUE, _FLUSH, _END = 0, 1, 2


class Encoder(Protocol):
    """One frame being written."""

    def feed(self, block: memoryview) -> bytes: ...

    def flush(self) -> bytes:
        """End the block; the frame goes on."""
        ...

    def finish(self) -> bytes: ...


class Library(Protocol):
    """Makes encoders. `options` are libzstd's parameter numbers and values."""

    version: str

    def encoder(self, options: Mapping[int, int], size: int | None) -> Encoder:
        """Raises RecipeInvalid when the library refuses the options."""
        ...


class BundledEncoder:
    """Of the Python binding."""

    def __init__(self, options: Mapping[int, int], size: int | None) -> None:
        try:
            self._inner = zstd.Compressor(options=dict(options))
        except (ValueError, zstd.ZstdError) as error:
            raise RecipeInvalid("libzstd refuses the recipe", reason=str(error)) from error
        if size is not None:
            self._inner.set_pledged_input_size(size)

    def feed(self, block: memoryview) -> bytes:
        return self._call(self._inner.compress, block)

    def flush(self) -> bytes:
        return self._call(self._inner.flush, zstd.Compressor.FLUSH_BLOCK)

    def finish(self) -> bytes:
        return self._call(self._inner.flush, zstd.Compressor.FLUSH_FRAME)

    def _call(self, call: object, argument: object) -> bytes:
        try:
            return call(argument)  # type: ignore[operator,no-any-return]
        except zstd.ZstdError as error:
            raise RecipeInvalid("libzstd refuses the recipe", reason=str(error)) from error


class BundledLibrary:
    """The libzstd in the Python binding."""

    version: str = zstd.LIBZSTD

    def encoder(self, options: Mapping[int, int], size: int | None) -> Encoder:
        return BundledEncoder(options, size)


class _In(ctypes.Structure):
    """ZSTD_inBuffer. Neither of the two is made by ctypes.cast, whose results are garbage only a collection finds."""

    _fields_ = (("data", ctypes.c_char_p), ("size", ctypes.c_size_t), ("at", ctypes.c_size_t))


class _Out(ctypes.Structure):
    """ZSTD_outBuffer."""

    _fields_ = (("data", ctypes.c_void_p), ("size", ctypes.c_size_t), ("at", ctypes.c_size_t))


class SystemEncoder:
    """Of the system's library, by its advanced streaming interface."""

    def __init__(self, library: ctypes.CDLL, options: Mapping[int, int], size: int | None) -> None:
        self._library = library
        self._context = ctypes.c_void_p(library.ZSTD_createCCtx())
        if not self._context:
            raise MemoryError("libzstd has no memory for a context")
        self._out = ctypes.create_string_buffer(library.ZSTD_CStreamOutSize())
        for name, value in options.items():
            self._check(library.ZSTD_CCtx_setParameter(self._context, int(name), value))
        if size is not None:
            self._check(library.ZSTD_CCtx_setPledgedSrcSize(self._context, ctypes.c_ulonglong(size)))

    def __del__(self) -> None:
        self._library.ZSTD_freeCCtx(self._context)

    def feed(self, block: memoryview) -> bytes:
        return self._run(bytes(block), _CONTINUE)

    def flush(self) -> bytes:
        return self._run(b"", _FLUSH)

    def finish(self) -> bytes:
        return self._run(b"", _END)

    def _run(self, block: bytes, directive: int) -> bytes:
        taken = _In(block, len(block), 0)
        out = bytearray()
        while True:
            given = _Out(ctypes.addressof(self._out), len(self._out), 0)
            call = self._library.ZSTD_compressStream2
            left = self._check(call(self._context, ctypes.byref(given), ctypes.byref(taken), directive))
            out += ctypes.string_at(self._out, given.at)
            if taken.at == taken.size and (directive == _CONTINUE or not left):
                return bytes(out)

    def _check(self, result: int) -> int:
        if self._library.ZSTD_isError(ctypes.c_size_t(result)):
            name = ctypes.string_at(self._library.ZSTD_getErrorName(ctypes.c_size_t(result)))
            raise RecipeInvalid("libzstd refuses the recipe", reason=name.decode("ascii", "replace"))
        return result


class SystemLibrary:
    """The system's libzstd."""

    def __init__(self, library: ctypes.CDLL) -> None:
        library.ZSTD_createCCtx.restype = ctypes.c_void_p
        library.ZSTD_getErrorName.restype = ctypes.c_void_p
        library.ZSTD_versionString.restype = ctypes.c_char_p
        library.ZSTD_compressStream2.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)
        for name in ("ZSTD_CStreamOutSize", "ZSTD_CCtx_setParameter", "ZSTD_CCtx_setPledgedSrcSize"):
            getattr(library, name).restype = ctypes.c_size_t
        library.ZSTD_compressStream2.restype = ctypes.c_size_t
        self._library = library
        self.version: str = library.ZSTD_versionString().decode("ascii")

    def encoder(self, options: Mapping[int, int], size: int | None) -> Encoder:
        return SystemEncoder(self._library, options, size)


@cache
def find(version: str) -> Library | None:
    """The library of exactly this version, the bundled one first."""
    bundled = BundledLibrary()
    if bundled.version == version:
        return bundled
    try:
        system = SystemLibrary(ctypes.CDLL(_SYSTEM))
    except (OSError, AttributeError):
        return None
    return system if system.version == version else None
