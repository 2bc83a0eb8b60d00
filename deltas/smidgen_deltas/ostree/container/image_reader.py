"""Commits out of images, into a repository. Every object, layer, and document is checked against its name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import DigestMismatch, SmidgenError, UnsupportedFeature
from smidgen_deltas.oci.config import MAX_CONFIG, ImageConfig, parse_config
from smidgen_deltas.oci.layer import open_layer
from smidgen_deltas.oci.layout import Layout
from smidgen_deltas.oci.model import Descriptor, Index, Manifest
from smidgen_deltas.ostree.container.layer_reader import FileBody, LayerReader
from smidgen_deltas.ostree.container.layout import COMMIT_LABEL, FINAL_LABEL, CommitMismatch, ContainerInvalid
from smidgen_deltas.ostree.container.merge import Merging
from smidgen_deltas.ostree.objects import ObjectName, ObjectType
from smidgen_deltas.ostree.refs import check_ref
from smidgen_deltas.ostree.repo import ObjectMissing
from smidgen_deltas.ostree.repo_writer import RepositoryWriter, Transaction
from smidgen_deltas.ostree.walk import closure

MAX_TAR: Final = 1 << 42


@dataclass(frozen=True, slots=True)
class ImportedImage:
    """commit: what the ref stands for now; image: digest of the manifest; layers: how many were read.

    base: the commit that the image was made from; `commit` itself unless there are layers on top of it.
    """

    commit: bytes
    image: Digest
    layers: int
    base: bytes


@dataclass(frozen=True, slots=True)
class _Opened:
    """own: how many layers are of the commit itself."""

    manifest: Manifest
    config: ImageConfig
    own: int


def import_image(layout: Layout, tag: str | None, writer: RepositoryWriter, ref: str | None) -> ImportedImage:
    """Put the commit of an image into a repository, and let `ref` name it.

    With layers on top, it is a new commit of everything together (`merge`); then the base is there, too.

    Args:
        tag: None for the only image of the layout.
        ref: None for the tag, as a ref.
    Raises NotFound, FormatError (ContainerInvalid above all), IntegrityError (CommitMismatch: not the promised commit,
    or not all of it), UnsupportedFeature, StorageError; then the repository has nothing new. Memory: names of objects,
    one metadata object, and the xattrs that files of a layer share.
    """
    name = check_ref(ref or tag or "")
    opened = _open(layout, layout.resolve(tag))
    promised = _promised(opened.config)
    with writer.transaction() as transaction:
        try:
            base = commit = _read_layers(layout, opened, promised, transaction)
            if opened.own < len(opened.manifest.layers):
                commit = _merge(layout, opened, base, transaction)
        except SmidgenError:
            transaction.discard()
            raise
        transaction.set_ref(name, commit)
        transaction.commit()
    return ImportedImage(commit, opened.manifest.digest, len(opened.manifest.layers), base)


def _open(layout: Layout, descriptor: Descriptor) -> _Opened:
    found = layout.manifest(descriptor)
    if isinstance(found, Index):
        if len(found.manifests) != 1:
            raise UnsupportedFeature(
                "several images under one name; name one by its digest", count=len(found.manifests)
            )
        found = layout.manifest(found.manifests[0])
    if isinstance(found, Index):
        raise UnsupportedFeature("index of indexes", digest=str(found.digest))
    config = parse_config(layout.read_blob(found.config, MAX_CONFIG))
    if len(config.diff_ids) != len(found.layers):
        raise ContainerInvalid("config has not one diff_id for each layer", config=str(config.digest))
    return _Opened(found, config, _own_layers(config))


def _own_layers(config: ImageConfig) -> int:
    """How many layers are of the commit. Raises ContainerInvalid, UnsupportedFeature."""
    final = config.labels.get(FINAL_LABEL)
    if final is None:
        raise UnsupportedFeature("image is not made from an ostree commit", missing=FINAL_LABEL)
    at = next((index for index, one in enumerate(config.diff_ids) if str(one) == final), None)
    if at is None:
        raise ContainerInvalid("no layer has the final diff_id", label=final[:200])
    return at + 1


def _promised(config: ImageConfig) -> bytes | None:
    """The commit that the label names; None without one. Raises ContainerInvalid."""
    text = config.labels.get(COMMIT_LABEL)
    if text is None:
        return None
    if len(text) != 64 or set(text) - set("0123456789abcdef"):
        raise ContainerInvalid("label is not a checksum", label=COMMIT_LABEL, found=text[:200])
    return bytes.fromhex(text)


def _read_layers(layout: Layout, opened: _Opened, promised: bytes | None, transaction: Transaction) -> bytes:
    found: bytes | None = None
    for number in range(opened.own):
        with _open_layer(layout, opened, number) as blocks:
            commit = _store(blocks, transaction, first=number == 0)
        found = found or commit
    if found is None:
        raise ContainerInvalid("first layer has no commit", image=str(opened.manifest.digest))
    if promised is not None and found != promised:
        raise CommitMismatch("image holds another commit", expected=promised.hex(), found=found.hex())
    _check_complete(transaction, found)
    return found


def _merge(layout: Layout, opened: _Opened, base: bytes, transaction: Transaction) -> bytes:
    """A commit of the base with all layers above it."""
    merging = Merging(transaction, base)
    for number in range(opened.own, len(opened.manifest.layers)):
        with _open_layer(layout, opened, number) as blocks:
            merging.add(opened.manifest.layers[number].digest, blocks)
    return merging.commit(opened.manifest, opened.config)


@contextmanager
def _open_layer(layout: Layout, opened: _Opened, number: int) -> Iterator[Iterator[bytes]]:
    """The tar of a layer; its digests are checked by the time that all is read."""
    layer = opened.manifest.layers[number]
    with layout.open_blob(layer.digest) as reader:
        yield _hashed(open_layer(layer.media_type, reader, MAX_TAR), opened.config.diff_ids[number])


def _hashed(blocks: Iterable[bytes], diff_id: Digest) -> Iterator[bytes]:
    """The blocks; DigestMismatch behind the last when they are not what the config names."""
    hasher = hashlib.new(diff_id.algorithm)
    for block in blocks:
        hasher.update(block)
        yield block
    if hasher.hexdigest() != diff_id.hex:
        raise DigestMismatch(
            "layer is not the one that the config names", expected=str(diff_id), found=hasher.hexdigest()
        )


def _store(blocks: Iterable[bytes], transaction: Transaction, *, first: bool) -> bytes | None:
    """Stage the objects of a layer; the commit, if it has one."""
    commit: bytes | None = None
    for one in LayerReader(blocks):
        if isinstance(one, FileBody):
            if not transaction.has(ObjectName(ObjectType.FILE, one.checksum)):
                transaction.put_file(one.checksum, one.header, one.size, one.chunks)
            continue
        if not first:
            raise ContainerInvalid("metadata in a layer of contents", object=str(one.name))
        if one.name.type is ObjectType.COMMITMETA:
            transaction.put_commitmeta(one.name.checksum, one.data)
            continue
        transaction.put_metadata(one.name, one.data)
        if one.name.type is ObjectType.COMMIT:
            commit = one.name.checksum
    return commit


def _check_complete(transaction: Transaction, commit: bytes) -> None:
    """Raise CommitMismatch unless every object of the commit is there."""
    try:
        for visited in closure(transaction.metadata, commit):
            if not transaction.has(visited.name):
                raise ObjectMissing("object is not in the image", object=str(visited.name))
    except ObjectMissing as error:
        raise CommitMismatch("image does not hold all of its commit", commit=commit.hex(), **error.detail) from error
