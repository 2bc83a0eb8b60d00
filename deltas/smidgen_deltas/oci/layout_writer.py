"""Writing an image layout in a directory, so that a reader never sees half of anything.

* a blob appears under its name when it is complete, verified and on the disk
* index.json is replaced by renaming, under a lock, after the blobs that it names
* what is in index.json already stays, but for the name that is set
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Final

from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import BlobUnknown, DigestMismatch, SizeMismatch, UsageError
from smidgen_deltas.oci import strictjson
from smidgen_deltas.oci.build import descriptor_json
from smidgen_deltas.oci.layout import INDEX_FILE, LAYOUT_FILE, LAYOUT_VERSION, REF_NAME, Layout, blob_name
from smidgen_deltas.oci.media import OCI_INDEX
from smidgen_deltas.oci.model import MAX_DOCUMENT, Descriptor

MAX_TAG: Final = 255
_EMPTY_INDEX: Final = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}


class LayoutWriter:
    """A layout that is written to; several processes may do so at once."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @classmethod
    def open_or_create(cls, path: Path | str) -> LayoutWriter:
        """Use the layout in that directory; make it, and the directory, when there is none."""
        writer = cls(Path(path))
        (writer._root / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        with writer._locked():
            if not (writer._root / INDEX_FILE).exists():
                writer._replace(INDEX_FILE, _dump(_EMPTY_INDEX))
            if not (writer._root / LAYOUT_FILE).exists():
                writer._replace(LAYOUT_FILE, _dump({"imageLayoutVersion": LAYOUT_VERSION}))
        return writer

    def layout(self) -> Layout:
        """The layout as it is now, to read from."""
        return Layout.open(self._root)

    def has_blob(self, digest: Digest) -> bool:
        return (self._root / blob_name(digest)).is_file()

    def put_blob(self, digest: Digest, blocks: Iterable[bytes], size: int | None = None) -> None:
        """Store a blob; does nothing, and reads nothing of `blocks`, when it is there already.

        Args:
            size: its bytes, when known; writing stops as soon as there are more.
        Raises:
            DigestMismatch, SizeMismatch: `blocks` are something else; nothing is kept of them.
        """
        if self.has_blob(digest):
            return
        target = self._root / blob_name(digest)
        target.parent.mkdir(exist_ok=True)
        with _temporary(target.parent) as (file, path):
            _write_verified(file, blocks, digest, size)
            path.replace(target)
        _sync_directory(target.parent)

    def put_bytes(self, body: bytes) -> Digest:
        """Store a small blob under its sha256 digest."""
        digest = Digest.of(body)
        self.put_blob(digest, (body,), len(body))
        return digest

    def set_ref(self, tag: str, descriptor: Descriptor) -> None:
        """Let a name stand for an image whose manifest is stored; other entries stay.

        Raises:
            BlobUnknown: the manifest is not here.
            UsageError: not a usable name.
        """
        if not 0 < len(tag) <= MAX_TAG or not tag.isprintable() or " " in tag:
            raise UsageError("not a usable name for an image", tag=tag[:MAX_TAG])
        if not self.has_blob(descriptor.digest):
            raise BlobUnknown("manifest is not in the image layout", digest=str(descriptor.digest))
        named = replace(descriptor, annotations={**descriptor.annotations, REF_NAME: tag})
        self._edit(tag, [descriptor_json(named)])

    def remove_ref(self, tag: str) -> None:
        """Forget a name; nothing happens when there is none. Blobs stay."""
        self._edit(tag, [])

    def _edit(self, tag: str, entries: list[dict[str, Any]]) -> None:
        with self._locked():
            self.layout()  # refuses to touch what is not a valid index
            document = strictjson.parse((self._root / INDEX_FILE).read_bytes(), MAX_DOCUMENT, INDEX_FILE)
            others = [one for one in document.get("manifests") or [] if _name_of(one) != tag]
            self._replace(INDEX_FILE, _dump({**document, "manifests": [*others, *entries]}))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        handle = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _replace(self, name: str, body: bytes) -> None:
        with _temporary(self._root) as (file, path):
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
            path.replace(self._root / name)
        _sync_directory(self._root)


def _dump(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def _name_of(entry: dict[str, Any]) -> str | None:
    annotations = entry.get("annotations") or {}
    name: str | None = annotations.get(REF_NAME)
    return name


@contextmanager
def _temporary(directory: Path) -> Iterator[tuple[IO[bytes], Path]]:
    """A new file in `directory`, mode 0644; gone afterwards unless it was renamed."""
    with tempfile.NamedTemporaryFile(dir=directory, prefix=".tmp-", delete=False) as file:
        path = Path(file.name)
        try:
            os.fchmod(file.fileno(), 0o644)
            yield file, path
        finally:
            path.unlink(missing_ok=True)


def _write_verified(file: IO[bytes], blocks: Iterable[bytes], digest: Digest, size: int | None) -> None:
    hasher = hashlib.new(digest.algorithm)
    found = 0
    for block in blocks:
        found += len(block)
        if size is not None and found > size:
            break
        hasher.update(block)
        file.write(block)
    if size is not None and found != size:
        raise SizeMismatch("blob has another size", digest=str(digest), expected=size, found=found)
    if hasher.hexdigest() != digest.hex:
        raise DigestMismatch("blob is another", expected=str(digest), found=hasher.hexdigest())
    file.flush()
    os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
