"""What other parts of the server want to hear about: a tiny list of callbacks, called in the process that did it.

Callbacks run on the worker thread of the request, after its transaction; they queue work and return. One that raises
fails the request, so a client never takes a push for complete that nobody else will learn of.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from smidgen_deltas.digest import Digest

TagPushed = Callable[[str, str, Digest], None]
TagDeleted = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Events:
    """Subscribe while the server starts, by appending."""

    on_tag_pushed: list[TagPushed] = field(default_factory=list)
    on_tag_deleted: list[TagDeleted] = field(default_factory=list)

    def tag_pushed(self, repo: str, tag: str, digest: Digest) -> None:
        """The tag of an OCI repository points at that manifest now, be it new or the same as before."""
        for callback in self.on_tag_pushed:
            callback(repo, tag, digest)

    def tag_deleted(self, repo: str, tag: str) -> None:
        """The tag of an OCI repository is gone, by itself or with its manifest."""
        for callback in self.on_tag_deleted:
            callback(repo, tag)
