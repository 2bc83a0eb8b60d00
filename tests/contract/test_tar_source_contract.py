"""What every source of tar bytes must do, over blocks of any length and over files."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest

from smidgen_deltas.tar.source import ByteSource, FileSource, Source

DATA = bytes(range(256)) * 10


class SourceContract:
    """Subclass with a `make` fixture."""

    @pytest.fixture
    def make(self) -> Callable[[bytes], Source]:
        raise NotImplementedError

    def test_takes_what_is_asked_for(self, make: Callable[[bytes], Source]) -> None:
        source = make(DATA)
        assert source.take(1) + source.take(0) + source.take(1000) == DATA[:1001]
        assert source.offset == 1001

    def test_takes_less_only_at_the_end(self, make: Callable[[bytes], Source]) -> None:
        source = make(DATA)
        assert source.take(10_000) == DATA
        assert source.take(1) == b""
        assert source.offset == len(DATA)

    def test_some_is_at_least_one_byte_until_the_end(self, make: Callable[[bytes], Source]) -> None:
        source = make(DATA)
        found = b""
        while part := source.some(300):
            assert 0 < len(part) <= 300
            found += part
            assert source.offset == len(found)
        assert found == DATA

    def test_skips_and_says_how_much(self, make: Callable[[bytes], Source]) -> None:
        source = make(DATA)
        assert source.skip(1000) == 1000
        assert source.take(3) == DATA[1000:1003]
        assert source.skip(10_000) == len(DATA) - 1003
        assert source.skip(1) == 0
        assert source.offset == len(DATA)
        assert source.some(1) == b""

    def test_nothing(self, make: Callable[[bytes], Source]) -> None:
        source = make(b"")
        assert (source.take(5), source.some(5), source.skip(5), source.offset) == (b"", b"", 0, 0)


def sliced(data: bytes, size: int) -> Source:
    return ByteSource([data[at : at + size] for at in range(0, len(data), size)])


class TestWholeBlock(SourceContract):
    @pytest.fixture
    def make(self) -> Callable[[bytes], Source]:
        return lambda data: ByteSource([data])


class TestSmallBlocks(SourceContract):
    @pytest.fixture
    def make(self) -> Callable[[bytes], Source]:
        return lambda data: sliced(data, 7)


class TestEmptyBlocksBetween(SourceContract):
    @pytest.fixture
    def make(self) -> Callable[[bytes], Source]:
        return lambda data: ByteSource(
            part for at in range(0, len(data), 100) for part in (b"", data[at : at + 100], b"")
        )


class TestFile(SourceContract):
    @pytest.fixture
    def make(self) -> Callable[[bytes], Source]:
        return lambda data: FileSource(io.BytesIO(data))


class TestFileFromItsMiddle(SourceContract):
    @pytest.fixture
    def make(self) -> Callable[[bytes], Source]:
        def middle(data: bytes) -> Source:
            file = io.BytesIO(b"before" + data)
            file.seek(6)
            return FileSource(file)

        return middle
