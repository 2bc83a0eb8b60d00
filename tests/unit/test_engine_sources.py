"""Finding what a file came from: by name, by content, by what is inside; and files too large for one piece."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from smidgen_deltas import zstd
from smidgen_deltas.engine.large import PART, code_large
from smidgen_deltas.engine.pairing import MAX_RATIO, Candidate, Pairing
from smidgen_deltas.engine.similar import CROWD, Similar, alike, match_streams
from smidgen_deltas.native.delta_ops import Part, Patched, Ref, Space, Whole
from support.delta_trees import apply_delta, delta_of, file_of, tree_of

RANDOM = random.Random(11)
ONE, TWO, THREE = (RANDOM.randbytes(120_000) for _ in range(3))


def _lines(*paths: tuple[str, int]) -> Pairing:
    return Pairing(Candidate(number, path, size) for number, (path, size) in enumerate(paths))


def test_names_in_their_order() -> None:
    pairing = _lines(("usr/lib/modules/6.1.0-50/a.ko", 900), ("usr/share/a.ko", 1000), ("opt/tool-1.0", 50))
    for path, size, expected in (
        ("usr/share/a.ko", 30_000, 1),  # the same path, however different the size
        ("usr/lib/modules/6.1.0-56/a.ko", 1000, 0),  # version parts
        ("elsewhere/a.ko", 990, 1),  # the name; the closest in size
        ("bin/tool-2.17", 60, 2),  # the name but for its version
        ("elsewhere/a.ko", 1000 * MAX_RATIO + 1, None),
        ("nothing/like/it", 100, None),
    ):
        found = pairing.find(path, size)
        assert (found.number if found else None) == expected, path


def test_renamed_and_split_files_are_found_by_content() -> None:
    known = [ONE, TWO, THREE]
    similar = Similar(len(known), known.__getitem__)
    assert similar.find(b"head" + TWO[10_000:], lambda _: True) == [1]
    assert set(similar.find(ONE[:60_000] + THREE[60_000:], lambda _: True)) == {0, 2}
    assert similar.find(TWO, lambda number: number != 1) == []
    assert similar.find(RANDOM.randbytes(50_000), lambda _: True) == []
    assert alike(ONE, ONE[5:]) and not alike(ONE, TWO)


def test_what_a_crowd_shares_says_nothing() -> None:
    known = [ONE + RANDOM.randbytes(10) for _ in range(3 * CROWD)]
    assert Similar(len(known), known.__getitem__).find(ONE, lambda _: True) == []


def test_inner_streams_are_matched() -> None:
    assert match_streams([ONE, TWO], [THREE, ONE]) == [0, 1]  # as many: by place
    assert match_streams([ONE, TWO, THREE], [TWO, b"new" + THREE]) == [1, 2]


def test_large_files_come_in_parts() -> None:
    new = RANDOM.randbytes(1000) + ONE * 140  # over two parts
    coded = list(code_large(new, (ONE, Ref(Space.SOURCE, 0)), lambda data: len(zstd.compress(data, 1))))
    ops = [one.op for one in coded]
    assert all(isinstance(op, Part) for op in ops)
    assert [op.size for op in ops if isinstance(op, Part)] == [PART, PART, len(new) - 2 * PART]
    assert all(isinstance(op.op, Patched) for op in ops if isinstance(op, Part))
    alone = [one.op for one in code_large(new, None, len)]
    assert all(isinstance(op, Part) and op.op == Whole() for op in alone)


def test_several_sources_for_one_file() -> None:
    old, store = tree_of({"first": ONE, "second": TWO, "third": THREE})
    joined = ONE[:80_000] + TWO[20_000:] + THREE[:50_000]
    new, _ = tree_of({"first": ONE, "joined": joined})  # what stays is a source as well as what goes
    delta, report = delta_of([old], new)
    (line,) = (line for line in report.lines if line.path == "joined")
    assert line.method == "patch" and "2 more" in line.source
    assert len(delta) < 2000
    apply_delta(delta, store)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.binary(max_size=3000) | st.sampled_from([ONE[:9000], TWO[:9000]]), max_size=5))
def test_never_much_larger_than_compressing_what_is_new(bodies: list[bytes]) -> None:
    old, _ = tree_of({"old": ONE[:9000]})
    new, _ = tree_of({f"new{number}": body for number, body in enumerate(bodies)})
    delta, _ = delta_of([old], new)
    known = {ONE[:9000]}
    fresh = b"".join(dict.fromkeys(body for body in bodies if body not in known))
    document = zstd.compress(new.document or b"", 19)
    assert len(delta) <= 1.005 * len(zstd.compress(fresh, 19)) + len(document) + 40 * len(bodies) + 300


def test_a_plain_file_pairs_whatever_its_name() -> None:
    old, store = file_of(ONE, "before.bin")
    new, _ = file_of(ONE[:500] + b"!" + ONE[500:], "after.dat")
    delta, _ = delta_of([old], new, "fast")
    assert len(delta) < 500
    apply_delta(delta, store)
