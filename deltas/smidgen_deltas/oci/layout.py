"""Image layouts (image-spec 1.1, image-layout.md): reading a directory or an archive of one.

Rules enforced here
 * `oci-layout` says version 1.0.0; `index.json` is a strict index of at most 4 MiB
 * a blob is hashed while it is read, and its last byte comes only with a digest that is right
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import BlobUnknown, DigestMismatch, LimitExceeded, NotFound, SizeMismatch
from smidgen_deltas.oci import strictjson
from smidgen_deltas.oci.fields import Fields
from smidgen_deltas.oci.gunzip import Reader
from smidgen_deltas.oci.layout_files import DirectoryFiles, LayoutFiles, LayoutInvalid
from smidgen_deltas.oci.media import OCI_INDEX
from smidgen_deltas.oci.model import MAX_DOCUMENT, Descriptor, Index, Manifest, parse_manifest

LAYOUT_FILE: Final = "oci-layout"
LAYOUT_VERSION: Final = "1.0.0"
INDEX_FILE: Final = "index.json"
REF_NAME: Final = "org.opencontainers.image.ref.name"


class TagAmbiguous(LayoutInvalid):
    """The asked name stands for several images, or none was asked for and there are several."""


def split_address(text: str) -> tuple[str, str | None]:
    """`DIR:TAG` or `DIR` as users write it -> path and tag; what follows the last colon is a tag unless it has a /."""
    path, colon, tag = text.rpartition(":")
    if colon and "/" not in tag:
        return path, tag or None
    return text, None


def blob_name(digest: Digest) -> str:
    """Where a blob is within a layout."""
    return f"blobs/{digest.algorithm}/{digest.hex}"


class Layout:
    """A layout that is read. `index` is its index.json as it was when opened."""

    def __init__(self, files: LayoutFiles) -> None:
        self._files = files
        version = Fields(strictjson.parse(self._small(LAYOUT_FILE), MAX_DOCUMENT, LAYOUT_FILE), "")
        if version.text("imageLayoutVersion") != LAYOUT_VERSION:
            raise LayoutInvalid("image layout of an unknown version", found=version.text("imageLayoutVersion")[:50])
        index = parse_manifest(self._small(INDEX_FILE), OCI_INDEX)
        if not isinstance(index, Index):
            raise LayoutInvalid("index.json is no index")
        self.index = index

    @classmethod
    def open(cls, path: Path | str) -> Layout:
        """A directory, or an uncompressed tar of one.

        Raises:
            NotFound: nothing at `path`.
            LayoutInvalid, TarCorrupt, ...: what is there is no image layout.
        """
        place = Path(path)
        if place.is_dir():
            return cls(DirectoryFiles(place))
        if not place.is_file():
            raise NotFound("no image layout at this path", path=str(place))
        from smidgen_deltas.oci.archive import ArchiveFiles  # with the tar reader, which a folder does not need

        return cls(ArchiveFiles(place))

    def _small(self, name: str) -> bytes:
        size = self._files.size(name)
        if size is None:
            raise LayoutInvalid("not an image layout", missing=name)
        if size > MAX_DOCUMENT:
            raise LimitExceeded("file of the image layout is too large", name=name, size=size, limit=MAX_DOCUMENT)
        with self._files.open(name) as reader:
            return _read_all(reader, MAX_DOCUMENT)

    def tags(self) -> dict[str, Descriptor]:
        """The named images, in the order of the index. Of a name that occurs twice, the first."""
        named: dict[str, Descriptor] = {}
        for entry in self.index.manifests:
            if name := entry.annotations.get(REF_NAME):
                named.setdefault(name, entry)
        return named

    def resolve(self, tag: str | None = None) -> Descriptor:
        """The image with that name, or with that digest, or without a name the only one.

        Raises:
            NotFound: there is none.
            TagAmbiguous: there are several.
        """
        found = {entry.digest: entry for entry in self.index.manifests if _called(entry, tag)}
        if not found:
            raise NotFound("no such image in the layout", tag=tag, known=sorted(self.tags())[:50])
        if len(found) > 1:
            raise TagAmbiguous("several images of that name in the layout", tag=tag, count=len(found))
        return next(iter(found.values()))

    def has_blob(self, digest: Digest) -> bool:
        return self._files.size(blob_name(digest)) is not None

    def blob_size(self, digest: Digest) -> int:
        """Bytes of a blob. Raises BlobUnknown."""
        size = self._files.size(blob_name(digest))
        if size is None:
            raise BlobUnknown("blob is not in the image layout", digest=str(digest))
        return size

    @contextmanager
    def open_blob(self, digest: Digest) -> Iterator[VerifiedReader]:
        """A reader of a blob that raises DigestMismatch instead of its end. Raises BlobUnknown."""
        self.blob_size(digest)
        with self._files.open(blob_name(digest)) as reader:
            yield VerifiedReader(reader, digest)

    def read_blob(self, descriptor: Descriptor, limit: int = MAX_DOCUMENT) -> bytes:
        """A small blob, verified. Raises BlobUnknown, LimitExceeded, SizeMismatch, DigestMismatch."""
        if descriptor.size > limit:
            raise LimitExceeded("blob is too large", digest=str(descriptor.digest), size=descriptor.size, limit=limit)
        size = self.blob_size(descriptor.digest)
        if size != descriptor.size:
            raise SizeMismatch(
                "blob has another size", digest=str(descriptor.digest), expected=descriptor.size, found=size
            )
        with self.open_blob(descriptor.digest) as reader:
            return _read_all(reader, limit)

    def manifest(self, descriptor: Descriptor) -> Manifest | Index:
        """The manifest or index that a descriptor names, verified."""
        return parse_manifest(self.read_blob(descriptor), descriptor.media_type)


def _called(entry: Descriptor, tag: str | None) -> bool:
    return tag is None or tag in (entry.annotations.get(REF_NAME), str(entry.digest))


def _read_all(reader: Reader, limit: int) -> bytes:
    parts, size = [], 0
    while part := reader.read(limit + 1 - size):
        parts.append(part)
        size += len(part)
        if size > limit:
            raise LimitExceeded("file of the image layout is too large", limit=limit)
    return b"".join(parts)


class VerifiedReader:
    """Hashes what is read; at the end b"" is only returned when the digest is right."""

    __slots__ = ("_digest", "_hash", "_reader")

    def __init__(self, reader: Reader, digest: Digest) -> None:
        self._reader = reader
        self._digest = digest
        self._hash = hashlib.new(digest.algorithm)

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes. Raises DigestMismatch at the end of content that is another."""
        data = self._reader.read(size)
        self._hash.update(data)
        if not data and size and self._hash.hexdigest() != self._digest.hex:
            raise DigestMismatch("blob is damaged", expected=str(self._digest), found=self._hash.hexdigest())
        return data
