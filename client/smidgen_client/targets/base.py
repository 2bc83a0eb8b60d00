"""What a pull needs from a store, whatever its kind."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from smidgen_client.fetch.parts import PartFiles
from smidgen_client.fetch.sink import Blocks
from smidgen_client.plan.costs import Prices
from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import UnsupportedFeature
from smidgen_deltas.native.packmap import PackMap
from smidgen_deltas.native.refdoc import RefDocument
from smidgen_deltas.native.tree import ContentRef, OciTree, OstreeTree

Tree = OstreeTree | OciTree


def known_tree(tree: object) -> Tree:
    """A decoded tree document, if devices can use its kind. Raises UnsupportedFeature."""
    if isinstance(tree, OstreeTree | OciTree):
        return tree
    raise UnsupportedFeature("a tree document that is neither a commit nor an image", kind=type(tree).__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a store keeps one content, for the seed cache.

    Args:
        sha256: of the content.
        file: path of the file that has it, relative to the store.
        offset: in that file (or in the tar that it holds compressed).
        packing: how the file holds it, see seeds.index.
    """

    sha256: bytes
    size: int
    file: str
    offset: int = 0
    packing: str = "plain"


@dataclass(frozen=True, slots=True)
class WholeBlob:
    """A blob to be fetched in one piece. why: for people."""

    digest: Digest
    size: int
    why: str


@dataclass(frozen=True, slots=True)
class Decision:
    """How a revision will be made.

    Args:
        wanted: flags of the contents that are needed for it.
        blobs: to be fetched whole.
        work: seconds of one core beside taking in contents and blobs.
    """

    wanted: bytearray
    blobs: tuple[WholeBlob, ...] = ()
    work: float = 0.0


class Assembly(Protocol):
    """One revision on its way into a store. `add` may be called by several threads, the rest by one.

    Order: begin, missing, decide (as often as wanted), any number of add and add_blob, seal (until it asks for nothing
    more), finish.
    """

    @property
    def contents(self) -> tuple[ContentRef, ...]: ...

    @property
    def parts(self) -> PartFiles: ...

    @property
    def files(self) -> int:
        """Files of the revision."""

    def begin(self) -> None:
        """Open the store for writing. Before that nothing is changed; a dry run never calls it."""

    def missing(self) -> bytearray:
        """One flag per content: 1 where the store needs it and does not have it."""

    def decide(self, packmap: PackMap, remote: bytearray, prices: Prices) -> Decision:
        """Say how it would be made; the last answer counts. `remote`: those of `missing` that no local file has."""

    def add(self, content: int, blocks: Blocks) -> None:
        """See fetch.sink.ContentStore."""

    def read(self, content: int) -> Iterable[bytes]:
        """The bytes of a content that was added, or that the store had. Raises NotFound."""

    def add_blob(self, blob: WholeBlob, file: Path) -> None:
        """Take a verified file; it is moved away."""

    def seal(self) -> tuple[WholeBlob, ...]:
        """Put the parts together. Returns blobs that could not be rebuilt and have to be fetched whole after all.

        Raises IntegrityError when the whole is not what was promised and nothing helps.
        """

    def finish(self) -> str:
        """Make the revision visible, and the ref point at it; returns the name under which the store has it."""

    @property
    def layers(self) -> tuple[str, ...]:
        """How each layer of an image came about; empty for other trees."""

    def places(self) -> list[Place]:
        """Where the contents lie now, as far as known for nothing."""


class Target(Protocol):
    """A store on this device."""

    @property
    def lock(self) -> Path:
        """File that says who is working on the store."""

    def current(self, document: RefDocument) -> str | None:
        """The name of the revision if the store's ref already points at it, complete; else None."""

    def assemble(self, tree: Tree, document: RefDocument) -> AbstractContextManager[Assembly]:
        """Begin or go on with a revision. Raises UsageError when the store cannot take this kind of tree,
        IntegrityError when the tree contradicts itself."""
