"""A pull into a plain folder: versions side by side, switched atomically by a symlink.

    DIR/current              -> .smidgen/versions/<revision>, replaced by rename
    DIR/.smidgen/previous    -> versions/<revision> that `rollback` goes to
    DIR/.smidgen/versions/<revision>/
    DIR/.smidgen/contents/   contents on their way in, each verified before it has its name

A version is put together under another name, made durable, and renamed; only then the symlink moves. Works as root
(owners, devices, all attributes) and as a user (own files, no set-id bits).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from smidgen_client.fetch.parts import PartFiles
from smidgen_client.fetch.sink import Blocks
from smidgen_client.plan.costs import Prices
from smidgen_client.targets.base import Decision, Place, Tree, WholeBlob, known_tree
from smidgen_client.targets.durable import switch_link, sync_filesystem, sync_folder
from smidgen_client.targets.share import Sharing, has_content
from smidgen_client.targets.tree_entries import entries_of
from smidgen_deltas import zstd
from smidgen_deltas.errors import DigestMismatch, NotFound, SizeMismatch
from smidgen_deltas.native.packmap import PackMap
from smidgen_deltas.native.refdoc import RefDocument
from smidgen_deltas.native.tree import ContentRef, decode_tree, encode_tree
from smidgen_deltas.tar.attributes import Attributes
from smidgen_deltas.tar.entries import Entry
from smidgen_deltas.tar.extract import Options, extract
from smidgen_deltas.tar.member import MemberType
from smidgen_deltas.tar.pieces import Content

WORK: Final = ".smidgen"
VERSIONS: Final = f"{WORK}/versions"
CURRENT: Final = "current"
PREVIOUS: Final = f"{WORK}/previous"
BLOCK: Final = 1 << 18
DOCUMENT_LEVEL: Final = 3
MAX_DOCUMENT: Final = 256 << 20


@dataclass(frozen=True, slots=True)
class TreeTarget:
    """A folder with versions."""

    path: Path

    @property
    def lock(self) -> Path:
        return self.path / WORK / "lock"

    def version(self, revision: str) -> Path:
        return self.path / VERSIONS / revision

    def document(self, revision: str) -> Path:
        """The tree document of a version, as one zstd frame."""
        return self.path / VERSIONS / f"{revision}.tree"

    def linked(self, link: str = CURRENT) -> str | None:
        """The revision that `current` (or `previous`) points at, if it is there."""
        try:
            name = (self.path / link).readlink().name
        except OSError:
            return None
        return name if self.version(name).is_dir() else None

    def switch(self, revision: str) -> None:
        """Make a complete version the current one, and the present one the previous."""
        now = self.linked()
        if now and now != revision:
            switch_link(self.path / PREVIOUS, f"versions/{now}")
        switch_link(self.path / CURRENT, f"{VERSIONS}/{revision}")

    def current(self, document: RefDocument) -> str | None:
        return document.revision.hex if self.linked() == document.revision.hex else None

    @contextmanager
    def assemble(self, tree: Tree, document: RefDocument) -> Iterator[TreeAssembly]:
        yield TreeAssembly(self, document.revision.hex, tree, entries_of(tree, document.revision))


@dataclass(slots=True)
class TreeAssembly:
    """See targets.base.Assembly."""

    target: TreeTarget
    revision: str
    tree: Tree
    entries: list[Entry]
    _number: dict[bytes, int] = field(default_factory=dict)
    _shared: dict[bytes, bytes] = field(default_factory=dict)  # path -> verified file of the version before
    _local: dict[bytes, bytes] = field(default_factory=dict)  # sha256 -> one of these
    _verified: set[bytes] = field(default_factory=set)  # staged contents that were hashed by this run
    _wanted: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        self._number = {ref.sha256: at for at, ref in enumerate(self.contents)}

    @property
    def contents(self) -> tuple[ContentRef, ...]:
        return self.tree.contents

    @property
    def _work(self) -> Path:
        return self.target.path / WORK

    @property
    def parts(self) -> PartFiles:
        return PartFiles(self._work / "parts")

    @property
    def files(self) -> int:
        return sum(entry.type is not MemberType.DIRECTORY for entry in self.entries)

    @property
    def layers(self) -> tuple[str, ...]:
        return ()

    @property
    def _done(self) -> bool:
        return self.target.version(self.revision).is_dir()

    def begin(self) -> None:
        (self._work / "contents").mkdir(parents=True, exist_ok=True)
        (self._work / "versions").mkdir(exist_ok=True)

    def missing(self) -> bytearray:
        flags = bytearray(len(self.contents))
        old = self._old()
        for entry in self.entries if not self._done else ():
            if entry.content is None:
                continue
            if old is not None:
                path = os.path.join(os.fsencode(old), entry.path)  # noqa: PTH118 - bytes
                if has_content(path, entry.content):
                    self._shared[entry.path] = self._local[entry.content.sha256] = path
            flags[self._number[entry.content.sha256]] = 1
        for sha256, number in self._number.items() if any(flags) else ():
            if sha256 in self._local or self._is_staged(self.contents[number]):
                flags[number] = 0
        self._wanted = flags
        return flags

    def _old(self) -> Path | None:
        now = self.target.linked()
        return self.target.version(now) if now else None

    def decide(self, packmap: PackMap, remote: bytearray, prices: Prices) -> Decision:  # noqa: ARG002 - see Assembly
        return Decision(bytearray(self._wanted))

    def _staged(self, sha256: bytes) -> Path:
        return self._work / "contents" / sha256.hex()

    def _is_staged(self, ref: ContentRef) -> bool:
        """Whether a content waits verified: what another run left may be what a power cut made of it."""
        if ref.sha256 in self._verified:
            return True
        path = self._staged(ref.sha256)
        if not has_content(os.fsencode(path), Content(ref.size, ref.sha256)):
            path.unlink(missing_ok=True)
            return False
        self._verified.add(ref.sha256)
        return True

    def add(self, content: int, blocks: Blocks) -> None:
        ref = self.contents[content]
        path = self._staged(ref.sha256)
        part = path.with_suffix(f".{threading.get_ident():x}")
        hasher, size = hashlib.sha256(), 0
        try:
            with part.open("wb") as file:
                for block in blocks():
                    size += len(block)
                    if size > ref.size:
                        break
                    hasher.update(block)
                    file.write(block)
            if size != ref.size:
                raise SizeMismatch("content has another size", digest=ref.sha256.hex(), expected=ref.size, found=size)
            if hasher.digest() != ref.sha256:
                raise DigestMismatch(
                    "content does not match its digest", expected=ref.sha256.hex(), found=hasher.hexdigest()
                )
            part.replace(path)
            self._verified.add(ref.sha256)
        finally:
            part.unlink(missing_ok=True)

    def read(self, content: int) -> Iterator[bytes]:
        ref = self.contents[content]
        if ref.sha256 not in self._local and not self._staged(ref.sha256).exists():
            raise NotFound("the content is not here", digest=ref.sha256.hex())
        yield from self._open(Content(ref.size, ref.sha256))

    def add_blob(self, blob: WholeBlob, file: Path) -> None:  # noqa: ARG002 - see Assembly
        raise RuntimeError("trees have no blobs")

    def seal(self) -> tuple[WholeBlob, ...]:
        if self._done:
            return ()
        part = self.target.path / VERSIONS / f"{self.revision}.partial"
        if part.exists():
            remove_tree(part)
        part.mkdir()
        attributes = Attributes(owner=os.geteuid() == 0)
        sharing = Sharing(attributes)
        rest = [entry for entry in self.entries if not self._share(part, entry, sharing)]
        handle = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            extract(handle, rest, self._open, Options(attributes=attributes))
        finally:
            os.close(handle)
        self.target.document(self.revision).write_bytes(zstd.compress(encode_tree(self.tree), DOCUMENT_LEVEL))
        sync_filesystem(part)
        part.rename(self.target.version(self.revision))
        sync_folder(part.parent)
        return ()

    def _share(self, part: Path, entry: Entry, sharing: Sharing) -> bool:
        """Whether a file was taken over from the version before."""
        if entry.type is not MemberType.FILE or entry.content is None or entry.sparse is not None:
            return False
        old = self._shared.get(entry.path)
        if old is None:
            return False
        new = os.path.join(os.fsencode(part), entry.path)  # noqa: PTH118 - bytes
        os.makedirs(os.path.dirname(new), exist_ok=True)  # noqa: PTH103, PTH120 - bytes; nothing but folders here yet
        return sharing.share(old, new, entry)

    def _open(self, content: Content) -> Iterator[bytes]:
        path = self._local.get(content.sha256) or os.fsencode(self._staged(content.sha256))
        with open(path, "rb") as file:
            while block := file.read(BLOCK):
                yield block

    def finish(self) -> str:
        self.target.switch(self.revision)
        for folder in ("contents", "parts"):
            shutil.rmtree(self._work / folder, ignore_errors=True)
        return self.revision

    def places(self) -> list[Place]:
        return [
            Place(entry.content.sha256, entry.content.size, f"{VERSIONS}/{self.revision}/{os.fsdecode(entry.path)}")
            for entry in self.entries
            if entry.type is MemberType.FILE and entry.content is not None and entry.sparse is None
        ]


def load_tree(target: TreeTarget, revision: str) -> Tree:
    """The tree document of a version. Raises NotFound, FormatError."""
    try:
        with target.document(revision).open("rb") as file:
            raw = b"".join(zstd.stream_decompress(file, MAX_DOCUMENT))
    except FileNotFoundError as error:
        raise NotFound("the folder has no such version", version=revision) from error
    return known_tree(decode_tree(raw))


def remove_tree(path: Path) -> None:
    """Remove a version, folders without write permission included; symlinks are not followed."""
    for folder, names, _ in os.walk(path, followlinks=False):
        os.chmod(folder, 0o700)  # noqa: PTH101
        for name in names:
            child = Path(folder, name)
            if not child.is_symlink():
                child.chmod(0o700)
    shutil.rmtree(path)
