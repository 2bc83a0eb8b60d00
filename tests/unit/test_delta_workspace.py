"""The tar that a delta makes is put together in its own file, and is worth nothing unless all of it is right."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import pytest

from smidgen_client.deltas.inputs import open_input
from smidgen_client.deltas.workspace import Workspace
from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import DigestMismatch, NotFound
from smidgen_deltas.native.tree import ContentRef
from smidgen_deltas.tar.recipe import EncodedRecipe, Splitter, decode, encode
from support import tars

OLD, NEW, OTHER = b"x" * 700, b"y" * 300_000, b"z" * 80
TAR = tars.member(b"a", NEW) + tars.member(b"b", OLD) + tars.member(b"c", NEW) + tars.END + b"and more"
CONTENTS = [ContentRef(Digest.of(body).raw, len(body)) for body in (OLD, NEW)]
NUMBERS = {ref.sha256: number for number, ref in enumerate(CONTENTS)}


@pytest.fixture
def recipe() -> EncodedRecipe:
    pieces = Splitter([TAR], lambda _member, _size: None)
    return decode(encode(pieces, lambda content: NUMBERS[content.sha256]), CONTENTS)


@pytest.fixture
def files(tmp_path: Path) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    with (tmp_path / "spool").open("w+b") as spool, (tmp_path / "tar").open("w+b") as tar:
        yield spool, tar


@pytest.fixture
def workspace(tmp_path: Path, files: tuple[BinaryIO, BinaryIO]) -> Iterator[Workspace]:
    (tmp_path / "old").write_bytes(OLD)
    with ExitStack() as stack:
        yield Workspace([stack.enter_context(open_input(tmp_path / "old"))], files[0])


def rebuild(workspace: Workspace, body: bytes) -> ContentRef:
    ref = ContentRef(Digest.of(body).raw, len(body))
    with workspace.create(ref) as part:
        part.write(body[:50])
        part.write(body[50:])
        part.finish()
    return ref


def test_targets_are_written_once_where_they_belong(
    workspace: Workspace, recipe: EncodedRecipe, files: tuple[BinaryIO, BinaryIO]
) -> None:
    spool, tar = files
    first = rebuild(workspace, OTHER)
    workspace.lay_out(recipe, tar, {1})
    new = rebuild(workspace, NEW)
    assert workspace.complete(recipe, tar, Digest.of(TAR)) == len(TAR)
    tar.flush()
    assert Path(tar.name).read_bytes() == TAR
    assert Path(spool.name).read_bytes() == OTHER
    assert bytes(workspace.open(new)) == NEW
    assert bytes(workspace.open(first)) == OTHER


def test_a_target_that_is_not_finished_is_not_there(
    workspace: Workspace, recipe: EncodedRecipe, files: tuple[BinaryIO, BinaryIO]
) -> None:
    workspace.lay_out(recipe, files[1], {1})
    with workspace.create(CONTENTS[1]) as part:
        part.write(NEW)
    assert not workspace.has(CONTENTS[1])
    with pytest.raises(NotFound):
        workspace.complete(recipe, files[1], Digest.of(TAR))


def test_the_whole_is_proven(workspace: Workspace, recipe: EncodedRecipe, files: tuple[BinaryIO, BinaryIO]) -> None:
    workspace.lay_out(recipe, files[1], {1})
    rebuild(workspace, NEW)
    with pytest.raises(DigestMismatch):
        workspace.complete(recipe, files[1], Digest.of(TAR[:-1]))


def test_what_is_written_behind_its_back_is_noticed(
    workspace: Workspace, recipe: EncodedRecipe, files: tuple[BinaryIO, BinaryIO]
) -> None:
    workspace.lay_out(recipe, files[1], {1})
    rebuild(workspace, NEW)
    files[1].seek(600)
    files[1].write(b"!")
    files[1].seek(0)
    with pytest.raises(DigestMismatch):
        workspace.complete(recipe, files[1], Digest.of(TAR))
