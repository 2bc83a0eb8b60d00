"""Pulls that go wrong in every way the network, the server and the device can make them: nothing wrong becomes visible,
what was good is kept, and the next pull goes on from there."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import (
    ByteBudgetExceeded,
    Conflict,
    FormatError,
    IntegrityError,
    NotFound,
    RollbackRefused,
    SignatureInvalid,
    SmidgenError,
    StorageError,
    TransportError,
)
from smidgen_deltas.native.refdoc import Piece
from smidgen_deltas.native.tree import OciTree, OstreeTree
from smidgen_deltas.ostree.repo import Repository
from support.device_trees import Image, Made, make_commit, make_image, noise, some_files
from support.devices import QUICK, Device, snapshot
from support.surface_simulator import DAY, Fault, Running, Surface, serve

BIG = noise("big", 9 << 20)
FILES = {**some_files(150), "usr/lib/big": BIG, "usr/bin/sh": b"->bash"}
COMMIT = make_commit(FILES, uid=os.geteuid())
IMAGE = make_image({f"{name}": body for name, body in FILES.items()})
CURRENT = {"ostree": "repo/refs/heads/stable", "oci": "layout/index.json", "tree": "tree/current"}


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def surface_with(made: Made) -> Surface:
    surface = Surface()
    surface.publish(made.tree, made.bodies)
    if isinstance(made, Image):
        for blob in made.blobs.values():
            surface.blob(blob)
    return surface


KINDS = ["ostree", "oci", "tree"]


def made_for(kind: str) -> Made:
    return IMAGE if kind == "oci" else COMMIT


def ref_for(kind: str) -> str:
    return "oci/os:stable" if kind == "oci" else "ostree/os/stable"


def check(device: Device, kind: str) -> None:
    """The store has all of the revision and is right."""
    assert device.run("verify", device.store(kind))["ok"]
    folder = device.folder / "checked-out"
    device.run("checkout", device.store(kind), folder)
    expected = {name: f"-> {body[2:].decode()}" if body[:2] == b"->" else body for name, body in FILES.items()}
    assert snapshot(folder) == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "fault",
    [
        Fault("truncate", at=70_000, times=3),
        Fault("short", at=5_000, times=2),
        Fault("flip", at=2_000_000),
        Fault("flip", at=100),
        Fault("mislabel", skip=1),
        Fault("wrong-range"),
        Fault("ignore-range", times=-1),
        Fault("status", status=503, retry_after="0", times=2),
        Fault("status", status=416, times=-1, ranged_only=True),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.at or fault.status}",
)
def test_passing_faults_do_not_stop_a_pull(device: Device, kind: str, fault: Fault) -> None:
    with serve(surface_with(made_for(kind)), replace(fault, skip=fault.skip + 2)) as running:
        device.pull(running.url, device.store(kind), ref_for(kind), **({"layers": "tar"} if kind == "oci" else {}))
    check(device, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_lie_that_stays_is_refused_with_both_digests_and_nothing_is_visible(device: Device, kind: str) -> None:
    surface = surface_with(made_for(kind))
    for path, data in list(surface.files.items()):
        if path.startswith("u/blobs/") and len(data) > 1 << 20:
            surface.files[path] = data[:70_000] + bytes([data[70_000] ^ 1]) + data[70_001:]
    with serve(surface) as running, pytest.raises(IntegrityError) as caught:
        device.pull(running.url, device.store(kind), ref_for(kind), **({"layers": "tar"} if kind == "oci" else {}))
    assert {"expected", "found"} <= caught.value.detail.keys()
    assert not (device.folder / CURRENT[kind]).is_symlink()
    if kind == "ostree":
        assert Repository.open(device.folder / "repo").refs() == {}
    elif kind == "oci":
        assert b"stable" not in (device.folder / CURRENT[kind]).read_bytes()
    with serve(surface_with(made_for(kind))) as running:
        device.pull(running.url, device.store(kind), ref_for(kind))
    check(device, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_goes_away_half_way_costs_nothing_twice(device: Device, kind: str) -> None:
    surface = surface_with(made_for(kind))
    options = {"layers": "tar"} if kind == "oci" else {}
    with serve(surface, Fault("truncate", at=5 << 20, skip=2), Fault("gone", skip=2)) as running:
        with pytest.raises(TransportError):
            device.pull(running.url, device.store(kind), ref_for(kind), connections=1, **options)
        first = running.sent("u/blobs")
    with serve(surface) as running:
        result = device.pull(running.url, device.store(kind), ref_for(kind), **options)
        second = running.sent("u/blobs")
    check(device, kind)
    # tree and map twice, and at most the frame that was cut
    assert first + second <= result.bytes_full + 3 * 200_000 + (4 << 20) + (1 << 16)
    assert second < result.bytes_full - 3_000_000


@pytest.fixture
def slow(device: Device) -> Iterator[Running]:
    """A server that sends 64 kB every 20 ms, with an image and a commit."""
    surface = surface_with(COMMIT)
    surface.publish(IMAGE.tree, IMAGE.bodies)
    with serve(surface) as running:
        running.delay = 0.02
        yield running


@pytest.mark.parametrize("kind", KINDS)
def test_kill_9_in_the_middle_of_a_pull_loses_no_verified_file(device: Device, kind: str, slow: Running) -> None:
    words = ["pull", slow.url, ref_for(kind), "--into", device.store(kind), "--connections", "2"]
    words += ["--layers", "tar"] if kind == "oci" else []
    total = 0
    for goal in (3 << 20, 6 << 20):
        process = subprocess.Popen(device.command(*words), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        wait_for_bytes(slow, total + goal, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        total = slow.sent("u/blobs")
    slow.delay = 0
    before = slow.sent("u/blobs")
    result = device.run(*words)
    check(device, kind)
    fetched = before + int(result["bytes_fetched"])
    # each of the two kills may lose one frame (up to 4 MiB) per connection; trees and maps come three times
    lost = 2 * 2 * (4 << 20) + 3 * 100_000
    assert fetched <= result["bytes_full"] + lost
    assert result["bytes_fetched"] < result["bytes_full"]


def wait_for_bytes(running: Running, goal: int, process: subprocess.Popen[bytes]) -> None:
    """Return when the server has sent so much; polls the log that the server's threads fill."""
    while running.sent("u/blobs") < goal:
        assert process.poll() is None, process.stderr and process.stderr.read()
        running.gone.wait(0.01)


def test_two_pulls_into_one_store_at_once(device: Device) -> None:
    with serve(surface_with(COMMIT)) as running:
        lock = device.folder / "repo/tmp/pull.smidgen/lock"
        lock.parent.mkdir(parents=True)
        with lock.open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            with pytest.raises(Conflict):
                device.pull(running.url, device.store("ostree"))
            words = device.command("pull", running.url, "ostree/os/stable", "--into", device.store("ostree"), "--wait")
            waiting = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
            assert running.requests() == 0
        output, _ = waiting.communicate(timeout=60)
        assert waiting.returncode == 0, output
        second = device.pull(running.url, device.store("ostree"))
    assert second.unchanged
    check(device, "ostree")


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_is_a_storage_error_and_the_next_pull_goes_on(device: Device, kind: str) -> None:
    with serve(surface_with(made_for(kind))) as running:
        words = ["pull", running.url, ref_for(kind), "--into", device.store(kind)]
        words += ["--layers", "tar"] if kind == "oci" else []

        def small_files() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, 4 << 20))

        done = subprocess.run(
            device.command(*words), capture_output=True, text=True, preexec_fn=small_files, check=False
        )
        assert done.returncode == StorageError.exit, done.stderr
        assert not (device.folder / CURRENT["tree"]).exists()
        result = device.run(*words)
        assert result["bytes_fetched"] > 0
    check(device, kind)


def test_a_byte_budget_is_checked_before_the_first_content(device: Device) -> None:
    with serve(surface_with(COMMIT)) as running:
        with pytest.raises(ByteBudgetExceeded):
            device.pull(running.url, device.store("ostree"), options=replace(QUICK, max_bytes=1 << 20))
        assert running.sent() < 100_000
        result = device.pull(running.url, device.store("ostree"), options=replace(QUICK, max_bytes=20 << 20))
    assert result.bytes_fetched <= 20 << 20


def test_a_metered_pull_stops_rather_than_fetch_again(device: Device) -> None:
    with serve(surface_with(COMMIT), Fault("flip", at=1 << 20, skip=2)) as running:
        with pytest.raises(ByteBudgetExceeded):
            device.pull(running.url, device.store("ostree"), metered=True)
        result = device.pull(running.url, device.store("ostree"), metered=True)
        assert result.bytes_planned < 6 << 20, "only what was bad is left to fetch"
    check(device, "ostree")


@pytest.mark.parametrize("kind", KINDS)
def test_a_dry_run_changes_nothing_and_fetches_only_metadata(device: Device, kind: str) -> None:
    with serve(surface_with(made_for(kind))) as running:
        result = device.pull(running.url, device.store(kind), ref_for(kind), dry_run=True)
        assert running.sent() < 100_000
    assert result.dry_run
    assert result.bytes_planned > 9 << 20
    assert sorted(path.name for path in device.folder.iterdir()) == ["state"]


def test_an_unknown_ref_and_a_strange_target(device: Device) -> None:
    with serve(surface_with(COMMIT)) as running:
        with pytest.raises(NotFound):
            device.pull(running.url, device.store("ostree"), "ostree/os/other")
        with pytest.raises(SmidgenError):
            device.pull(running.url, device.store("oci"))


# -- lies in metadata: refused, nothing visible ---------------------------------------------------------------------


def test_an_unsigned_or_foreign_document_is_refused(device: Device) -> None:
    surface = surface_with(COMMIT)
    path = "u/refs/ostree/os/stable.json"
    other = Surface()
    other.publish(COMMIT.tree, COMMIT.bodies, ref="other")
    with serve(surface) as running:
        device.pull(running.url, device.store("ostree"))
        good = surface.files[path]
        surface.files[path] = good.replace(b'"sig":"', b'"sig":"AA')
        with pytest.raises(SmidgenError):
            device.pull(running.url, device.store("ostree"))
        surface.files[path] = other.files["u/refs/ostree/os/other.json"]
        with pytest.raises(SignatureInvalid):
            device.pull(running.url, device.store("ostree"))


def test_rollback_and_freeze_are_refused(device: Device) -> None:
    surface = surface_with(COMMIT)
    path = "u/refs/ostree/os/stable.json"
    old = surface.files[path]
    newer = make_commit({**FILES, "etc/new": b"new"}, uid=os.geteuid())
    surface.publish(newer.tree, newer.bodies)
    with serve(surface) as running:
        device.pull(running.url, device.store("ostree"))
        surface.files[path] = old
        with pytest.raises(RollbackRefused):
            device.pull(running.url, device.store("ostree"))
        surface.publish(newer.tree, newer.bodies, expires=1_000_000 + DAY)
        with pytest.raises(RollbackRefused):
            device.pull(running.url, device.store("ostree"))
    assert Repository.open(device.folder / "repo").resolve("stable") == Digest.of(newer.tree.commit).raw  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: replace(tree, dirtrees=tree.dirtrees[:-1]),
        lambda tree: replace(tree, dirmetas=()),
        lambda tree: replace(tree, files=tree.files[1:]),
        lambda tree: replace(tree, commit=tree.commit + b"x"),
        lambda tree: replace(tree, dirtrees=(tree.dirtrees[0] + b"x", *tree.dirtrees[1:])),
        lambda tree: replace(
            tree, files=tuple(replace(one, header=1 - one.header) for one in tree.files), headers=tree.headers[:2]
        ),
    ],
    ids=["dirtree", "dirmeta", "file", "commit", "changed-dirtree", "headers-swapped"],
)
def test_a_tree_that_contradicts_its_commit_is_refused(device: Device, change: object) -> None:
    assert isinstance(COMMIT.tree, OstreeTree)
    tree: OstreeTree = change(COMMIT.tree)  # type: ignore[operator]
    surface = Surface()
    surface.publish(tree, COMMIT.bodies, revision=Digest.of(COMMIT.tree.commit))
    with serve(surface) as running, pytest.raises((IntegrityError, NotFound, FormatError)):
        device.pull(running.url, device.store("ostree"))
    assert not (device.folder / CURRENT["ostree"]).exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: replace(tree, blobs=()),
        lambda tree: replace(tree, layers=()),
        lambda tree: replace(tree, blobs=(replace(tree.blobs[0], body=tree.blobs[0].body + b" "),)),
        lambda tree: replace(tree, layers=(replace(tree.layers[0], diff_id=Digest.of(b"other")),)),
        lambda tree: replace(tree, layers=(replace(tree.layers[0], tar_size=tree.layers[0].tar_size + 512),)),
    ],
    ids=["config", "layer", "changed-config", "diff-id", "tar-size"],
)
def test_an_image_that_contradicts_its_manifest_is_refused(device: Device, change: object) -> None:
    assert isinstance(IMAGE.tree, OciTree)
    tree: OciTree = change(IMAGE.tree)  # type: ignore[operator]
    surface = Surface()
    surface.publish(tree, IMAGE.bodies)
    with serve(surface) as running, pytest.raises((IntegrityError, NotFound, FormatError)):
        device.pull(running.url, device.store("oci"), "oci/os:stable", layers="tar")
    assert not (device.folder / "layout/blobs").exists() or not list((device.folder / "layout/blobs").glob("*/*"))


def test_a_recipe_that_makes_another_tar_steps_down_to_the_whole_layer(device: Device) -> None:
    """The recipe of another layer with the same sizes: only the whole tells."""
    assert isinstance(IMAGE.tree, OciTree)
    other = make_image(FILES | {"usr/bin/sh": b"->dash"})
    assert isinstance(other.tree, OciTree)
    tree = replace(IMAGE.tree, layers=(replace(IMAGE.tree.layers[0], recipe=other.tree.layers[0].recipe),))
    surface = Surface()
    surface.publish(tree, IMAGE.bodies)
    for blob in IMAGE.blobs.values():
        surface.blob(blob)
    with serve(surface) as running:
        result = device.pull(running.url, device.store("oci"), "oci/os:stable", layers="tar")
    assert result.layers == ("whole",)
    assert any("fetched whole" in note for note in result.notes)
    check(device, "oci")


@pytest.mark.parametrize("field", ["tree", "packs"])
def test_metadata_of_impossible_size_is_refused_before_it_is_fetched(device: Device, field: str) -> None:
    surface = Surface()
    huge = Piece(Digest.of(b"huge"), 1 << 35, 1 << 35)
    surface.publish(COMMIT.tree, COMMIT.bodies, **{field: huge})
    with serve(surface) as running, pytest.raises(FormatError):
        device.pull(running.url, device.store("ostree"))


def test_every_byte_of_tree_and_map_that_is_altered_is_refused(device: Device) -> None:
    surface = Surface()
    small = make_commit({"a": b"one", "b/c": b"two"}, uid=os.geteuid())
    document = surface.publish(small.tree, small.bodies)
    assert document.packs is not None
    with serve(surface) as running:
        for piece in (document.tree, document.packs):
            path = f"u/blobs/{piece.digest.hex}"
            good = surface.files[path]
            for at in range(0, len(good), 3):
                surface.files[path] = good[:at] + bytes([good[at] ^ 0x10]) + good[at + 1 :]
                with pytest.raises(SmidgenError):
                    device.pull(running.url, device.store("ostree"))
            surface.files[path] = good
        assert not (device.folder / CURRENT["ostree"]).exists()
        device.pull(running.url, device.store("ostree"))
