"""Verify, check out, roll back and clean an OCI layout.

Cleaning removes blobs that nothing named in index.json and no kept revision needs; in a layout everything else is
rubbish by definition.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from smidgen_client.progress import Progress
from smidgen_client.state.stores import Install
from smidgen_client.stores.base import Problem, Removed, Verified
from smidgen_client.stores.extracting import extract_tar, new_folder
from smidgen_client.targets.oci import REVISION, OciTarget
from smidgen_deltas.digest import Digest, DigestInvalid
from smidgen_deltas.errors import NotFound, SizeMismatch, SmidgenError
from smidgen_deltas.oci.layer import open_layer
from smidgen_deltas.oci.layout import Layout, blob_name
from smidgen_deltas.oci.layout_writer import LayoutWriter
from smidgen_deltas.oci.media import layer_compression
from smidgen_deltas.oci.model import Descriptor, Index, Manifest, parse_manifest
from smidgen_deltas.tar.extract import Options

MAX_DEPTH: Final = 4
MAX_TAR: Final = 1 << 40
BLOCK: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class OciStore:
    """See stores.base.Store; `tag`: the image that is meant."""

    path: Path
    tag: str

    @property
    def lock(self) -> Path:
        return OciTarget(self.path, self.tag).lock

    def current(self) -> str | None:
        entry = Layout.open(self.path).tags().get(self.tag)
        return str(entry.digest) if entry else None

    def verify(self, progress: Progress) -> Verified:
        layout = Layout.open(self.path)
        if self.tag not in layout.tags():
            raise NotFound("no such image in the layout", tag=self.tag, path=str(self.path))
        problems: list[Problem] = []
        blobs = {one.digest: one for one in _needed(layout, layout.index.manifests, problems)}
        progress.begin("verifying", sum(one.size for one in blobs.values()))
        total = 0
        for blob in blobs.values():
            try:
                total += _hash(layout, blob, progress)
            except SmidgenError as error:
                problems.append(Problem(str(blob.digest), str(error)))
        progress.end()
        return Verified(len(blobs), total, tuple(problems))

    def checkout(self, revision: str, folder: Path) -> int:
        layout = Layout.open(self.path)
        manifest = self._manifest(layout, revision)
        handle = new_folder(folder)
        made = 0
        try:
            for layer in manifest.layers:
                if layer_compression(layer.media_type) is not None:
                    made += _apply(layout, layer, handle)
        finally:
            os.close(handle)
        return made

    def _manifest(self, layout: Layout, revision: str) -> Manifest:
        if revision in layout.tags():
            found = layout.manifest(layout.tags()[revision])
        else:
            digest = _digest(revision)
            with layout.open_blob(digest) as reader:
                found = parse_manifest(b"".join(iter(lambda: reader.read(BLOCK), b"")))
        while isinstance(found, Index):
            here = [one for one in found.manifests if layout.has_blob(one.digest)]
            if not here:
                raise NotFound("the index has no image that is here", revision=revision)
            found = layout.manifest(here[0])
        return found

    def rollback(self, to: Install) -> None:
        writer = LayoutWriter.open_or_create(self.path)
        layout = writer.layout()
        digest = Digest.parse(to.stored)
        if not layout.has_blob(digest):
            raise NotFound("the layout no longer has the image", manifest=to.stored)
        with layout.open_blob(digest) as reader:
            body = b"".join(iter(lambda: reader.read(BLOCK), b""))
        found = parse_manifest(body)
        writer.set_ref(self.tag, Descriptor(found.media_type, digest, len(body), {REVISION: to.revision}))

    def clean(self, keep: Collection[str], known: Collection[str], *, dry_run: bool) -> Removed:
        layout = Layout.open(self.path)
        roots = [*layout.index.manifests, *_kept(layout, keep)]
        needed = {blob_name(one.digest) for one in _needed(layout, roots, [])}
        count = size = 0
        for path in sorted((self.path / "blobs").glob("*/*")):
            if f"blobs/{path.parent.name}/{path.name}" not in needed:
                count, size = count + 1, size + path.stat().st_size
                if not dry_run:
                    path.unlink()
        named = {str(one.digest) for one in roots}
        return Removed(tuple(sorted(set(known) - named)), count, size)


def _kept(layout: Layout, keep: Collection[str]) -> Iterator[Descriptor]:
    for text in keep:
        digest = Digest.parse(text)
        if layout.has_blob(digest):
            with layout.open_blob(digest) as reader:
                body = b"".join(iter(lambda: reader.read(BLOCK), b""))
            yield Descriptor(parse_manifest(body).media_type, digest, len(body), {})


def _digest(revision: str) -> Digest:
    try:
        return Digest.parse(revision)
    except DigestInvalid:
        raise NotFound("no such image in the layout", tag=revision[:200]) from None


def _needed(
    layout: Layout, roots: Collection[Descriptor], problems: list[Problem], depth: int = MAX_DEPTH
) -> Iterator[Descriptor]:
    """Every blob that images need, manifests included; unreadable manifests are problems."""
    for root in roots:
        yield root
        try:
            manifest = layout.manifest(root)
        except SmidgenError as error:
            problems.append(Problem(str(root.digest), str(error)))
            continue
        if isinstance(manifest, Manifest):
            yield from (manifest.config, *manifest.layers)
        elif depth:
            here = [one for one in manifest.manifests if layout.has_blob(one.digest)]
            yield from _needed(layout, here, problems, depth - 1)


def _hash(layout: Layout, blob: Descriptor, progress: Progress) -> int:
    """Read a blob to its end, which verifies it; returns its size."""
    size = 0
    with layout.open_blob(blob.digest) as reader:
        while block := reader.read(BLOCK):
            size += len(block)
            progress.advance(len(block))
    if size != blob.size:
        raise SizeMismatch("blob has another size", digest=str(blob.digest), expected=blob.size, found=size)
    return size


def _apply(layout: Layout, layer: Descriptor, handle: int) -> int:
    """Put one layer on top of what is below `handle`."""

    @contextlib.contextmanager
    def read() -> Iterator[Iterator[bytes]]:
        with layout.open_blob(layer.digest) as reader:
            yield open_layer(layer.media_type, reader, MAX_TAR)

    return extract_tar(handle, read, Options(whiteouts=True))
