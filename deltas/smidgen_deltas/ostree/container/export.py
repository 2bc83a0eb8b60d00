"""Commits as images in OCI layouts. The same commit gives the same image, but for another zlib."""

from __future__ import annotations

import hashlib
import json
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, BinaryIO, Final

from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import FormatError, NotFound
from smidgen_deltas.oci.build import encode_manifest
from smidgen_deltas.oci.layout_writer import LayoutWriter
from smidgen_deltas.oci.media import OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST
from smidgen_deltas.oci.model import Descriptor
from smidgen_deltas.ostree.container.contents import CommitReader, read_contents, split
from smidgen_deltas.ostree.container.layers import chunk_layer, commit_layer
from smidgen_deltas.ostree.container.layout import (
    BOOTC_LABEL,
    COMMIT_LABEL,
    COMPONENTS,
    COPIED_LABELS,
    FINAL_LABEL,
    VERSION_LABELS,
)
from smidgen_deltas.ostree.gvariant import Variant
from smidgen_deltas.ostree.objects import Commit, ObjectName, ObjectType

LEVEL: Final = 6
BLOCK: Final = 1 << 18
_GZIP: Final = 31  # zlib's window bits for a gzip stream, which then has neither a time nor a name


@dataclass(frozen=True, slots=True)
class ExportedImage:
    """digest: of the manifest; layers: how many, the commit's first."""

    digest: Digest
    commit: bytes
    layers: int


@dataclass(frozen=True, slots=True)
class _Layer:
    descriptor: Descriptor
    diff_id: Digest
    name: str


def export_commit(
    repo: CommitReader, commit: bytes, writer: LayoutWriter, tag: str, chunks: int, architecture: str
) -> ExportedImage:
    """Write a commit as an image and let `tag` name it.

    Args:
        chunks: at most so many layers beside the first one, see `contents.split`.
        architecture: as Go names it, for the image's config.
    Raises NotFound (also for a partial commit), FormatError, DigestMismatch, LimitExceeded, UsageError (the tag); the
    tag is untouched then. Memory: the names of all files, and one metadata object.
    """
    if repo.is_partial(commit):
        raise NotFound("the commit is not complete in this repository", commit=commit.hex())
    parsed = Commit.decode(repo.metadata(ObjectName(ObjectType.COMMIT, commit)))
    made, left = split(repo, read_contents(repo, commit), chunks)
    subject = parsed.subject or f"ostree export of commit {commit.hex()}"
    layers = [_put_layer(writer, commit_layer(repo, commit, left), subject, {})]
    for chunk in made:
        layers.append(_put_layer(writer, chunk_layer(repo, chunk.contents), chunk.name, {COMPONENTS: chunk.name}))
    labels = _labels(parsed, commit, layers[-1].diff_id)
    config = _config(parsed, layers, labels, architecture)
    described = Descriptor(OCI_CONFIG, writer.put_bytes(config), len(config), {})
    manifest = encode_manifest(described, [layer.descriptor for layer in layers], annotations=labels)
    digest = writer.put_bytes(manifest)
    writer.set_ref(tag, Descriptor(OCI_MANIFEST, digest, len(manifest), {}))
    return ExportedImage(digest, commit, len(layers))


def _put_layer(writer: LayoutWriter, tar: Iterable[bytes], name: str, annotations: Mapping[str, str]) -> _Layer:
    """Compress into a file without a name first, as a blob is stored under its digest."""
    plain, stored = hashlib.sha256(), hashlib.sha256()
    coder = zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP)
    with tempfile.TemporaryFile() as spool:
        for block in tar:
            plain.update(block)
            _spool(spool, stored, coder.compress(block))
        _spool(spool, stored, coder.flush())
        size = spool.tell()
        spool.seek(0)
        digest = Digest.from_raw(stored.digest())
        writer.put_blob(digest, _blocks(spool), size)
    return _Layer(Descriptor(OCI_LAYER_GZIP, digest, size, annotations), Digest.from_raw(plain.digest()), name)


def _spool(spool: BinaryIO, hasher: Any, data: bytes) -> None:
    hasher.update(data)
    spool.write(data)


def _blocks(spool: BinaryIO) -> Iterator[bytes]:
    while block := spool.read(BLOCK):
        yield block


def _labels(commit: Commit, checksum: bytes, final: Digest) -> dict[str, str]:
    labels = {COMMIT_LABEL: checksum.hex(), FINAL_LABEL: str(final)}
    if version := _text(commit.metadata.get("version")):
        labels |= dict.fromkeys(VERSION_LABELS, version)
    for key in COPIED_LABELS:
        if value := _text(commit.metadata.get(key)):
            labels[key] = value
    if labels.get("ostree.bootable") == "true":
        labels[BOOTC_LABEL] = "1"
    return labels


def _text(variant: Variant | None) -> str:
    """A string, or a truth as a label has it; "" for all else."""
    if variant is None:
        return ""
    if variant.signature == "b":
        return "true" if variant.value else "false"
    return str(variant.value) if variant.signature == "s" else ""


def _config(commit: Commit, layers: list[_Layer], labels: Mapping[str, str], architecture: str) -> bytes:
    try:
        created = datetime.fromtimestamp(commit.timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError) as error:
        raise FormatError("commit has a time that no calendar has", timestamp=commit.timestamp) from error
    document = {
        "created": created,
        "architecture": architecture,
        "os": "linux",
        "config": {"Labels": dict(sorted(labels.items()))},
        "rootfs": {"type": "layers", "diff_ids": [str(layer.diff_id) for layer in layers]},
        "history": [{"created": created, "created_by": layer.name} for layer in layers],
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
