"""The tree document: everything of one revision but the bytes of its files. See FORMAT.md, "Tree document".

It is stored as one zstd frame; these functions deal with the raw form. The ref document names the digest of the
stored form and both sizes, so a reader knows the bounds beforehand.

Rules enforced here
 * every count and length is bounded by the bytes that are left, before anything of that size is made
 * indexes point into their tables; no bytes are left over
What this module does *not* decide: whether checksums inside (commit, dirtree, manifest) are right. Readers of the
formats in question do that (`smidgen_deltas.ostree`, `smidgen_deltas.oci`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from smidgen_deltas.digest import LENGTHS, Digest
from smidgen_deltas.errors import UnsupportedFeature
from smidgen_deltas.wire import WireCorrupt, WireReader, put_bytes, put_varint

MAGIC: Final = b"smtree1\n"
OSTREE: Final = 1
OCI: Final = 2
TAR: Final = 3
MAX_BLOCK: Final = 1 << 30
MAX_SIZE: Final = 1 << 50
_ALGORITHMS: Final = tuple(LENGTHS)


@dataclass(frozen=True, slots=True)
class ContentRef:
    """The bytes of a file: sha256 (32 raw bytes) and size."""

    sha256: bytes
    size: int


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One ostree file object.

    Args:
        checksum: 32 raw bytes, as dirtrees name it.
        header: index into OstreeTree.headers.
        content: index into OstreeTree.contents, or -1 for symlinks and empty files.
    """

    checksum: bytes
    header: int
    content: int


@dataclass(frozen=True, slots=True)
class OstreeTree:
    """A commit with all its metadata objects; object lists are in the order of a depth-first walk, each once."""

    commit: bytes
    commitmeta: bytes | None
    dirtrees: tuple[bytes, ...]
    dirmetas: tuple[bytes, ...]
    headers: tuple[bytes, ...]
    files: tuple[FileEntry, ...]
    contents: tuple[ContentRef, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A small blob carried inline: manifests, configs."""

    media_type: str
    digest: Digest
    body: bytes


@dataclass(frozen=True, slots=True)
class LayerEntry:
    """A layer that can be rebuilt from files.

    Args:
        recipe: how the tar is made of literal bytes and contents (`smidgen_deltas.tar.recipe`), indexes into contents.
        recompress: how the stored form is made from the tar (`smidgen_deltas.engine.unpackers.layer`); empty when it
            cannot be rebuilt, or when the layer is an uncompressed tar (then digest equals diff_id).
    """

    media_type: str
    digest: Digest
    size: int
    diff_id: Digest
    tar_size: int
    recipe: bytes
    recompress: bytes


@dataclass(frozen=True, slots=True)
class OpaqueBlob:
    """A blob that is only to be had whole."""

    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class OciTree:
    """An image or an index with its images. The first manifest is the one that the ref names."""

    manifests: tuple[Document, ...]
    blobs: tuple[Document, ...]
    layers: tuple[LayerEntry, ...]
    opaque: tuple[OpaqueBlob, ...]
    contents: tuple[ContentRef, ...]


@dataclass(frozen=True, slots=True)
class TarTree:
    """A tar of its own, outside of any image; recipe as in LayerEntry."""

    sha256: bytes
    tar_size: int
    recipe: bytes
    contents: tuple[ContentRef, ...]


def encode_tree(tree: OstreeTree | OciTree | TarTree) -> bytes:
    """The raw form; the same tree always gives the same bytes."""
    out = bytearray(MAGIC)
    _put_contents(out, tree.contents)
    if isinstance(tree, OstreeTree):
        out.append(OSTREE)
        _put_ostree(out, tree)
    elif isinstance(tree, TarTree):
        out.append(TAR)
        out += tree.sha256
        put_varint(out, tree.tar_size)
        put_bytes(out, tree.recipe)
    else:
        out.append(OCI)
        _put_oci(out, tree)
    return bytes(out)


def decode_tree(raw: bytes) -> OstreeTree | OciTree:
    """Parse the raw form of a commit or an image. Raises WireCorrupt, LimitExceeded, UnsupportedFeature."""
    tree = decode_any_tree(raw)
    if isinstance(tree, TarTree):
        raise UnsupportedFeature("tree document of a plain tar")
    return tree


def decode_any_tree(raw: bytes) -> OstreeTree | OciTree | TarTree:
    """Parse the raw form of any tree. Raises as decode_tree."""
    reader = WireReader(raw, "tree document")
    reader.expect(MAGIC)
    contents = _contents(reader)
    kind = reader.take(1)[0]
    if kind == OSTREE:
        tree: OstreeTree | OciTree | TarTree = _ostree(reader, contents)
    elif kind == OCI:
        tree = _oci(reader, contents)
    elif kind == TAR:
        digest, size = reader.take(32), reader.number(MAX_SIZE, "tar size")
        tree = TarTree(digest, size, reader.block(MAX_BLOCK, "recipe"), contents)
    else:
        raise UnsupportedFeature("tree document of an unknown kind", kind=kind)
    reader.done()
    return tree


def decode_contents(raw: bytes | memoryview) -> tuple[ContentRef, ...]:
    """Only the list of contents, from the beginning of a raw document of any kind."""
    reader = WireReader(raw, "tree document")
    reader.expect(MAGIC)
    return _contents(reader)


def _put_contents(out: bytearray, contents: tuple[ContentRef, ...]) -> None:
    put_varint(out, len(contents))
    for entry in contents:
        put_varint(out, entry.size)
    out += b"".join(entry.sha256 for entry in contents)


def _contents(reader: WireReader) -> tuple[ContentRef, ...]:
    count = reader.number(reader.left // 33, "content count")
    sizes = [reader.number(MAX_SIZE, "content size") for _ in range(count)]
    digests = reader.take(32 * count)
    return tuple(ContentRef(digests[32 * at : 32 * at + 32], size) for at, size in enumerate(sizes))


def _put_blocks(out: bytearray, blocks: tuple[bytes, ...]) -> None:
    put_varint(out, len(blocks))
    for block in blocks:
        put_bytes(out, block)


def _blocks(reader: WireReader, name: str) -> tuple[bytes, ...]:
    count = reader.number(reader.left, name)
    return tuple(reader.block(MAX_BLOCK, name) for _ in range(count))


def _put_ostree(out: bytearray, tree: OstreeTree) -> None:
    put_bytes(out, tree.commit)
    put_varint(out, tree.commitmeta is not None)
    put_bytes(out, tree.commitmeta or b"")
    _put_blocks(out, tree.dirtrees)
    _put_blocks(out, tree.dirmetas)
    _put_blocks(out, tree.headers)
    put_varint(out, len(tree.files))
    for entry in tree.files:
        put_varint(out, entry.header)
        put_varint(out, entry.content + 1)
    out += b"".join(entry.checksum for entry in tree.files)


def _ostree(reader: WireReader, contents: tuple[ContentRef, ...]) -> OstreeTree:
    commit = reader.block(MAX_BLOCK, "commit")
    signed = reader.number(1, "detached metadata flag")
    commitmeta = reader.block(MAX_BLOCK, "detached metadata")
    if commitmeta and not signed:
        raise WireCorrupt("tree document has detached metadata without its flag", offset=reader.offset)
    dirtrees = _blocks(reader, "dirtrees")
    dirmetas = _blocks(reader, "dirmetas")
    headers = _blocks(reader, "headers")
    count = reader.number(reader.left // 34, "file count")
    header_limit, content_limit = max(len(headers) - 1, 0), len(contents)
    pairs = [
        (reader.number(header_limit, "header index"), reader.number(content_limit, "content index") - 1)
        for _ in range(count)
    ]
    if pairs and not headers:
        raise WireCorrupt("tree document has files but no headers", offset=reader.offset)
    checksums = reader.take(32 * count)
    files = tuple(
        FileEntry(checksums[32 * at : 32 * at + 32], header, content) for at, (header, content) in enumerate(pairs)
    )
    return OstreeTree(commit, commitmeta if signed else None, dirtrees, dirmetas, headers, files, contents)


def _put_digest(out: bytearray, digest: Digest) -> None:
    out.append(_ALGORITHMS.index(digest.algorithm))
    out += digest.raw


def _digest(reader: WireReader) -> Digest:
    number = reader.take(1)[0]
    if number >= len(_ALGORITHMS):
        raise UnsupportedFeature("unknown digest algorithm", offset=reader.offset, number=number)
    algorithm = _ALGORITHMS[number]
    return Digest(algorithm, reader.take(LENGTHS[algorithm] // 2).hex())


def _put_document(out: bytearray, document: Document) -> None:
    put_bytes(out, document.media_type.encode())
    _put_digest(out, document.digest)
    put_bytes(out, document.body)


def _text(reader: WireReader, name: str) -> str:
    try:
        return reader.block(1024, name).decode()
    except UnicodeDecodeError as error:
        raise WireCorrupt("tree document has text that is not UTF-8", offset=reader.offset, field=name) from error


def _documents(reader: WireReader, name: str) -> tuple[Document, ...]:
    count = reader.number(reader.left, name)
    return tuple(
        Document(_text(reader, "media type"), _digest(reader), reader.block(MAX_BLOCK, name)) for _ in range(count)
    )


def _put_oci(out: bytearray, tree: OciTree) -> None:
    for documents in (tree.manifests, tree.blobs):
        put_varint(out, len(documents))
        for document in documents:
            _put_document(out, document)
    put_varint(out, len(tree.layers))
    for layer in tree.layers:
        put_bytes(out, layer.media_type.encode())
        _put_digest(out, layer.digest)
        put_varint(out, layer.size)
        _put_digest(out, layer.diff_id)
        put_varint(out, layer.tar_size)
        put_bytes(out, layer.recipe)
        put_bytes(out, layer.recompress)
    put_varint(out, len(tree.opaque))
    for blob in tree.opaque:
        _put_digest(out, blob.digest)
        put_varint(out, blob.size)


def _oci(reader: WireReader, contents: tuple[ContentRef, ...]) -> OciTree:
    manifests = _documents(reader, "manifests")
    if not manifests:
        raise WireCorrupt("tree document names no manifest", offset=reader.offset)
    blobs = _documents(reader, "blobs")
    layers = tuple(
        LayerEntry(
            media_type=_text(reader, "media type"),
            digest=_digest(reader),
            size=reader.number(MAX_SIZE, "layer size"),
            diff_id=_digest(reader),
            tar_size=reader.number(MAX_SIZE, "tar size"),
            recipe=reader.block(MAX_BLOCK, "recipe"),
            recompress=reader.block(MAX_BLOCK, "recompress"),
        )
        for _ in range(reader.number(reader.left, "layer count"))
    )
    opaque = tuple(
        OpaqueBlob(_digest(reader), reader.number(MAX_SIZE, "blob size"))
        for _ in range(reader.number(reader.left, "opaque count"))
    )
    return OciTree(manifests, blobs, layers, opaque, contents)
