"""Where the contents of a tar go in tests."""

from __future__ import annotations


class Bodies:
    """A sink that keeps contents by their digest."""

    def __init__(self) -> None:
        self.kept: dict[bytes, bytes] = {}

    def __call__(self, member: object, size: int) -> Body:
        return Body(self.kept)


class Body:
    def __init__(self, kept: dict[bytes, bytes]) -> None:
        self._kept = kept
        self._data = bytearray()

    def write(self, data: bytes) -> None:
        self._data += data

    def finish(self, sha256: bytes) -> None:
        self._kept[sha256] = bytes(self._data)
