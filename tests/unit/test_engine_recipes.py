"""What is learned of packed contents: kept by digest, also that there is nothing, and never a reason to fail."""

from __future__ import annotations

import hashlib
import lzma
import random
import zlib
from pathlib import Path

import pytest

from smidgen_deltas.engine.recipes import FileBook, Known, open_book, take_apart
from smidgen_deltas.engine.unpackers.base import Budget

TEXT = random.Random(3).randbytes(20_000).hex().encode()
PACKED = lzma.compress(TEXT)  # preset 6: an encoder of 96 MiB and a little
LITTLE, PLENTY = Budget(memory=32 << 20), Budget()


class Counting(FileBook):
    """Counts what is noted: each note is the end of a search by encoders."""

    searches = 0

    def note(self, sha256: bytes, known: Known) -> None:
        self.searches += 1
        super().note(sha256, known)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "recipes.sqlite"


def test_a_content_is_searched_once(path: Path) -> None:
    book = Counting(path)
    first = take_apart(PACKED, PLENTY, book)
    again = Counting(path)
    second = take_apart(PACKED, PLENTY, again)
    assert first == second and first is not None and bytes(first.streams[0]) == TEXT
    assert (book.searches, again.searches) == (1, 0)


def test_that_nothing_was_found_is_kept_for_as_much_memory(path: Path) -> None:
    book = Counting(path)
    assert take_apart(PACKED, LITTLE, book) is None
    assert take_apart(PACKED, LITTLE, book) is None
    assert book.searches == 1
    assert take_apart(PACKED, PLENTY, book) is not None
    assert book.searches == 2


def test_a_wrong_recipe_is_not_used(path: Path) -> None:
    book = Counting(path)
    found = take_apart(PACKED, PLENTY, book)
    assert found is not None
    other = zlib.compress(TEXT * 2)
    book.note(hashlib.sha256(other).digest(), Known(found.name, found.version, b"x", found.recipe))
    again = take_apart(other, PLENTY, book)
    assert again is not None and again.name != found.name and bytes(again.streams[0]) == TEXT * 2


def test_a_damaged_book_is_begun_anew(path: Path) -> None:
    path.write_bytes(b"this is no database" * 100)
    with open_book(path) as book:
        assert take_apart(PACKED, PLENTY, book) is not None
    with open_book(path) as book:
        assert take_apart(PACKED, PLENTY, book) is not None
    assert path.read_bytes().startswith(b"SQLite format 3")


def test_without_a_file_nothing_is_kept() -> None:
    with open_book(None) as book:
        book.note(bytes(32), Known("xz", 1, b"", b""))
        assert book.find(bytes(32)) is None
