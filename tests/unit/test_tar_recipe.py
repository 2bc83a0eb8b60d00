"""Recipes: every byte of a tar in exactly one piece, coded small, checked before use."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import DigestMismatch, FormatError, SizeMismatch, SmidgenError, UnsupportedFeature
from smidgen_deltas.tar.entries import entries
from smidgen_deltas.tar.member import Member, MemberType
from smidgen_deltas.tar.recipe import Content, Literal, RecipeCorrupt, Splitter, decode, encode, rebuild, split
from smidgen_deltas.wire import WireCorrupt, put_bytes
from support import tars

BODIES = {b"usr/bin/a": b"x" * 700, b"usr/bin/b": b"y" * 512, b"usr/bin/c": b"x" * 700}
TAR = (
    tars.header(b"usr/bin/", typeflag=b"5")
    + b"".join(tars.member(name, data) for name, data in BODIES.items())
    + tars.member(b"empty")
    + tars.END
    + b"and more"
)


def content(data: bytes) -> Content:
    return Content(len(data), hashlib.sha256(data).digest())


CONTENTS = [content(b"x" * 700), content(b"y" * 512)]
STORE = {content(data): data for data in BODIES.values()}


def open_content(wanted: Content) -> Iterator[bytes]:
    yield from tars.blocks(STORE[wanted], 100)


def test_contents_go_to_the_sink_with_their_members() -> None:
    seen: list[tuple[bytes, int, bytes, bytes]] = []

    class Body:
        def __init__(self, member: Member, size: int) -> None:
            self.member, self.size, self.data = member, size, b""

        def write(self, data: bytes) -> None:
            self.data += data

        def finish(self, sha256: bytes) -> None:
            seen.append((self.member.path, self.size, self.data, sha256))

    recipe = split(tars.blocks(TAR, 300), Body)
    assert seen == [(name, len(data), data, hashlib.sha256(data).digest()) for name, data in BODIES.items()]
    assert [piece for piece in recipe.pieces if isinstance(piece, Content)] == [content(one) for one in BODIES.values()]
    assert (recipe.tar_size, recipe.diff_id) == (len(TAR), Digest.of(TAR))


def test_an_unwanted_content_is_still_hashed() -> None:
    recipe = split([TAR], lambda member, size: None)
    assert b"".join(rebuild(recipe.pieces, open_content, recipe.diff_id)) == TAR


def test_size_and_digest_are_known_only_at_the_end() -> None:
    splitter = Splitter([TAR], lambda member, size: None)
    next(iter(splitter))
    with pytest.raises(RuntimeError):
        _ = splitter.diff_id


def encoded() -> bytes:
    return encode(Splitter([TAR], lambda member, size: None), CONTENTS.index)


def test_encoded_recipes_rebuild_as_often_as_wanted() -> None:
    recipe = decode(encoded(), CONTENTS)
    for _ in range(2):
        assert b"".join(rebuild(recipe, open_content, Digest.of(TAR))) == TAR
    assert list(recipe.indexes()) == [0, 1, 0]
    assert recipe.tar_size == len(TAR)


def test_similar_headers_take_few_bytes() -> None:
    names = [b"usr/share/doc/package-%04d/copyright" % at for at in range(200)]
    archive = b"".join(tars.member(name, name) for name in names) + tars.END
    contents = [content(name) for name in names]
    small = encode(Splitter([archive], lambda member, size: None), contents.index)
    assert len(small) < 200 * 12  # a header has 512


def test_long_runs_of_zeros_take_a_few_bytes() -> None:
    archive = tars.END + bytes(1 << 20)
    assert len(encode(Splitter([archive], lambda member, size: None), CONTENTS.index)) < 40


def test_a_rebuilt_tar_is_checked_as_a_whole() -> None:
    recipe = decode(encoded(), CONTENTS)
    with pytest.raises(DigestMismatch):
        list(rebuild(recipe, lambda wanted: [bytes(wanted.size)], Digest.of(TAR)))


@pytest.mark.parametrize("size", [0, 699, 701, 5000])
def test_contents_of_another_size_are_refused(size: int) -> None:
    produced = 0
    with pytest.raises(SizeMismatch):
        for block in rebuild([CONTENTS[0]], lambda wanted: tars.blocks(bytes(size), 100)):
            produced += len(block)
    assert produced <= 700


def test_a_content_has_bytes() -> None:
    with pytest.raises(ValueError):
        encode([Content(0, bytes(32))], CONTENTS.index)


def test_entries_come_from_the_recipe_alone() -> None:
    found = list(entries(decode(encoded(), CONTENTS)))
    assert [(entry.path, entry.type, entry.size, entry.content) for entry in found] == [
        (b"usr/bin", MemberType.DIRECTORY, 0, None),
        (b"usr/bin/a", MemberType.FILE, 700, CONTENTS[0]),
        (b"usr/bin/b", MemberType.FILE, 512, CONTENTS[1]),
        (b"usr/bin/c", MemberType.FILE, 700, CONTENTS[0]),
        (b"empty", MemberType.FILE, 0, None),
    ]


@pytest.mark.parametrize(
    "pieces",
    [
        [Literal(tars.header(b"a", 700))],
        [Literal(tars.header(b"a", 700)), CONTENTS[1]],
        [Literal(tars.header(b"a", 0)), CONTENTS[1], Literal(tars.END)],
        [CONTENTS[1]],
        [Literal(tars.header(b"a", 512) + bytes(512) + tars.END)],
    ],
    ids=["no content", "another size", "content of an empty file", "content without header", "content as literal"],
)
def test_entries_and_contents_must_fit(pieces: list[Literal | Content]) -> None:
    with pytest.raises((RecipeCorrupt, FormatError)):
        list(entries(pieces))


def sections(*, size: bytes, count: bytes, gaps: bytes, refs: bytes, control: bytes, data: bytes) -> bytes:
    out = bytearray(b"\x01" + size + count)
    for section in (gaps, refs, control, data):
        put_bytes(out, section)
    return bytes(out)


GOOD = {"size": b"\x80\x08", "count": b"\0", "gaps": b"\0", "refs": b"", "control": b"\x08", "data": b""}


def test_the_smallest_recipe() -> None:
    assert list(decode(sections(**GOOD), [])) == [Literal(bytes(1024))]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"size": b"\x81\x08"}, RecipeCorrupt),  # gaps make 1024
        ({"size": b"\xff" * 8 + b"\x01"}, SmidgenError),
        ({"count": b"\x01"}, WireCorrupt),  # no reference for it
        ({"count": b"\x01", "refs": b"\0", "gaps": b"\0\0"}, RecipeCorrupt),  # no such content
        ({"count": b"\x7f"}, SmidgenError),
        ({"gaps": b""}, WireCorrupt),
        ({"gaps": b"\0\0"}, WireCorrupt),
        ({"gaps": b"\xff\xff\x03"}, RecipeCorrupt),  # negative
        ({"refs": b"\0"}, WireCorrupt),
        ({"control": b""}, RecipeCorrupt),
        ({"control": b"\x04"}, RecipeCorrupt),  # one fragment too few
        ({"control": b"\x0c"}, RecipeCorrupt),  # one too many
        ({"control": b"\0\x08"}, RecipeCorrupt),  # empty run
        ({"control": b"\x03\x08"}, RecipeCorrupt),  # no such code
        ({"control": b"\x08\x08"}, RecipeCorrupt),  # left over
        ({"data": b"x"}, RecipeCorrupt),  # left over
        ({"control": b"\x02\x04"}, RecipeCorrupt),  # raw without data
        ({"control": b"\x06\x04"}, RecipeCorrupt),  # raw with flags
        ({"control": b"\xfc\x01"}, RecipeCorrupt),  # long run cut short
        ({"control": b"\x01"}, RecipeCorrupt),  # difference cut short
        ({"control": b"\x01\x02\0\0"}, RecipeCorrupt),
        ({"control": b"\x01\x03\xff\xff\xff\xff\0\0\x04", "data": b"x" * 510}, RecipeCorrupt),  # beyond the block
        ({"control": b"\xc1\0\x04"}, RecipeCorrupt),  # size form 3
        ({"control": b"\x41\0\x04"}, RecipeCorrupt),  # size of nothing
    ],
)
def test_damaged_recipes_are_refused(change: dict[str, bytes], error: type[SmidgenError]) -> None:
    with pytest.raises(error):
        list(decode(sections(**{**GOOD, **change}), []))


def test_recipes_of_the_future_are_refused() -> None:
    with pytest.raises(UnsupportedFeature):
        decode(b"\x02", [])


def test_bytes_after_a_recipe_are_refused() -> None:
    with pytest.raises(WireCorrupt):
        decode(sections(**GOOD) + b"\0", [])
