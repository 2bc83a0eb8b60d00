"""Which names may be used beneath a tree, and their one spelling."""

from __future__ import annotations

from typing import Final

from smidgen_deltas.tar.errors import UnsafePath

MAX_COMPONENT: Final = 255  # NAME_MAX of Linux
MAX_PATH: Final = 4096
MAX_DEPTH: Final = 256


def split(path: bytes) -> tuple[bytes, ...]:
    """The components of a relative path; () is the root itself. "." and empty components are dropped.

    Raises:
        UnsafePath: absolute, with "..", with NUL, too long or too deep.
    """
    if path.startswith(b"/"):
        raise _unsafe("path is absolute", path)
    if b"\0" in path:
        raise _unsafe("path contains NUL", path)
    if len(path) > MAX_PATH:
        raise _unsafe("path is too long", path)
    parts = tuple(part for part in path.split(b"/") if part and part != b".")
    if b".." in parts:
        raise _unsafe("path leads upward", path)
    if len(parts) > MAX_DEPTH or any(len(part) > MAX_COMPONENT for part in parts):
        raise _unsafe("path is too long", path)
    return parts


def clean(path: bytes) -> bytes:
    """The one spelling of a relative path: components joined by "/"; b"" is the root. Raises UnsafePath."""
    return b"/".join(split(path))


def show(path: bytes) -> str:
    """For messages and details: readable, JSON-serialisable, bounded."""
    return path[:300].decode("utf-8", "backslashreplace")


def _unsafe(reason: str, path: bytes) -> UnsafePath:
    return UnsafePath(reason, path=show(path))
