"""Choosing among unpackers, and files within files."""

from __future__ import annotations

import pytest

from smidgen_deltas.engine.unpackers import registry
from smidgen_deltas.engine.unpackers.base import Budget
from smidgen_deltas.engine.unpackers.cpio import MAGICS, _member
from smidgen_deltas.errors import FormatError
from support import unpack_samples
from support.unpack_samples import PLAIN


def initrd() -> bytes:
    """As on Debian 13: an archive with compressed modules, padding, then a compressed archive."""
    module = unpack_samples.xz()
    early = _member(b"module.ko.xz", module) + _member(b"TRAILER!!!", b"")
    late = _member(b"init", PLAIN[:1000]) + _member(b"TRAILER!!!", b"")
    return early + bytes(-len(early) % 512) + unpack_samples.zstd_frame(late)


def test_unknown_content_is_none() -> None:
    assert registry.unpack(b"just text" * 100, Budget()) is None
    assert registry.unpack(b"", Budget()) is None


def test_unknown_name_or_version_is_refused() -> None:
    with pytest.raises(registry.UnknownUnpacker):
        registry.repack("xz", 99, b"", (b"",))
    with pytest.raises(registry.UnknownUnpacker):
        registry.cost("rar", 1, b"")


def test_looks_inside_what_is_inside() -> None:
    node = registry.nested(initrd(), Budget())
    assert node is not None
    assert [bytes(leaf) for leaf in node.leaves()] == [PLAIN, PLAIN[:1000]]
    assert b"".join(registry.rebuild(node, node.leaves())) == initrd()


def test_depth_is_a_limit() -> None:
    node = registry.nested(initrd(), Budget(depth=1))
    assert node is not None
    assert node.children == (None, None)
    assert registry.nested(initrd(), Budget(depth=0)) is None


def test_too_few_leaves_are_refused() -> None:
    node = registry.nested(initrd(), Budget())
    assert node is not None
    with pytest.raises(FormatError):
        list(registry.rebuild(node, iter((PLAIN,))))


def test_archives_that_lie_about_sizes_are_left_alone() -> None:
    huge = bytearray(_member(b"file", b"abc"))
    huge[54:62] = b"FFFFFFFF"
    assert registry.unpack(bytes(huge), Budget()) is None
    assert registry.unpack(MAGICS[0] + b"g" * 200, Budget()) is None
    assert registry.unpack(b"!<arch>\n" + b" " * 48 + b"99999999  `\nx", Budget()) is None
