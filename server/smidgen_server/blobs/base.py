"""What a blob store promises. `tests/contract/test_blobs_contract.py` is the suite that each store passes.

* a blob is visible only whole, verified and durable; a writer that is left without `finish` leaves nothing
* several writers of one digest all succeed
* readers of a blob are not disturbed by its deletion while they read
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import LimitExceeded, StorageError

BLOCK: Final = 1 << 18  # bytes handed out at once when reading


class StorageFull(StorageError):
    """No space, quota or file size left."""

    hint = "Free space in the server's data directory or bucket and send the request again."


class StorageFailed(StorageError):
    """The file system or the bucket refused an operation for another reason than space."""

    status, hint = 503, "Check the server's data directory or bucket; its log has the reason."


class RangeInvalid(LimitExceeded):
    """A range starts or ends outside of the blob."""

    status, hint = 416, "Ask for bytes inside of the blob."


@dataclass(frozen=True, slots=True)
class BlobStat:
    """Size in bytes."""

    size: int


class BlobWriter(Protocol):
    """One blob being written. Not thread-safe."""

    def write(self, data: bytes | memoryview) -> None:
        """Raises StorageFull, StorageFailed."""

    def finish(self, expected: Digest | None = None, algorithm: str | None = None) -> tuple[Digest, int]:
        """Verify, make durable, make visible; returns digest and size.

        Args:
            expected: what the bytes must hash to; its algorithm is used.
            algorithm: used where nothing is expected; the writer's own by default.
        Raises:
            DigestMismatch: they do not; they are discarded.
        """
        ...


class BlobReader(Protocol):
    """The least power: reading."""

    def stat(self, digest: Digest) -> BlobStat:
        """Raises BlobUnknown."""
        ...

    def open(
        self, digest: Digest, start: int = 0, length: int | None = None
    ) -> AbstractContextManager[Iterator[bytes]]:
        """Bytes `start` to `start + length` (to the end by default), in blocks.

        Raises:
            BlobUnknown: on entering.
            RangeInvalid: on entering, when the range is not inside of the blob.
        """
        ...

    def local_path(self, digest: Digest) -> Path | None:
        """The file that holds exactly these bytes, where there is one."""
        ...

    def presign(self, digest: Digest) -> str | None:
        """A URL that gives the blob to anyone for a short time, where the store can make one."""
        ...


class BlobStore(BlobReader, Protocol):
    """Reading and writing."""

    def writer(self, algorithm: str = "sha256") -> AbstractContextManager[BlobWriter]:
        """`algorithm` is hashed while writing; finishing with another one reads the bytes once more."""
        ...

    def ingest(self, path: Path, digest: Digest) -> None:
        """Take over a complete local file whose digest was verified by the caller. The file is gone afterwards."""

    def delete(self, digest: Digest) -> None:
        """Raises BlobUnknown."""

    def digests(self) -> Iterator[Digest]:
        """All blobs, in no order; those written or deleted meanwhile may or may not be among them."""
        ...

    def recover(self) -> None:
        """Remove what a crash left of unfinished writing long ago."""

    def check(self) -> None:
        """Raise StorageFailed unless the store can be used."""


def check_range(digest: Digest, size: int, start: int, length: int | None) -> int:
    """How many bytes to read. Raises RangeInvalid unless start and end lie inside of `size` bytes."""
    count = size - start if length is None else length
    if start < 0 or count < 0 or start + count > size:
        raise RangeInvalid("range is not inside of the blob", digest=str(digest), size=size, start=start, length=length)
    return count
