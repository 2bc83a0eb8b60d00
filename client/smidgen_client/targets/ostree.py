"""A pull into a real ostree repository: stock tools work on the result.

The tree document is checked against the commit first: the commit must hash to the revision, and everything it reaches
must be in the document. File objects are then named by dirtrees that hash right, so each file is checked by its ostree
checksum while it is written, which covers content and metadata; the content's own digest is not needed any more.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from smidgen_client.fetch.parts import PartFiles
from smidgen_client.fetch.sink import Blocks
from smidgen_client.plan.costs import Prices
from smidgen_client.targets.base import Decision, Place, Tree, WholeBlob
from smidgen_deltas.errors import DigestMismatch, NotFound, UsageError
from smidgen_deltas.native.packmap import PackMap
from smidgen_deltas.native.refdoc import RefDocument
from smidgen_deltas.native.tree import ContentRef, OstreeTree
from smidgen_deltas.ostree.objects import FileHeader, ObjectName, ObjectType, loose_path
from smidgen_deltas.ostree.repo import Repository
from smidgen_deltas.ostree.repo_writer import RepositoryWriter, Transaction
from smidgen_deltas.ostree.walk import closure

WORK: Final = "tmp/pull.smidgen"  # not smidgen-*: those are the staging folders of transactions


class TreeIncomplete(NotFound):
    """A tree document lacks an object that its commit needs."""

    exit = 24
    hint = "The server published a damaged revision; nothing was changed. Tell its operator."


@dataclass(frozen=True, slots=True)
class OstreeTarget:
    """A repository, made in `mode` when it is not there ("" for the mode that fits the user).

    Args:
        remote: name under whose refs the commit is filed; "" for local branches.
    """

    path: Path
    mode: str = ""
    remote: str = ""

    @property
    def lock(self) -> Path:
        return self.path / WORK / "lock"

    def current(self, document: RefDocument) -> str | None:
        try:
            repository = Repository.open(self.path)
            commit = repository.resolve(f"{self.remote}:{document.ref}" if self.remote else document.ref)
        except NotFound:
            return None
        if commit != document.revision.raw or repository.is_partial(commit):
            return None
        return commit.hex() if repository.has(ObjectName(ObjectType.COMMIT, commit)) else None

    @contextmanager
    def assemble(self, tree: Tree, document: RefDocument) -> Iterator[OstreeAssembly]:
        if not isinstance(tree, OstreeTree):
            raise UsageError("an image cannot be pulled into an ostree repository", ref=document.ref)
        check_tree(tree, document.revision.raw)
        with ExitStack() as stack:
            yield OstreeAssembly(tree, document, self, stack)


class OstreeAssembly:
    """See targets.base.Assembly."""

    def __init__(self, tree: OstreeTree, document: RefDocument, target: OstreeTarget, stack: ExitStack) -> None:
        self._tree, self._document, self._target, self._stack = tree, document, target, stack
        self._opened: tuple[Transaction, str] | None = None
        self._headers = [FileHeader.decode(header) for header in tree.headers]
        self._uses: dict[int, list[int]] = {}
        self._bare: list[int] = []

    @property
    def _transaction(self) -> Transaction:
        if self._opened is None:
            raise RuntimeError("the repository was not opened for writing")
        return self._opened[0]

    def begin(self) -> None:
        target = self._target
        writer = RepositoryWriter.open_or_create(target.path, target.mode or default_mode())
        self._opened = (self._stack.enter_context(writer.transaction()), writer.mode)

    @property
    def contents(self) -> tuple[ContentRef, ...]:
        return self._tree.contents

    @property
    def parts(self) -> PartFiles:
        return PartFiles(self._target.path / WORK)

    @property
    def files(self) -> int:
        return len(self._tree.files)

    def missing(self) -> bytearray:
        has = self._has()
        self._uses, self._bare = {}, []
        flags = bytearray(len(self._tree.contents))
        for number, entry in enumerate(self._tree.files):
            if has(ObjectName(ObjectType.FILE, entry.checksum)):
                continue
            if entry.content < 0:
                self._bare.append(number)
            else:
                self._uses.setdefault(entry.content, []).append(number)
                flags[entry.content] = 1
        return flags

    def _has(self) -> Callable[[ObjectName], bool]:
        if self._opened is not None:
            return self._opened[0].has
        try:
            return Repository.open(self._target.path).has
        except NotFound:
            return lambda name: False  # noqa: ARG005

    def decide(self, packmap: PackMap, remote: bytearray, prices: Prices) -> Decision:  # noqa: ARG002 - see Assembly
        return Decision(bytearray(self._uses.get(at) is not None for at in range(len(self._tree.contents))))

    def add(self, content: int, blocks: Blocks) -> None:
        size = self._tree.contents[content].size
        for number in self._uses[content]:
            entry = self._tree.files[number]
            self._transaction.put_file(entry.checksum, self._headers[entry.header], size, blocks())

    def read(self, content: int) -> Iterator[bytes]:
        checksum = next(entry.checksum for entry in self._tree.files if entry.content == content)
        with self._transaction.open_file(checksum) as opened:
            yield from opened.chunks

    def add_blob(self, blob: WholeBlob, file: Path) -> None:  # noqa: ARG002 - see Assembly
        raise RuntimeError("commits have no blobs")

    @property
    def layers(self) -> tuple[str, ...]:
        return ()

    def seal(self) -> tuple[WholeBlob, ...]:
        tree, transaction = self._tree, self._transaction
        for number in self._bare:
            entry = tree.files[number]
            transaction.put_file(entry.checksum, self._headers[entry.header], 0, ())
        for kind, bodies in ((ObjectType.DIRMETA, tree.dirmetas), (ObjectType.DIRTREE, tree.dirtrees)):
            for body in bodies:
                transaction.put_metadata(ObjectName(kind, hashlib.sha256(body).digest()), body)
        commit = self._document.revision.raw
        transaction.put_metadata(ObjectName(ObjectType.COMMIT, commit), tree.commit)
        if tree.commitmeta is not None:
            transaction.put_commitmeta(commit, tree.commitmeta)
        return ()

    def finish(self) -> str:
        transaction, commit = self._transaction, self._document.revision.raw
        transaction.set_ref(self._document.ref, commit, self._target.remote or None)
        transaction.commit()
        return commit.hex()

    def places(self) -> list[Place]:
        mode = self._opened[1] if self._opened else ""
        packing = "filez" if mode.startswith("archive") else "plain"
        return [
            Place(ref.sha256, ref.size, loose_path(ObjectName(ObjectType.FILE, entry.checksum), mode), 0, packing)
            for entry in self._tree.files
            if entry.content >= 0 and (ref := self._tree.contents[entry.content])
        ]


def default_mode() -> str:
    """What ostree users expect: real owners and modes where that is possible."""
    return "bare" if os.geteuid() == 0 else "bare-user"


def check_tree(tree: OstreeTree, commit: bytes) -> None:
    """Raise DigestMismatch or TreeIncomplete unless the document is the whole of `commit`."""
    found = hashlib.sha256(tree.commit).digest()
    if found != commit:
        raise DigestMismatch("the commit in the tree document is another", expected=commit.hex(), found=found.hex())
    known = {ObjectName(ObjectType.COMMIT, commit): tree.commit}
    for kind, bodies in ((ObjectType.DIRTREE, tree.dirtrees), (ObjectType.DIRMETA, tree.dirmetas)):
        known |= {ObjectName(kind, hashlib.sha256(body).digest()): body for body in bodies}
    files = {entry.checksum for entry in tree.files}

    def read(name: ObjectName) -> bytes:
        if name not in known:
            raise TreeIncomplete("the tree document lacks an object of its commit", object=str(name))
        return known[name]

    for visited in closure(read, commit):
        if visited.data is None and visited.name.checksum not in files:
            raise TreeIncomplete(
                "the tree document lacks a file of its commit", object=str(visited.name), path=visited.path
            )
