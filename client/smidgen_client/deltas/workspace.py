"""Where applying a delta finds old contents and keeps rebuilt ones.

A tar is written once: as soon as its tree document is known, so is where each content belongs in it, and targets are
written there. Other targets lie in one file, one behind the other.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import BinaryIO

from smidgen_client.deltas.inputs import Input
from smidgen_client.deltas.maps import Mapped, Place, pieces
from smidgen_deltas.digest import Digest
from smidgen_deltas.engine.sources import Buffer
from smidgen_deltas.errors import NotFound
from smidgen_deltas.native.tree import ContentRef
from smidgen_deltas.tar.pieces import Content
from smidgen_deltas.tar.recipe import EncodedRecipe, rebuild


class _Targets:
    """Finished targets in a file, which is open for reading and writing."""

    def __init__(self, file: BinaryIO) -> None:
        self.handle = file.fileno()
        self.places: dict[bytes, Place] = {}
        self.contents = Mapped(file, self.places)


class Workspace:
    """The engine's store. Several threads may use it at once."""

    def __init__(self, inputs: Sequence[Input], spool: BinaryIO) -> None:
        self._documents = {
            Digest.of(entry.tree.document).raw: entry.tree.document
            for entry in inputs
            if entry.tree.document is not None
        }
        self._spooled = _Targets(spool)
        self._end = 0
        self._laid = self._spooled
        self._plan: Mapping[bytes, Place] = {}
        self._old = [entry.contents for entry in inputs]
        self._lock = threading.Lock()

    def has(self, content: ContentRef) -> bool:
        """Whether a target is finished."""
        return self._spooled.contents.has(content.sha256) or self._laid.contents.has(content.sha256)

    def open(self, content: ContentRef) -> Buffer:
        """Raises NotFound with the digest when no input has it."""
        document = self._documents.get(content.sha256)
        if document is not None:
            return document
        for contents in (self._laid.contents, self._spooled.contents, *self._old):
            if contents.has(content.sha256):
                return contents.open(content)
        raise NotFound("a source of the delta is not in the old files", digest=content.sha256.hex(), size=content.size)

    @contextlib.contextmanager
    def create(self, content: ContentRef) -> Iterator[_Part]:
        place = self._plan.get(content.sha256)
        if place is not None and place.size == content.size:
            yield _Part(self._laid, place, content.sha256)
            return
        with self._lock:
            place = Place(self._end, content.size)
            self._end += content.size
        yield _Part(self._spooled, place, content.sha256)

    def body(self, content: Content | ContentRef) -> Iterator[bytes]:
        """The bytes of a content, in blocks. Raises NotFound."""
        ref = ContentRef(content.sha256, content.size)
        for contents in (self._laid.contents, self._spooled.contents, *self._old):
            if contents.has(content.sha256):
                return contents.blocks(ref)
        return pieces(self.open(ref))

    def lay_out(self, recipe: EncodedRecipe, file: BinaryIO, wanted: Set[int]) -> None:
        """From now on, targets that are contents of a tar are written where they belong in it.

        Args:
            file: the tar to be, empty, open for reading and writing; `complete` adds the rest.
            wanted: numbers of those contents in the list.
        Raises RecipeCorrupt.
        """
        plan: dict[bytes, Place] = {}
        for index, at in recipe.places():
            if index in wanted:
                content = recipe.contents[index]
                plan.setdefault(content.sha256, Place(at, content.size))
        self._laid = _Targets(file)
        self._plan = plan

    def complete(self, recipe: EncodedRecipe, file: BinaryIO, diff_id: Digest) -> int:
        """Write what the tar laid out in `file` has beside targets; returns its size. All of it is read and hashed.

        Raises DigestMismatch, SizeMismatch, FormatError, NotFound: the file is worth nothing then.
        """
        there = {place.start: place.size for place in self._laid.places.values()}
        at = written = 0
        for block in rebuild(recipe, self.body, diff_id):
            if at >= written:
                written = at + there.get(at, 0)
            if at < written:
                file.seek(len(block), os.SEEK_CUR)
            else:
                file.write(block)
            at += len(block)
        return at


class _Part:
    """A target being written; `finish` makes it known."""

    def __init__(self, targets: _Targets, place: Place, sha256: bytes) -> None:
        self._targets, self._place, self._sha256 = targets, place, sha256
        self._at = place.start

    def write(self, data: Buffer, /) -> None:
        view = memoryview(data)
        while view:
            done = os.pwrite(self._targets.handle, view, self._at)
            self._at += done
            view = view[done:]

    def finish(self) -> None:
        self._targets.places[self._sha256] = self._place
