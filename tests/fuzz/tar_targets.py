"""Tars: a recipe and contents that give the very same bytes, and hostile recipes."""

from __future__ import annotations

import hashlib

from fuzz.target import Choices, target
from smidgen_deltas.native.tree import ContentRef
from smidgen_deltas.tar.entries import entries
from smidgen_deltas.tar.limits import Limits
from smidgen_deltas.tar.merge import merge
from smidgen_deltas.tar.pax import parse_records
from smidgen_deltas.tar.reader import TarReader
from smidgen_deltas.tar.recipe import Content, Literal, rebuild, split
from smidgen_deltas.tar.recipewire import decode, encode
from support.tar_bodies import Bodies

LIMITS = Limits(headers=1000, trailer=1 << 20)
CONTENTS = tuple(ContentRef(hashlib.sha256(bytes((size % 256,))).digest(), size) for size in (1, 5, 8, 700, 1 << 40))


@target("tar-reader")
def reader(data: bytes) -> None:
    choices = Choices(data)
    step = choices.pick((512, 1, 100, 1 << 16))
    body = choices.rest()
    stored = 0
    for member in TarReader((body[at : at + step] for at in range(0, len(body), step)), limits=LIMITS):
        stored += sum(len(chunk) for chunk in member.chunks())
    assert stored <= len(body)


@target("tar-split")
def whole(data: bytes) -> None:
    bodies = Bodies()
    recipe = split((data,), bodies, LIMITS)
    contents = list(dict.fromkeys(piece for piece in recipe.pieces if isinstance(piece, Content)))
    again = decode(encode(recipe.pieces, contents.index), contents)
    assert b"".join(rebuild(again, lambda one: (bodies.kept[one.sha256],), recipe.diff_id)) == data
    listed = list(entries(again, LIMITS))
    list(merge([listed, listed]).entries())


@target("tar-recipe")
def recipe(data: bytes) -> None:
    found = decode(data, CONTENTS)
    total = 0
    for piece in found:
        total += len(piece.data) if isinstance(piece, Literal) else piece.size
        if total > 1 << 22 and isinstance(piece, Literal):
            return  # blocks of zeros are written in a few bytes; each piece is small
    assert total == found.tar_size


@target("tar-pax")
def pax(data: bytes) -> None:
    found = parse_records(data, 0)
    assert sum(len(key) + len(value) for key, value in found) <= len(data)
