"""A server is killed (-9) while it takes in a revision and makes a delta to it: the server itself or the process that
makes the delta, whichever is about to make the n-th change on the disk.

Whatever the moment: the next start finds the revision before or the new one, whole; publishing again completes it, its
delta comes into being, and stock ostree pulls it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from smidgen_deltas.digest import Digest
from smidgen_deltas.oci.layout_writer import LayoutWriter
from smidgen_deltas.oci.media import OCI_MANIFEST
from smidgen_deltas.oci.model import Descriptor
from support.device_trees import Image, make_image, some_files
from support.kill_points import KILLED, POINTS, Zygote, start_zygote
from support.ostree import FIRST, REF, SECOND, unpack_archive_repo

STEP = 7  # of all changes


@pytest.mark.needs("ostree")
@pytest.mark.parametrize("kind", ["ostree", "oci"])
def test_killed_anywhere_the_revision_is_published(
    tmp_path: Path, kind: str, record_property: Callable[[str, object], None]
) -> None:
    with ThreadPoolExecutor(2) as threads:
        tried = sum(threads.map(lambda part: kill_at_some_points(tmp_path / str(part), kind, part), range(2)))
    record_property(POINTS, tried)
    assert tried > 40


def kill_at_some_points(folder: Path, kind: str, part: int) -> int:
    """The parts take turns; together they take every STEP-th point, before the change or in the middle of it."""
    data, saved, work = folder / "data", folder / "saved", folder / "work"
    work.mkdir(parents=True)
    first, second = releases(folder, kind)
    with start_zygote(data, work, "support.zygote_server") as zygote:
        publish(zygote, data, kind, first, "", first[1])
        shutil.copytree(data, saved, symlinks=True)
        changes = publish(zygote, data, kind, second, first[1], second[1])
        points = range(1 + part * STEP, changes + 1, 2 * STEP)
        for number in points:
            shutil.rmtree(data)
            shutil.copytree(saved, data, symlinks=True)
            words = (data, kind, second[0], name_of(kind))
            killed = zygote.run(*words, first[1], second[1], kill=number, torn=number % 2 == 0)
            # status 0: it was the process that makes the delta, and the server had it made again
            assert killed.status in (0, KILLED), (number, killed.output)
            done = zygote.run(*words, f"{first[1]},{second[1]}", second[1])
            assert done.status == 0, (number, done.output)
    return len(points)


def publish(zygote: Zygote, data: Path, kind: str, release: tuple[str, str], before: str, after: str) -> int:
    done = zygote.run(data, kind, release[0], name_of(kind), before, after)
    assert done.status == 0, done.output
    return done.changes


def name_of(kind: str) -> str:
    return f"toy/{REF}" if kind == "ostree" else "toy:stable"


def releases(folder: Path, kind: str) -> list[tuple[str, str]]:
    """(source as `smidgen publish` takes it, revision) of two."""
    if kind == "ostree":
        repo = unpack_archive_repo(folder / "origin")
        return [(f"ostree:{repo}@{commit.hex()}", commit.hex()) for commit in (FIRST, SECOND)]
    found = []
    for version in (1, 2):
        image = make_image(some_files(40, version))
        layout = folder / f"image{version}"
        write_image(layout, image)
        found.append((f"oci:{layout}:stable", image.tree.manifests[0].digest.hex))
    return found


def write_image(folder: Path, image: Image) -> None:
    writer = LayoutWriter.open_or_create(folder)
    (manifest,) = image.tree.manifests
    bodies: dict[Digest, bytes] = {one.digest: one.body for one in (manifest, *image.tree.blobs)}
    for digest, body in {**image.blobs, **bodies}.items():
        writer.put_blob(digest, (body,), len(body))
    writer.set_ref("stable", Descriptor(OCI_MANIFEST, manifest.digest, len(manifest.body), {}))
