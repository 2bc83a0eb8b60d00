"""Images in OCI layouts as sides of a delta, and as its result: `oci:DIR:TAG`.

Layers are taken apart into files. What is no layer of a file system, or cannot be read as a tar, is a content of its
own; so a delta has all that an image needs. A layer whose compression cannot be repeated comes back uncompressed, in a
manifest that says so; its config, and with it the image's id, stays.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from smidgen_client.deltas.maps import Mapped
from smidgen_client.deltas.splitting import TarIndex
from smidgen_client.names import Address
from smidgen_client.targets.image import Image, blobs_of, check_image, rewrite
from smidgen_deltas.digest import Digest
from smidgen_deltas.engine.unpackers.layer import analyze_gzip_layer, recompress_layer
from smidgen_deltas.errors import FormatError, LimitExceeded, NotFound
from smidgen_deltas.native.tree import ContentRef, Document, LayerEntry, OciTree, OpaqueBlob
from smidgen_deltas.oci.gunzip import Reader
from smidgen_deltas.oci.layer import open_layer
from smidgen_deltas.oci.layout import Layout
from smidgen_deltas.oci.layout_writer import LayoutWriter
from smidgen_deltas.oci.media import Compression, layer_compression
from smidgen_deltas.oci.model import Descriptor, Index, Manifest
from smidgen_deltas.tar.member import Member
from smidgen_deltas.tar.recipe import Content, Splitter, decode, encode, rebuild

KIND: Final = "oci:"
INLINE: Final = 1 << 20  # larger configs and artifacts are contents
MAX_MANIFESTS: Final = 1000
MAX_DEPTH: Final = 4  # indexes in indexes
MAX_TAR: Final = 1 << 42
BLOCK: Final = 1 << 18

Body = Callable[[ContentRef], Iterator[bytes]]


def split(text: str) -> tuple[Path, str]:
    """The layout and the tag. Raises UsageError."""
    address = Address.parse(text)
    return address.path, address.tag


def open_image(text: str, stack: contextlib.ExitStack) -> tuple[OciTree, Mapped]:
    """The tree of an image and its contents, in a file that lives as long as `stack`.

    Raises UsageError, NotFound, FormatError, IntegrityError.
    """
    path, tag = split(text)
    layout = Layout.open(path)
    spool = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
    reading = _Reading(layout, spool)
    reading.manifest(layout.resolve(tag), 0)
    spool.flush()
    return reading.tree(), Mapped(spool, reading.index.places)


@dataclass(slots=True)
class _Reading:
    """An image on its way into a tree; everything once, in the order of first mention."""

    layout: Layout
    spool: BinaryIO
    index: TarIndex = field(default_factory=TarIndex)
    manifests: dict[Digest, Document] = field(default_factory=dict)
    documents: dict[Digest, Document] = field(default_factory=dict)
    layers: dict[Digest, LayerEntry] = field(default_factory=dict)
    opaque: dict[Digest, OpaqueBlob] = field(default_factory=dict)

    def tree(self) -> OciTree:
        parts = (self.manifests, self.documents, self.layers, self.opaque)
        manifests, documents, layers, opaque = (tuple(part.values()) for part in parts)
        return OciTree(manifests, documents, layers, opaque, tuple(self.index.contents))  # type: ignore[arg-type]

    def manifest(self, descriptor: Descriptor, depth: int) -> None:
        if descriptor.digest in self.manifests:
            return
        if depth > MAX_DEPTH or len(self.manifests) >= MAX_MANIFESTS:
            raise LimitExceeded("too many manifests", digest=str(descriptor.digest), limit=MAX_MANIFESTS)
        found = self.layout.manifest(descriptor)
        self.manifests[descriptor.digest] = Document(found.media_type, descriptor.digest, found.body)
        if isinstance(found, Index):
            for child in found.manifests:
                if self.layout.has_blob(child.digest):  # an index may name platforms that are not here
                    self.manifest(child, depth + 1)
            return
        self._blobs(found)

    def _blobs(self, manifest: Manifest) -> None:
        for one in (manifest.config, *manifest.layers):
            if one.digest in self.documents.keys() | self.layers.keys() | self.opaque.keys():
                continue
            if layer_compression(one.media_type) is not None:
                self._layer(one)
            elif one.size <= INLINE:
                self.documents[one.digest] = Document(one.media_type, one.digest, self.layout.read_blob(one, INLINE))
            else:
                self._whole(one)

    def _layer(self, one: Descriptor) -> None:
        before, start = len(self.index.contents), self.spool.tell()
        try:
            with self.layout.open_blob(one.digest) as reader:
                splitter = Splitter(self._copied(open_layer(one.media_type, reader, MAX_TAR)), _no_sink)
                recipe = encode(self.index.watch(splitter, start), self.index.number)
        except FormatError:  # no tar, or one that nobody should unpack
            self.index.cut(before)
            self.spool.seek(start)
            self.spool.truncate()
            self._whole(one)
            return
        self.layers[one.digest] = LayerEntry(
            one.media_type,
            one.digest,
            self.layout.blob_size(one.digest),
            splitter.diff_id,
            splitter.tar_size,
            recipe,
            self._recompression(one, splitter.diff_id, start, splitter.tar_size),
        )

    def _copied(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        for block in blocks:
            self.spool.write(block)
            yield block

    def _whole(self, one: Descriptor) -> None:
        """A blob as a content."""
        if one.digest.algorithm != "sha256":
            raise FormatError("a blob that is no layer must be named by its sha256", digest=str(one.digest))
        start = self.spool.tell()
        with self.layout.open_blob(one.digest) as reader:
            for _ in self._copied(_blocks(reader)):
                pass
        size = self.spool.tell() - start
        self.index.add(ContentRef(one.digest.raw, size), start)
        self.opaque[one.digest] = OpaqueBlob(one.digest, size)

    def _recompression(self, one: Descriptor, diff_id: Digest, start: int, size: int) -> bytes:
        """How the layer's tar becomes the blob, proven; b"" when it is the blob, or when nobody can tell."""
        if one.digest == diff_id or layer_compression(one.media_type) is Compression.NONE:
            return b""
        with self.layout.open_blob(one.digest) as reader:
            recipe = analyze_gzip_layer(reader)
        if recipe is None:
            return b""
        hasher, end = hashlib.new(one.digest.algorithm), self.spool.tell()
        self.spool.seek(start)
        try:
            for block in recompress_layer(recipe, _blocks(self.spool, size)):
                hasher.update(block)
        except FormatError:
            return b""
        finally:
            self.spool.seek(end)
        return recipe if hasher.hexdigest() == one.digest.hex else b""


def _no_sink(member: Member, size: int) -> None:  # noqa: ARG001 - the splitter's interface
    """Contents stay in the spool."""


def _blocks(reader: Reader, size: int = MAX_TAR) -> Iterator[bytes]:
    while size and (block := reader.read(min(BLOCK, size))):
        size -= len(block)
        yield block


def write_image(tree: OciTree, body: Body, output: str) -> Digest:
    """Put an image into a layout (made if there is none) under a tag.

    Args:
        body: the bytes of a content.
        output: `oci:DIR:TAG`.
    Returns the digest of the manifest that the tag stands for now: another than the tree's only when a layer came back
    uncompressed. Raises UsageError, NotFound, FormatError, IntegrityError, StorageError; the tag is untouched then.
    """
    path, tag = split(output)
    image = check_image(tree, tree.manifests[0].digest)
    writer = LayoutWriter.open_or_create(path)
    as_tar = frozenset(one.digest for one in blobs_of(image) if _put(writer, image, tree, one, body))
    for document in image.documents.values():
        writer.put_blob(document.digest, (document.body,), len(document.body))
    if as_tar:
        root, bodies = rewrite(image, as_tar)
        for one in bodies:
            writer.put_bytes(one)
    else:
        for digest, manifest in image.manifests.items():
            writer.put_blob(digest, (manifest.body,), len(manifest.body))
        first = image.manifests[image.root]
        root = Descriptor(first.media_type, image.root, len(first.body), {})
    writer.set_ref(tag, root)
    return root.digest


def _put(writer: LayoutWriter, image: Image, tree: OciTree, one: Descriptor, body: Body) -> bool:
    """Write a blob; whether it is there as the tar that it holds only."""
    if one.digest in image.documents or writer.has_blob(one.digest):
        return False
    layer = image.layers.get(one.digest)
    if layer is None:
        size = image.opaque[one.digest]
        writer.put_blob(one.digest, _content(tree, ContentRef(one.digest.raw, size), body), size)
        return False
    tar = rebuild(decode(layer.recipe, tree.contents), lambda piece: body(_ref(piece)), layer.diff_id)
    if layer.recompress:
        writer.put_blob(layer.digest, recompress_layer(layer.recompress, tar), layer.size)
        return False
    writer.put_blob(layer.diff_id, tar, layer.tar_size)
    return layer.diff_id != layer.digest


def _ref(piece: Content) -> ContentRef:
    return ContentRef(piece.sha256, piece.size)


def _content(tree: OciTree, ref: ContentRef, body: Body) -> Iterator[bytes]:
    if ref not in tree.contents:
        raise NotFound("the delta does not have a blob of the image", digest=ref.sha256.hex(), size=ref.size)
    return body(ref)
