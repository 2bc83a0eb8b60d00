"""A layer's tar that grows in place: literal bytes first, then each content at its offsets.

The file lies in the work folder until the whole hashes to the diff_id. After an interruption every region is hashed
again, so what is right is not fetched again and what a power cut damaged is.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Final

from smidgen_deltas.errors import DigestMismatch, SizeMismatch
from smidgen_deltas.native.tree import ContentRef, LayerEntry
from smidgen_deltas.tar.pieces import Literal
from smidgen_deltas.tar.recipewire import EncodedRecipe

BLOCK: Final = 1 << 18


class LayerFile:
    """One layer under construction.

    Args:
        path: of the growing file; made by `prepare`.
    """

    def __init__(self, layer: LayerEntry, contents: tuple[ContentRef, ...], path: Path) -> None:
        self._layer, self._contents, self.path = layer, contents, path
        self._recipe = EncodedRecipe(layer.recipe, contents)
        if self._recipe.tar_size != layer.tar_size:
            raise SizeMismatch(
                "a recipe makes another tar than its layer says",
                expected=layer.tar_size,
                found=self._recipe.tar_size,
                diff_id=str(layer.diff_id),
            )

    @cached_property
    def members(self) -> frozenset[int]:
        """Contents that the tar is made of."""
        return frozenset(self._recipe.indexes())

    @cached_property
    def offsets(self) -> dict[int, list[int]]:
        """Where each of them lies in the tar."""
        found: dict[int, list[int]] = {}
        for content, at in self._recipe.places():
            found.setdefault(content, []).append(at)
        return found

    def missing(self) -> set[int]:
        """Contents that are not in the file (all of them when there is no file of the right size)."""
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return set(self.members)
        try:
            if os.fstat(handle).st_size != self._layer.tar_size:
                return set(self.members)
            return {content for content in self.offsets if not self._whole(handle, content)}
        finally:
            os.close(handle)

    def prepare(self) -> None:
        """Make the file, or go on with it, and write what the recipe itself has."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(handle, self._layer.tar_size)
            at = 0
            for piece in self._recipe:
                if isinstance(piece, Literal):
                    write_at(handle, piece.data, at)
                    at += len(piece.data)
                else:
                    at += piece.size
        finally:
            os.close(handle)

    def put(self, content: int, blocks: Iterable[bytes]) -> None:
        """Write a content wherever the tar has it. Raises SizeMismatch, DigestMismatch; it is then still missing."""
        ref = self._contents[content]
        handle = os.open(self.path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            first, *others = self.offsets[content]
            _write_verified(handle, ref, blocks, first)
            for offset in others:
                for start, block in _read(handle, first, ref.size):
                    write_at(handle, block, offset + start - first)
        finally:
            os.close(handle)

    def read(self, content: int) -> Iterator[bytes]:
        """The bytes of a content that was put."""
        handle = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            for _, block in _read(handle, self.offsets[content][0], self._contents[content].size):
                yield block
        finally:
            os.close(handle)

    def verify(self) -> None:
        """Raise DigestMismatch unless the file is the tar of the layer."""
        diff_id = self._layer.diff_id
        with self.path.open("rb") as file:
            found = hashlib.file_digest(file, diff_id.algorithm).hexdigest()
        if found != diff_id.hex:
            raise DigestMismatch("the rebuilt layer is another", expected=str(diff_id), found=found)

    def _whole(self, handle: int, content: int) -> bool:
        ref = self._contents[content]
        for offset in self.offsets[content]:
            hasher = hashlib.sha256()
            for _, block in _read(handle, offset, ref.size):
                hasher.update(block)
            if hasher.digest() != ref.sha256:
                return False
        return True


def write_at(handle: int, data: bytes, offset: int) -> None:
    """All of `data`, at `offset`."""
    view = memoryview(data)
    while view:
        done = os.pwrite(handle, view, offset)
        view, offset = view[done:], offset + done


def _write_verified(handle: int, ref: ContentRef, blocks: Iterable[bytes], offset: int) -> None:
    hasher, at = hashlib.sha256(), 0
    for block in blocks:
        if at + len(block) > ref.size:
            raise SizeMismatch("content is longer than promised", digest=ref.sha256.hex(), expected=ref.size)
        hasher.update(block)
        write_at(handle, block, offset + at)
        at += len(block)
    if at != ref.size:
        raise SizeMismatch("content is shorter than promised", digest=ref.sha256.hex(), expected=ref.size, found=at)
    if hasher.digest() != ref.sha256:
        raise DigestMismatch("content does not match its digest", expected=ref.sha256.hex(), found=hasher.hexdigest())


def _read(handle: int, offset: int, size: int) -> Iterator[tuple[int, bytes]]:
    """(position, block) of `size` bytes from `offset`."""
    end = offset + size
    while offset < end and (block := os.pread(handle, min(BLOCK, end - offset), offset)):
        yield offset, block
        offset += len(block)
