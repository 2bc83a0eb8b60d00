"""Commits of local ostree repositories as sides of a delta: `ostree:REPO@REV`, and as its result: `ostree:REPO@REF`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from smidgen_client.deltas.maps import Place, pieces, read_place
from smidgen_client.targets.ostree import check_tree, default_mode
from smidgen_deltas.digest import Digest
from smidgen_deltas.engine.scratch import collect
from smidgen_deltas.engine.sources import Buffer
from smidgen_deltas.errors import NotFound, SmidgenError, UsageError
from smidgen_deltas.native.tree import ContentRef, OstreeTree
from smidgen_deltas.ostree.commit_tree import read_commit
from smidgen_deltas.ostree.objects import FileHeader, ObjectName, ObjectType
from smidgen_deltas.ostree.refs import check_ref
from smidgen_deltas.ostree.repo import Repository
from smidgen_deltas.ostree.repo_writer import RepositoryWriter, Transaction

KIND: Final = "ostree:"
Body = Callable[[ContentRef], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class Revision:
    """A commit in a repository."""

    repo: Repository
    commit: bytes

    @classmethod
    def parse(cls, text: str) -> Revision:
        """`ostree:REPO@REV`. Raises UsageError, NotFound."""
        path, rev = split(text)
        repo = Repository.open(path)
        return cls(repo, repo.resolve(rev))


def split(text: str) -> tuple[Path, str]:
    """The repository and what is behind the last `@`. Raises UsageError."""
    path, at, rev = text.removeprefix(KIND).rpartition("@")
    if not text.startswith(KIND) or not at or not path or not rev:
        raise UsageError("a commit is named ostree:REPO@REV", given=text[:200])
    return Path(path), rev


class CommitContents:
    """Contents of a commit, by digest, out of its repository."""

    def __init__(self, repo: Repository, tree: OstreeTree) -> None:
        self._repo = repo
        self._checksums: dict[bytes, bytes] = {}
        for entry in tree.files:
            if entry.content >= 0:
                self._checksums.setdefault(tree.contents[entry.content].sha256, entry.checksum)

    def has(self, sha256: bytes) -> bool:
        return sha256 in self._checksums

    def open(self, content: ContentRef) -> Buffer:
        """Raises NotFound and what reading the object raises. Of repositories that are no archives it is mapped."""
        checksum = self._checksums.get(content.sha256)
        if checksum is None:
            raise NotFound("content is not in this commit", digest=content.sha256.hex())
        if self._repo.mode == "archive":
            with self._repo.open_file(checksum) as opened:
                data = collect(opened.chunks)
        else:
            with self._repo.open_stored(checksum) as file:
                data = read_place(file.fileno(), Place(0, content.size))
        if len(data) != content.size:
            raise NotFound("an object became another", object=checksum.hex())
        return data

    def blocks(self, content: ContentRef) -> Iterator[bytes]:
        """The same bytes, in blocks. Raises as `open`."""
        return pieces(self.open(content))


def open_commit(text: str) -> tuple[OstreeTree, CommitContents]:
    """The tree of a commit, every object of it verified. Raises UsageError, NotFound, FormatError, IntegrityError."""
    revision = Revision.parse(text)
    tree = read_commit(revision.repo, revision.commit)
    return tree, CommitContents(revision.repo, tree)


def write_commit(tree: OstreeTree, body: Body, output: str) -> str:
    """Put a commit, with all that it needs, into a repository (made if there is none) and point a ref at it.

    Args:
        body: the bytes of a content.
        output: `ostree:REPO@REF`.
    Returns the checksum. Raises UsageError, FormatError, IntegrityError, StorageError; the ref is untouched then, and
    the repository has nothing new.
    """
    path, ref = split(output)
    check_ref(ref)
    commit = Digest.of(tree.commit).raw
    check_tree(tree, commit)
    writer = RepositoryWriter.open_or_create(path, default_mode())
    with writer.transaction() as transaction:
        try:
            _fill(transaction, tree, body)
        except SmidgenError:
            transaction.discard()
            raise
        transaction.put_metadata(ObjectName(ObjectType.COMMIT, commit), tree.commit)
        if tree.commitmeta is not None:
            transaction.put_commitmeta(commit, tree.commitmeta)
        transaction.set_ref(ref, commit)
        transaction.commit()
    return commit.hex()


def _fill(transaction: Transaction, tree: OstreeTree, body: Body) -> None:
    headers = [FileHeader.decode(header) for header in tree.headers]
    for entry in tree.files:
        if transaction.has(ObjectName(ObjectType.FILE, entry.checksum)):
            continue
        ref = tree.contents[entry.content] if entry.content >= 0 else None
        blocks = body(ref) if ref else iter(())
        transaction.put_file(entry.checksum, headers[entry.header], ref.size if ref else 0, blocks)
    for kind, bodies in ((ObjectType.DIRMETA, tree.dirmetas), (ObjectType.DIRTREE, tree.dirtrees)):
        for one in bodies:
            transaction.put_metadata(ObjectName(kind, Digest.of(one).raw), one)
