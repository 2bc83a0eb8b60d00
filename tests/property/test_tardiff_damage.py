"""A tar-diff with any field wrong is refused, and no file, folder or blob comes of it.

Below its one zstd frame the format has no digest. What still is a tar-diff after the damage is found by the digest of
the tar that the caller was promised; all else by the reader, which says where.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from io import BytesIO
from pathlib import Path

import pytest

from smidgen_client.deltas.tardiff import apply_tardiff
from smidgen_deltas import zstd
from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import DigestMismatch, FormatError, NotFound, SmidgenError
from smidgen_deltas.tardiff.make import make_delta
from smidgen_deltas.tardiff.old_files import SourceMissing
from smidgen_deltas.tardiff.operations import Add, Copy, Data, Open, Operation, OperationsInvalid, Seek, encode
from smidgen_deltas.tardiff.stream import magic, read_operations, write_operations
from support.static_deltas import noise
from support.tars import END, member

PROGRAM, OTHER = noise(1, 9000), noise(2, 20_000)
CHANGED = bytes(byte ^ (index % 50 == 0) for index, byte in enumerate(PROGRAM))
OLD = member(b"bin/program", PROGRAM) + member(b"share/other", OTHER) + END
NEW = member(b"bin/program", CHANGED) + member(b"share/new", OTHER[1000:9000] + b"new" * 99 + OTHER[:900]) + END
PROMISED = Digest.of(NEW)
Change = Callable[[list[Operation]], object]


def made() -> list[Operation]:
    file = BytesIO()
    with ThreadPoolExecutor(1) as executor:
        make_delta([OLD], NEW, file, executor)
    file.seek(0)
    return [operation for _, operation in read_operations(file)]


OPERATIONS = made()


def raw(operations: list[Operation]) -> bytes:
    return b"".join(bytes(piece) for operation in operations for piece in encode(operation))


def first(kind: type[Operation]) -> int:
    return next(number for number, one in enumerate(OPERATIONS) if isinstance(one, kind))


def at(kind: type[Operation], change: Callable[[Operation], list[Operation]]) -> Change:
    """Another operation, or none, or two, instead of the first of its kind."""

    def damage(operations: list[Operation]) -> None:
        number = first(kind)
        operations[number : number + 1] = change(operations[number])

    return damage


def number(name: str, step: int) -> Callable[[Operation], list[Operation]]:
    return lambda one: [replace(one, **{name: max(0, getattr(one, name) + step)})]


def carried(change: Callable[[bytes], bytes], name: str) -> Callable[[Operation], list[Operation]]:
    return lambda one: [replace(one, **{name: change(bytes(getattr(one, name)))})]


BYTES = {
    "a bit": lambda data: bytes((data[0] ^ 1,)) + data[1:],
    "shorter": lambda data: data[:-1],
    "longer": lambda data: data + b"?",
    "empty": lambda _: b"",
}


def cases() -> Iterator[tuple[str, Change]]:
    for kind in (Data, Open, Copy, Add, Seek):
        (field,) = fields(kind)
        if kind in (Copy, Seek):
            for step in (1, -1, 1 << 40):
                yield f"{kind.__name__} {field.name} {step:+}", at(kind, number(field.name, step))
        else:
            for what, change in BYTES.items():
                yield f"{kind.__name__} {field.name}: {what}", at(kind, carried(change, field.name))
        yield f"{kind.__name__} left out", at(kind, lambda _: [])
        if kind in (Data, Copy, Add):
            yield f"{kind.__name__} twice", at(kind, lambda one: [one, one])
    yield "Open: the other file", at(Open, lambda _: [Open(b"share/other")])
    yield "Open: upward", at(Open, lambda _: [Open(b"../bin/program")])
    yield "Open: a long path", at(Open, lambda _: [Open(b"a" * 5000)])
    yield "nothing at all", list.clear


CASES = dict(cases())
RIGHT = raw(OPERATIONS)


def refused(tmp_path: Path, delta: bytes, output: str = "out", old: bytes = OLD) -> SmidgenError:
    """The error; nothing but the inputs is there afterwards."""
    inputs = {"delta": delta, "old.tar": old}
    for name, data in inputs.items():
        (tmp_path / name).write_bytes(data)
    kind, colon, name = output.rpartition(":")
    with pytest.raises((FormatError, NotFound, DigestMismatch)) as caught:
        apply_tardiff(tmp_path / "delta", [tmp_path / "old.tar"], f"{kind}{colon}{tmp_path / name}", PROMISED)
    assert {path.name for path in tmp_path.iterdir()} == inputs.keys()
    assert caught.value.message
    return caught.value


def test_all_operations_occur_and_what_is_not_damaged_is_taken(tmp_path: Path) -> None:
    assert {type(one) for one in OPERATIONS} == {Data, Open, Copy, Add, Seek}
    (tmp_path / "delta").write_bytes(magic(1) + zstd.compress(RIGHT))
    (tmp_path / "old.tar").write_bytes(OLD)
    apply_tardiff(tmp_path / "delta", [tmp_path / "old.tar"], str(tmp_path / "out"), PROMISED)
    assert (tmp_path / "out").read_bytes() == NEW


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_operation_is_refused(tmp_path: Path, name: str) -> None:
    operations = list(OPERATIONS)
    CASES[name](operations)
    error = refused(tmp_path, magic(1) + zstd.compress(raw(operations)))
    assert error.detail.keys() & {"at", "path"} or isinstance(error, DigestMismatch), error


@pytest.mark.parametrize("kind", range(256))
def test_a_wrong_kind_is_refused(tmp_path: Path, kind: int) -> None:
    place = len(raw(OPERATIONS[: first(Copy)]))
    if kind == RIGHT[place]:
        return
    error = refused(tmp_path, magic(1) + zstd.compress(RIGHT[:place] + bytes((kind,)) + RIGHT[place + 1 :]))
    if kind > 4:
        assert isinstance(error, OperationsInvalid)
        assert error.detail["at"] == place and error.detail["kind"] == kind


def test_a_wrong_byte_of_the_file_is_refused(tmp_path: Path) -> None:
    """Of its first eight, of the frame's header and first block, and of the frame's checksum."""
    file = BytesIO()
    write_operations(file, OPERATIONS)
    delta = file.getvalue()
    for place in (*range(24), *range(len(delta) - 4, len(delta))):
        refused(tmp_path, delta[:place] + bytes((delta[place] ^ 1,)) + delta[place + 1 :])


@pytest.mark.parametrize(
    ("old", "error"),
    [
        (member(b"share/other", OTHER) + END, SourceMissing),
        (member(b"bin/program", PROGRAM[:100]) + member(b"share/other", OTHER) + END, OperationsInvalid),
        (member(b"bin/program", PROGRAM[::-1]) + member(b"share/other", OTHER) + END, DigestMismatch),
    ],
)
def test_wrong_old_files_are_refused(tmp_path: Path, old: bytes, error: type[SmidgenError]) -> None:
    assert isinstance(refused(tmp_path, magic(1) + zstd.compress(RIGHT), old=old), error)


@pytest.mark.parametrize("output", ["folder:out", "oci:out", "out"])
def test_nothing_is_anywhere_after_a_late_refusal(tmp_path: Path, output: str) -> None:
    operations = list(OPERATIONS)
    CASES["Data data: a bit"](operations)
    refused(tmp_path, magic(1) + zstd.compress(raw(operations)), output)
