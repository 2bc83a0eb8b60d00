"""tar-diffs between images, for flatpak and for appliers of oci-delta. See delta_formats.Format.

Files of a delta are named by `services.oci_deltas`, which shows them in the registry: for each platform an oci-delta
artifact and the tar-diffs in it. flatpak knows an old image by the last of its layers alone, so it is offered what
starts from images of one layer, and then a tar-diff for every new layer: it takes none from the old image.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import IO, TYPE_CHECKING

from sqlalchemy.orm import Session

from smidgen_deltas.digest import Digest
from smidgen_deltas.engine.sources import Buffer
from smidgen_deltas.errors import FormatError
from smidgen_deltas.native.tree import LayerEntry
from smidgen_deltas.oci.deltas import TARDIFF, oci_delta
from smidgen_deltas.oci.model import Descriptor
from smidgen_server.services import oci_deltas
from smidgen_server.services.delta_formats import Facts, Useless, Work
from smidgen_server.services.delta_images import StoredImage, images, pairs, plain_tar

if TYPE_CHECKING:
    from smidgen_server.services.container import Services
    from smidgen_server.services.refs import Kind

Create = Callable[[str], IO[bytes]]


@dataclass(frozen=True, slots=True)
class _Made:
    """What an artifact carries for a layer."""

    layer: Descriptor
    carried: Descriptor
    raw_size: int


def build(work: Work, create: Create) -> Facts:
    """For each platform an artifact and its tar-diffs. Raises Useless where no layer is smaller as a tar-diff."""
    (source,) = work.sources
    found = list(pairs(images(work.blobs, source), images(work.blobs, work.target)))
    made = [one for old, new in found for one in _make_image(work, create, old, new)]
    if not any(one.carried.media_type == TARDIFF for one in made):
        raise Useless("no layer is smaller as a tar-diff", target=str(work.target.digest))
    return Facts(raw_size=sum(one.raw_size for one in made), cost=sum(one.layer.size for one in made))


def changed(services: Services, session: Session, kind: Kind, repo: str, target_id: int) -> None:  # noqa: ARG001 - of all formats
    """Show in the registry what there is."""
    if kind == "oci":
        oci_deltas.refresh(services, session, repo)


def _make_image(work: Work, create: Create, old: StoredImage, new: StoredImage) -> list[_Made]:
    made = list(_make_layers(work, create, old, new))
    known = set(old.image.config.diff_ids)
    lacked = [one for one, layer in zip(made, _wanted(old, new), strict=True) if layer.diff_id not in known]
    document = oci_delta(old.image, new.image, [(one.layer, one.carried) for one in lacked])
    create(oci_deltas.artifact_name(new.image.manifest.digest)).write(document)
    return made


def _make_layers(work: Work, create: Create, old: StoredImage, new: StoredImage) -> Iterator[_Made]:
    wanted = _wanted(old, new)
    total = sum(layer.size for layer in wanted)
    done = 0
    with ExitStack() as stack:
        olds = [stack.enter_context(plain_tar(work.blobs, layer)) for layer in old.layers]
        for layer in wanted:
            work.announce(done, total)
            done += layer.size
            stored = Descriptor(layer.media_type, layer.digest, layer.size, {})
            with plain_tar(work.blobs, layer) as tar:
                carried = _tardiff(work, olds, tar, layer.size, partial(create, _name(old, new, layer)))
            yield _Made(stored, carried or stored, layer.tar_size)


def _wanted(old: StoredImage, new: StoredImage) -> list[LayerEntry]:
    """Layers that tar-diffs are made of, each once."""
    once = {layer.digest: layer for layer in new.layers}.values()
    if len(old.layers) == 1:
        return list(once)
    known = set(old.image.config.diff_ids)
    return [layer for layer in once if layer.diff_id not in known]


def _name(old: StoredImage, new: StoredImage, layer: LayerEntry) -> str:
    image = new.image.manifest.digest
    if len(old.layers) == 1:
        return oci_deltas.flatpak_name(image, old.layers[0].diff_id, layer.diff_id)
    return oci_deltas.layer_name(image, layer.diff_id)


def _tardiff(
    work: Work, old: Sequence[Buffer], new: Buffer, size: int, create: Callable[[], IO[bytes]]
) -> Descriptor | None:
    """A proven tar-diff of less than `size` bytes, or nothing. Raises Useless for tars that cannot be read."""
    from smidgen_deltas.tardiff.make import make_delta  # the engine is large, and the server itself needs none of it
    from smidgen_deltas.tardiff.old_tree import deployed_path
    from smidgen_deltas.tardiff.verify import prove

    with tempfile.TemporaryFile() as file:
        try:
            made = make_delta(old, new, file, work.executor, usable=deployed_path)
        except FormatError as error:
            raise Useless("a layer is no tar that a tar-diff can be made of", reason=str(error)) from error
        if made >= size:
            return None
        prove(file, old, new, deployed_path)
        file.seek(0)
        shutil.copyfileobj(file, create())
        file.seek(0)
        return Descriptor(TARDIFF, Digest("sha256", hashlib.file_digest(file, "sha256").hexdigest()), made, {})
