"""Making and applying deltas: what each kind of file turns into, and that every byte comes back."""

from __future__ import annotations

import gzip
import lzma
import random

import pytest

from smidgen_deltas import zstd
from smidgen_deltas.engine.apply import Applier
from smidgen_deltas.engine.pairing import Candidate, Pairing, blanked
from smidgen_deltas.errors import DigestMismatch, NotFound, SmidgenError, UnsupportedFeature
from smidgen_deltas.native.delta import MAGIC, Root, decode_lead
from support.delta_trees import Memory, apply_delta, delta_of, file_of, split_delta, tree_of

EFFORTS = ("fast", "default", "best")
RANDOM = random.Random(5)
BODY = RANDOM.randbytes(200_000)
CHANGED = BODY[:1000] + b"something new" + BODY[1000:150_000] + BODY[150_100:]
TEXT = b"".join(b"%d bottles of %d things on the wall\n" % (at, at * at % 977) for at in range(6000))


@pytest.mark.parametrize("effort", EFFORTS)
def test_plain_file_comes_back(effort: str) -> None:
    old, store = file_of(BODY)
    new, _ = file_of(CHANGED)
    delta, report = delta_of([old], new, effort)
    applier = apply_delta(delta, store)
    assert store.open(applier.root) == CHANGED
    assert len(delta) < 1000
    assert report.output == len(CHANGED)


def test_same_file_costs_a_header() -> None:
    old, store = file_of(BODY)
    new, _ = file_of(BODY)
    delta, _ = delta_of([old], new)
    assert len(delta) < 300
    assert store.open(apply_delta(delta, store).root) == BODY


@pytest.mark.parametrize("size", [0, 1, 100])
def test_tiny_and_empty_files_come_back(size: int) -> None:
    old, store = file_of(b"old")
    new, _ = file_of(BODY[:size])
    delta, _ = delta_of([old], new)
    assert store.open(apply_delta(delta, store).root) == BODY[:size]


def test_delta_of_unrelated_file_is_not_much_larger_than_compressing_it() -> None:
    old, store = file_of(RANDOM.randbytes(50_000))
    for body in (TEXT, RANDOM.randbytes(100_000)):
        new, _ = file_of(body)
        delta, _ = delta_of([old], new)
        assert len(delta) <= 1.005 * len(zstd.compress(body, 19)) + 300
        assert store.open(apply_delta(delta, store).root) == body


FILES = {
    "usr/lib/modules/6.1.0-1/kernel/a.ko": BODY,
    "usr/bin/tool": TEXT,
    "usr/share/kept": b"unchanged" * 50,
    "usr/share/other": RANDOM.randbytes(3000),
}
LATER = {
    "usr/lib/modules/6.1.0-2/kernel/a.ko": CHANGED,
    "usr/bin/tool": TEXT.replace(b"7 bottles", b"8 bottles"),
    "usr/share/kept": b"unchanged" * 50,
    "usr/share/new": b"quite new" * 9,
    "boot/initrd.img": CHANGED,
}


@pytest.mark.parametrize("effort", EFFORTS)
def test_tree_comes_back_from_its_changed_files(effort: str) -> None:
    old, store = tree_of(FILES)
    new, _ = tree_of(LATER)
    delta, report = delta_of([old], new, effort)
    header, _ = split_delta(delta)
    assert header.root is Root.TREE
    applier = apply_delta(delta, store)
    assert store.open(applier.root) == new.document
    for body in LATER.values():
        assert body in store.bodies.values()
    by_path = {line.path: line for line in report.lines}
    assert "usr/share/kept" not in by_path
    assert by_path["usr/lib/modules/6.1.0-2/kernel/a.ko"].source == "usr/lib/modules/6.1.0-1/kernel/a.ko"


def test_several_old_trees_are_sources_together() -> None:
    first, store = tree_of({"a": BODY})
    second, other = tree_of({"b": TEXT})
    new, _ = tree_of({"a": CHANGED, "b": TEXT + b"more"})
    delta, _ = delta_of([first, second], new)
    store.bodies.update(other.bodies)
    apply_delta(delta, store)
    assert CHANGED in store.bodies.values()
    assert TEXT + b"more" in store.bodies.values()
    assert len(delta) < 1500


def test_changes_inside_a_compressed_file_cost_what_changed() -> None:
    blocks = RANDOM.randbytes(120_000)
    before, after = blocks + TEXT, blocks[:50_000] + b"!" + blocks[50_000:] + TEXT
    for pack in (lambda body: lzma.compress(body, check=lzma.CHECK_CRC32), lambda body: zstd.compress(body, 19)):
        old, store = tree_of({"module.ko.xz": pack(before)})
        new, _ = tree_of({"module.ko.xz": pack(after)})
        delta, report = delta_of([old], new)
        apply_delta(delta, store)
        assert pack(after) in store.bodies.values()
        assert len(delta) < 2000, report.lines


def test_file_that_repeats_inside_another_new_one_is_sent_once() -> None:
    module = RANDOM.randbytes(60_000)
    old, store = tree_of({"readme": b"x"})
    new, _ = tree_of({"usr/lib/module.ko": module, "boot/initrd.img": lzma.compress(module)})
    delta, _ = delta_of([old], new)
    apply_delta(delta, store)
    assert lzma.compress(module) in store.bodies.values()
    assert len(delta) < len(module) + 1500


def test_result_does_not_depend_on_threads() -> None:
    old, _ = tree_of(FILES)
    new, _ = tree_of(LATER)
    assert len({delta_of([old], new)[0] for _ in range(3)}) == 1


def test_application_goes_on_behind_finished_frames() -> None:
    old, store = tree_of(FILES)
    new, _ = tree_of(LATER)
    header, frames = split_delta(delta_of([old], new)[0])
    assert len(frames) > 1
    first = Applier(header, store)
    first.frame(frames[0])
    second = Applier(header, store)
    assert all(target.sha256 in store.bodies for target in second.frame_targets())
    second.skip()
    for frame in frames[1:]:
        second.frame(frame)
    assert second.done
    assert CHANGED in store.bodies.values()


def test_missing_source_is_named_and_nothing_is_finished() -> None:
    old, _ = tree_of(FILES)
    new, _ = tree_of(LATER)
    delta, _ = delta_of([old], new)
    with pytest.raises(NotFound) as caught:
        apply_delta(delta, Memory())
    assert "digest" in caught.value.detail


def test_wrong_source_is_noticed_before_anything_is_finished() -> None:
    old, store = file_of(BODY)
    new, _ = file_of(CHANGED)
    delta, _ = delta_of([old], new)
    store.bodies = {digest: body[::-1] for digest, body in store.bodies.items()}
    with pytest.raises(DigestMismatch):
        apply_delta(delta, store)
    assert store.finished == []


def test_unknown_feature_is_refused_first() -> None:
    with pytest.raises(UnsupportedFeature):
        decode_lead(MAGIC + b"\x01" + bytes(60))
    with pytest.raises(SmidgenError):
        decode_lead(b"something else entirely" * 4)


def test_version_parts_and_hashes_are_blanked_in_paths() -> None:
    assert blanked("usr/lib/modules/6.1.0-44-amd64/x.ko") == blanked("usr/lib/modules/6.1.0-51-amd64/x.ko")
    pairing = Pairing([Candidate(0, "lib/libx.so.1.2", 100), Candidate(1, "lib/other", 100)])
    found = pairing.find("lib64/libx.so.1.3", 110)
    assert found is not None
    assert found.number == 0
    assert pairing.find("etc/unknown", 5) is None


def test_gzip_and_others_are_at_least_carried_whole() -> None:
    old, store = tree_of({"log.gz": gzip.compress(TEXT, mtime=0)})
    new, _ = tree_of({"log.gz": gzip.compress(TEXT + b"last line", mtime=0)})
    delta, _ = delta_of([old], new)
    apply_delta(delta, store)
    assert gzip.compress(TEXT + b"last line", mtime=0) in store.bodies.values()
