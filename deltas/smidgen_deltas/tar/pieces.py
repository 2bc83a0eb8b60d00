"""A tar as pieces: bytes that are only here, and contents that may come from anywhere."""

from __future__ import annotations

from dataclasses import dataclass

from smidgen_deltas.digest import Digest


@dataclass(frozen=True, slots=True)
class Literal:
    """Bytes of the tar itself: headers, padding, sparse maps, the end. One run of them may be several pieces."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Content:
    """The stored bytes of a regular file, at least one; of a sparse file only its data."""

    size: int
    sha256: bytes


Piece = Literal | Content


@dataclass(frozen=True, slots=True)
class Recipe:
    """All of one tar. `diff_id` is the sha256 digest of the whole, `tar_size` its length."""

    pieces: tuple[Piece, ...]
    tar_size: int
    diff_id: Digest
