"""From decoded frames to verified contents.

A content that lies in one frame goes to the store at once; one that comes in several frames is collected in a part file
first. The store hashes what it gets; a content that is not what its digest says never becomes visible.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from smidgen_client.fetch.parts import PartFiles
from smidgen_deltas.errors import IntegrityError
from smidgen_deltas.native.packmap import FOREIGN, Frame, Member
from smidgen_deltas.native.tree import ContentRef

HELD_IN_MEMORY: Final = 1 << 20
Blocks = Callable[[], Iterable[bytes]]


class ContentStore(Protocol):
    """What a store does with one content; called by several threads at once, for different contents."""

    def add(self, content: int, blocks: Blocks) -> None:
        """Verify the content (index into the tree's contents) and put it wherever the tree needs it.

        `blocks()` may be called several times. Raises DigestMismatch or SizeMismatch; nothing is visible then.
        """


class ContentSink:
    """Hands contents to the store and knows which are still wanted."""

    def __init__(
        self, contents: tuple[ContentRef, ...], wanted: bytearray, store: ContentStore, parts: PartFiles
    ) -> None:
        self._contents, self._wanted = contents, wanted
        self._store, self._parts = store, parts
        self._lock = threading.Lock()
        self.failed: list[IntegrityError] = []

    @property
    def left(self) -> bytearray:
        """Flags of the contents still wanted (not a copy)."""
        return self._wanted

    def wants(self, member: Member) -> bool:
        """Whether anything of a member is still needed."""
        if member.content == FOREIGN or not self._wanted[member.content]:
            return False
        ref = self._contents[member.content]
        return member.length == ref.size or not self._parts.has(ref.sha256, member.start, member.length)

    def wants_frame(self, frame: Frame) -> bool:
        return any(self.wants(member) for member in frame.members)

    def deliver(self, frame: Frame, raw: bytes | memoryview) -> None:
        """Take the wanted members of a frame; those that turn out wrong are noted in `failed`."""
        view, at = memoryview(raw), 0
        for member in frame.members:
            if self.wants(member):
                self._take(member, view[at : at + member.length])
            at += member.length

    def narrow(self, wanted: bytearray) -> None:
        """Want only those contents from now on that `wanted` flags too."""
        for content, flag in enumerate(wanted):
            if not flag:
                self._wanted[content] = 0

    def offer(self, content: int, blocks: Blocks) -> bool:
        """Give a content from elsewhere (a seed, a part); whether it was right."""
        try:
            self._store.add(content, blocks)
        except IntegrityError as error:
            with self._lock:
                self.failed.append(error)
            return False
        self._wanted[content] = 0
        return True

    def spool(self, content: int, blocks: Iterable[bytes]) -> None:
        """Take a content from a stream that can be read only once."""
        ref = self._contents[content]
        if ref.size <= HELD_IN_MEMORY:
            data = b"".join(blocks)
            self.offer(content, lambda: (data,))
            return
        at = 0
        self._parts.discard(ref.sha256)
        for block in blocks:
            self._parts.write(ref.sha256, ref.size, at, block)
            at += len(block)
        if self._parts.has(ref.sha256, 0, ref.size):
            self._finish(content, ref)

    def complete_parts(self) -> None:
        """Hand over contents whose last run arrived just before an interruption."""
        for content, ref in enumerate(self._contents):
            if self._wanted[content] and self._parts.has(ref.sha256, 0, ref.size):
                self._finish(content, ref)

    def _take(self, member: Member, data: memoryview) -> None:
        ref = self._contents[member.content]
        if member.length == ref.size:
            self.offer(member.content, lambda: (bytes(data),))
        elif self._parts.write(ref.sha256, ref.size, member.start, data):
            self._finish(member.content, ref)

    def _finish(self, content: int, ref: ContentRef) -> None:
        self.offer(content, lambda: self._parts.blocks(ref.sha256, ref.size))
        self._parts.discard(ref.sha256)
