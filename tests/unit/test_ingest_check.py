"""Verification of file objects on their way in: every wrong form is refused before anything knows it."""

from __future__ import annotations

import io
import os
import zlib
from pathlib import Path

import pytest

from smidgen_deltas.errors import DigestMismatch, FormatError, SizeMismatch
from smidgen_deltas.ostree.filez import deflate
from smidgen_deltas.ostree.objects import FileHeader, checksum_file
from smidgen_server.services.ostree_check import SPOOL, CheckedFile, check_file, check_filez

FILE = FileHeader(0, 0, 0o100644)
LINK = FileHeader(0, 0, 0o120777, (), "target")
BODY = b"some content\n" * 500


def filez(tmp_path: Path, stream: bytes, body: bytes = BODY, header: FileHeader = FILE) -> CheckedFile:
    return check_filez(checksum_file(header, [body]), header, len(body), io.BytesIO(stream), tmp_path)


@pytest.mark.parametrize("size", [1, 255, 256 << 10, (256 << 10) + 25, SPOOL + 1, 3 << 20])
def test_deflated_bytes_are_kept_as_they_came(tmp_path: Path, size: int) -> None:
    for body in (bytes(size), os.urandom(size)):
        stream = b"".join(deflate([body], 1))
        checked = filez(tmp_path, stream, body)
        assert checked.deflated is not None and checked.deflated.read() == stream
        assert (checked.size, checked.length) == (size, len(stream))
        checked.close()


def test_plain_bytes_are_deflated(tmp_path: Path) -> None:
    checked = check_file(checksum_file(FILE, [BODY]), FILE, len(BODY), [BODY[:7], BODY[7:]], tmp_path)
    assert checked.deflated is not None
    assert zlib.decompress(checked.deflated.read(), -15) == BODY


@pytest.mark.parametrize("header", [FILE, LINK])
def test_empty_ones_have_nothing_to_store(tmp_path: Path, header: FileHeader) -> None:
    checked = check_file(checksum_file(header, []), header, 0, [], tmp_path)
    assert checked.deflated is None and checked.length == 0
    stream = b"" if header is LINK else b"\x03\x00"
    assert filez(tmp_path, stream, b"", header).deflated is None


GOOD = b"".join(deflate([BODY]))


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        GOOD[:-3],
        GOOD + b"x",
        GOOD[:20] + bytes(40) + GOOD[60:],
        b"".join(deflate([BODY + b"more"])),
        b"".join(deflate([BODY[:-1]])),
        b"".join(deflate([bytes(200 << 20)], 9)),
        b"\x00\x00\x00\xff\xff" * 100_000 + b"\x03\x00",
    ],
    ids=["empty", "cut", "followed", "damaged", "longer", "shorter", "bomb", "endless empty blocks"],
)
def test_wrong_streams_are_refused(tmp_path: Path, stream: bytes) -> None:
    with pytest.raises(FormatError):
        filez(tmp_path, stream)
    assert not list(tmp_path.iterdir())


def test_other_content_of_the_same_size_is_refused_with_both_digests(tmp_path: Path) -> None:
    other = BODY[::-1]
    with pytest.raises(DigestMismatch) as caught:
        check_filez(checksum_file(FILE, [BODY]), FILE, len(BODY), io.BytesIO(b"".join(deflate([other]))), tmp_path)
    assert caught.value.detail["expected"] == checksum_file(FILE, [BODY]).hex()
    assert caught.value.detail["found"] == checksum_file(FILE, [other]).hex()


def test_other_owner_is_another_object(tmp_path: Path) -> None:
    other = FileHeader(1, 0, 0o100644)
    with pytest.raises(DigestMismatch):
        check_file(checksum_file(FILE, [BODY]), other, len(BODY), [BODY], tmp_path)


@pytest.mark.parametrize("chunks", [[BODY[:-1]], [BODY, b"x"]])
def test_plain_bytes_of_another_length_are_refused(tmp_path: Path, chunks: list[bytes]) -> None:
    with pytest.raises(SizeMismatch):
        check_file(checksum_file(FILE, [BODY]), FILE, len(BODY), chunks, tmp_path)


def test_bytes_behind_a_symlink_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError):
        filez(tmp_path, b"x", b"", LINK)
