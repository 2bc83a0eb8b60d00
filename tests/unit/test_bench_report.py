"""What a benchmark's report says: ratios, missing tools, digests, one page that needs nothing else."""

from __future__ import annotations

import bz2

from smidgen_benchmarks import link
from smidgen_benchmarks.bsdiff_xz import HEADER, MAGIC, from_bzip2, to_bzip2
from smidgen_benchmarks.deltas import Row
from smidgen_benchmarks.measure import Usage
from smidgen_benchmarks.report import as_html, as_json, ratios, table

USAGE = Usage(1.5, 1.0, 64 << 20)
ROWS = [
    Row("one", "smidgen best", 60, USAGE, USAGE, verified=True),
    Row("one", "bsdiff", 100, USAGE, USAGE, verified=True),
    Row("one", "xz <full>", 400, USAGE, USAGE, verified=True),
    Row("one", "liar", 1, USAGE, USAGE, verified=False),
    Row("one", "casync", problem="missing: casync not on the PATH"),
    Row("two", "smidgen best", 300, USAGE, USAGE, verified=True),
    Row("two", "bsdiff", 500, USAGE, USAGE, verified=True),
    Row("three", "smidgen best", 5, USAGE, USAGE, verified=True),
]
DIGESTS = {"one": {"old": "a" * 64, "numpy-2.whl": "b" * 64}, "two": {"new": "c" * 64}}


def test_ratios_are_to_the_smallest_method_with_the_right_bytes() -> None:
    assert ratios(ROWS) == {"smidgen best": {"one": 0.6, "two": 0.6, "in sum": 0.6}}
    assert as_json(ROWS, DIGESTS)["inputs"] == DIGESTS


def test_a_missing_tool_and_wrong_bytes_are_named() -> None:
    for text in (table(ROWS), as_html(ROWS, DIGESTS)):
        assert "casync not on the PATH" in text
        assert "WRONG BYTES" in text
        assert "0.600" in text


def test_the_page_needs_nothing_else_and_escapes_names() -> None:
    page = as_html(ROWS, DIGESTS)
    assert "xz &lt;full&gt;" in page
    assert "numpy-2.whl" in page
    assert not any(word in page for word in ("http:", "https:", "<script", "<link", "src="))


def test_bsdiff_patches_survive_the_change_of_compression() -> None:
    streams = [b"control" * 9, bytes(3000), b"extra"]
    packed = [bz2.compress(stream) for stream in streams]
    patch = HEADER.pack(MAGIC, len(packed[0]), len(packed[1]), 77) + b"".join(packed)
    assert to_bzip2(from_bzip2(patch)) == patch


def test_how_much_sooner_is_told_of_the_best_other_method() -> None:
    rows = [
        link.Row("smidgen ostree", 10, Usage(2, 1, 1), ours=True),
        link.Row("slow", 10, Usage(9, 1, 1)),
        link.Row("quick", 10, Usage(5, 1, 1)),
        link.Row("absent", 10, problem="not on the PATH"),
        link.Row("smidgen ostree", 1, Usage(20, 1, 1), ours=True),
    ]
    assert link.gains(rows, 10) == {"smidgen ostree": 2.5}
    assert link.gains(rows, 1) == {}
    assert "2.50" in link.table(rows)
    assert "not on the PATH" in link.table(rows)
