"""A pull into an OCI image layout that skopeo and podman read.

Blobs appear under their names when they are complete, verified and on the disk; the tag is set last. The image id
(digest of the config) is always the pushed one. The manifest is the pushed one too unless a layer was rebuilt as an
uncompressed tar; then the entry in index.json carries the pushed manifest's digest in the annotation REVISION.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from smidgen_client.fetch.blobs import part_left
from smidgen_client.fetch.parts import PartFiles
from smidgen_client.fetch.sink import Blocks
from smidgen_client.plan.costs import BUILD_RATE, Prices
from smidgen_client.plan.layers import LayerNeed, Mode, choose_layers
from smidgen_client.targets.base import Decision, Place, Tree, WholeBlob
from smidgen_client.targets.durable import adopt
from smidgen_client.targets.image import Image, blobs_of, check_image, rewrite
from smidgen_client.targets.layer_file import LayerFile
from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import DigestMismatch, NotFound, SmidgenError, UsageError
from smidgen_deltas.native.packmap import PackMap
from smidgen_deltas.native.refdoc import RefDocument
from smidgen_deltas.native.tree import ContentRef, LayerEntry, OciTree
from smidgen_deltas.oci.layout import Layout, blob_name
from smidgen_deltas.oci.layout_writer import LayoutWriter
from smidgen_deltas.oci.media import Compression, layer_compression
from smidgen_deltas.oci.model import Descriptor, Index, Manifest

WORK: Final = ".smidgen"
REVISION: Final = "dev.smidgen.revision"


@dataclass(frozen=True, slots=True)
class OciTarget:
    """The image `tag` in a layout; `layers`: see plan.layers."""

    path: Path
    tag: str
    layers: Mode = "auto"

    @property
    def lock(self) -> Path:
        return self.path / WORK / "lock"

    def current(self, document: RefDocument) -> str | None:
        try:
            layout = Layout.open(self.path)
            entry = layout.tags().get(self.tag)
            if entry is None or revision_of(entry) != document.revision:
                return None
            if self.layers == "exact" and entry.digest != document.revision:
                return None
            return str(entry.digest) if _complete(layout, entry) else None
        except SmidgenError:
            return None

    @contextmanager
    def assemble(self, tree: Tree, document: RefDocument) -> Iterator[OciAssembly]:
        if not isinstance(tree, OciTree):
            raise UsageError("a commit cannot be pulled into an OCI layout", ref=document.ref)
        yield OciAssembly(tree, check_image(tree, document.revision), self)


def revision_of(entry: Descriptor) -> Digest:
    """The pushed manifest that an entry of index.json stands for."""
    said = entry.annotations.get(REVISION)
    return Digest.parse(said) if said else entry.digest


class OciAssembly:
    """See targets.base.Assembly."""

    def __init__(self, tree: OciTree, image: Image, target: OciTarget) -> None:
        self._tree, self._image, self._target = tree, image, target
        self._lock = threading.Lock()
        self._prepared: set[Digest] = set()
        self._how: dict[Digest, str] = {}
        self._needs: list[LayerEntry] = []
        self._files: dict[Digest, LayerFile] = {}
        self._opaque: list[WholeBlob] = []
        self._lack: dict[Digest, frozenset[int]] = {}
        for blob in blobs_of(image):
            self._sort(blob)

    def _sort(self, blob: Descriptor) -> None:
        """What is to be done about one blob of the image."""
        digest, layer = blob.digest, self._image.layers.get(blob.digest)
        if self._has(digest):
            self._how[digest] = "kept"
        elif layer is not None and self._target.layers != "exact" and self._has(layer.diff_id):
            self._how[digest] = "tar"
        elif layer is not None:
            self._needs.append(layer)
            self._files.setdefault(layer.diff_id, self._file(layer))
        elif digest not in self._image.documents:
            self._how[digest] = "whole"
            self._opaque.append(WholeBlob(digest, self._image.opaque[digest], "there is no other form of it"))

    def _file(self, layer: LayerEntry) -> LayerFile:
        return LayerFile(layer, self._tree.contents, self._work / f"{layer.diff_id.hex}.tar")

    @property
    def _work(self) -> Path:
        return self._target.path / WORK

    def _blob_path(self, digest: Digest) -> Path:
        return self._target.path / blob_name(digest)

    def _has(self, digest: Digest) -> bool:
        return self._blob_path(digest).is_file()

    @property
    def contents(self) -> tuple[ContentRef, ...]:
        return self._tree.contents

    @property
    def parts(self) -> PartFiles:
        return PartFiles(self._work)

    @property
    def files(self) -> int:
        return len(self._tree.contents)

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(
            self._how.get(layer.digest, "?")
            for manifest in self._image.manifests.values()
            if isinstance(manifest, Manifest)
            for layer in manifest.layers
        )

    def begin(self) -> None:
        LayoutWriter.open_or_create(self._target.path)

    def missing(self) -> bytearray:
        return self._flags(self._needs)

    def _flags(self, layers: Iterable[LayerEntry]) -> bytearray:
        """Contents that the tars of some layers lack."""
        flags = bytearray(len(self.contents))
        for layer in layers:
            if layer.diff_id not in self._lack:
                self._lack[layer.diff_id] = frozenset(self._files[layer.diff_id].missing())
            for content in self._lack[layer.diff_id]:
                flags[content] = 1
        return flags

    def decide(self, packmap: PackMap, remote: bytearray, prices: Prices) -> Decision:
        needs = [self._need(layer) for layer in self._needs]
        chosen = choose_layers(needs, packmap, remote, self._target.layers, prices)
        blobs, built, work = list(self._opaque), [], 0.0
        for layer, need, how in zip(self._needs, needs, chosen, strict=True):
            self._how[layer.digest] = how
            if how == "whole":
                blobs.append(WholeBlob(layer.digest, layer.size, _why(self._target.layers)))
            else:
                built.append(layer)
                work += need.tar / BUILD_RATE
        return Decision(self._flags(built), tuple(blobs), work)

    def _need(self, layer: LayerEntry) -> LayerNeed:
        return LayerNeed(
            contents=self._files[layer.diff_id].members,
            whole=part_left(self._work / f"{layer.digest.hex}.blob", layer.size),
            tar=layer.tar_size,
            plain=layer.digest == layer.diff_id,
            recompress=False,
        )

    def add(self, content: int, blocks: Blocks) -> None:
        for diff_id in self._built():
            file = self._files[diff_id]
            if content in file.offsets:
                self._prepare(diff_id, file)
                file.put(content, blocks())

    def _built(self) -> list[Digest]:
        """diff_ids of the layers that are being made from contents, each once."""
        return list(dict.fromkeys(one.diff_id for one in self._needs if self._how[one.digest] in ("tar", "rebuilt")))

    def _prepare(self, diff_id: Digest, file: LayerFile) -> None:
        with self._lock:
            if diff_id not in self._prepared:
                file.prepare()
                self._prepared.add(diff_id)

    def read(self, content: int) -> Iterator[bytes]:
        for diff_id in self._built():
            file = self._files[diff_id]
            if content in file.offsets:
                yield from file.read(content)
                return
        raise NotFound("no layer that is being made has the content", digest=self.contents[content].sha256.hex())

    def add_blob(self, blob: WholeBlob, file: Path) -> None:
        adopt(file, self._blob_path(blob.digest))

    def seal(self) -> tuple[WholeBlob, ...]:
        again: list[WholeBlob] = []
        for layer in self._needs:
            if self._how[layer.digest] != "tar" or self._has(layer.diff_id):
                continue
            file = self._files[layer.diff_id]
            try:
                self._prepare(layer.diff_id, file)
                file.verify()
                adopt(file.path, self._blob_path(layer.diff_id))
            except DigestMismatch as error:
                file.path.unlink(missing_ok=True)
                self._how[layer.digest] = "whole"
                again.append(WholeBlob(layer.digest, layer.size, str(error)))
        return tuple(again)

    def finish(self) -> str:
        writer = LayoutWriter.open_or_create(self._target.path)
        image = self._image
        for document in image.documents.values():
            writer.put_blob(document.digest, (document.body,), len(document.body))
        as_tar = frozenset(
            digest for digest, how in self._how.items() if how == "tar" and image.layers[digest].diff_id != digest
        )
        if as_tar:
            root, bodies = rewrite(image, as_tar)
            for body in bodies:
                writer.put_bytes(body)
        else:
            root = self._put_manifests(writer)
        writer.set_ref(self._target.tag, replace(root, annotations={REVISION: str(image.root)}))
        self._sweep()
        return str(root.digest)

    def _put_manifests(self, writer: LayoutWriter) -> Descriptor:
        for digest, manifest in self._image.manifests.items():
            writer.put_blob(digest, (manifest.body,), len(manifest.body))
        root = self._image.manifests[self._image.root]
        return Descriptor(root.media_type, self._image.root, len(root.body), {})

    def _sweep(self) -> None:
        for pattern in ("*.tar", "*.blob"):
            for path in self._work.glob(pattern):
                path.unlink(missing_ok=True)

    def places(self) -> list[Place]:
        found: list[Place] = []
        for layer in self._image.layers.values():
            for digest in dict.fromkeys((layer.diff_id, layer.digest)):
                if self._has(digest):
                    found += self._places(layer, digest)
                    break
        return found

    def _places(self, layer: LayerEntry, digest: Digest) -> Iterator[Place]:
        file = self._files.get(layer.diff_id) or self._file(layer)
        plain = digest == layer.diff_id or layer_compression(layer.media_type) is Compression.NONE
        for content, offsets in file.offsets.items():
            ref = self.contents[content]
            yield Place(ref.sha256, ref.size, blob_name(digest), offsets[0], "plain" if plain else "layer")


def _why(mode: Mode) -> str:
    return "the manifest must stay as it is" if mode == "exact" else "cheaper than the files in it"


def _complete(layout: Layout, entry: Descriptor) -> bool:
    """Whether every blob of an image is there; images of an index that are absent do not count."""
    manifest = layout.manifest(entry)
    if isinstance(manifest, Index):
        return all(_complete(layout, one) for one in manifest.manifests if layout.has_blob(one.digest))
    return all(layout.has_blob(one.digest) for one in (manifest.config, *manifest.layers))
