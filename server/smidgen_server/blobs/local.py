"""Blobs in a local directory: <root>/<algorithm>/<first two hex digits>/<hex>, staged in <root>/tmp.

Order of steps when a blob is written: bytes, verify, fsync(file), link, fsync(directory). A name therefore always
stands for complete, durable bytes.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from smidgen_deltas.digest import LENGTHS, Digest
from smidgen_deltas.errors import BlobUnknown
from smidgen_server.blobs.base import BLOCK, BlobStat, StorageFailed, check_range
from smidgen_server.blobs.staging import Staging, storage_errors, sweep, sync_directory


class LocalStore:
    """See `base.BlobStore`. One process at a time may create it on a root; any number may read."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._staging = root / "tmp"
        with storage_errors():
            self._staging.mkdir(parents=True, exist_ok=True)

    def recover(self) -> None:
        with storage_errors():
            sweep(self._staging)

    def stat(self, digest: Digest) -> BlobStat:
        with _found(digest):
            return BlobStat(self._path(digest).stat().st_size)

    @contextmanager
    def open(self, digest: Digest, start: int = 0, length: int | None = None) -> Iterator[Iterator[bytes]]:
        with _found(digest):
            file = self._path(digest).open("rb", buffering=0)
        with file:
            count = check_range(digest, os.fstat(file.fileno()).st_size, start, length)
            yield _blocks(file.fileno(), start, count)

    @contextmanager
    def writer(self, algorithm: str = "sha256") -> Iterator[LocalWriter]:
        with closing(Staging(self._staging, algorithm)) as staging:
            yield LocalWriter(self, staging)

    def ingest(self, path: Path, digest: Digest) -> None:
        with storage_errors():
            with path.open("rb") as file:
                os.fsync(file.fileno())
            path.chmod(0o644)
            try:
                self._link(digest, lambda target: os.link(path, target))
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                self._copy(path, digest)
            path.unlink()

    def delete(self, digest: Digest) -> None:
        path = self._path(digest)
        with _found(digest):
            path.unlink()
            sync_directory(path.parent)

    def local_path(self, digest: Digest) -> Path | None:
        path = self._path(digest)
        return path if path.exists() else None

    def presign(self, digest: Digest) -> str | None:  # noqa: ARG002
        return None

    def digests(self) -> Iterator[Digest]:
        for algorithm in sorted(LENGTHS):
            for path in self.root.glob(f"{algorithm}/??/*"):
                if len(path.name) == LENGTHS[algorithm]:
                    yield Digest(algorithm, path.name)

    def check(self) -> None:
        with storage_errors(), closing(Staging(self._staging, "sha256")) as staging:
            staging.write(b"ready")

    def _path(self, digest: Digest) -> Path:
        return self.root / digest.algorithm / digest.hex[:2] / digest.hex

    def _link(self, digest: Digest, link: Callable[[Path], None]) -> None:
        """Name the file; a blob that is there already is the same one."""
        target = self._path(digest)
        self._make_shard(target.parent)
        with suppress(FileExistsError):
            link(target)
        sync_directory(target.parent)

    def _make_shard(self, shard: Path) -> None:
        if shard.is_dir():
            return
        shard.mkdir(parents=True, exist_ok=True)
        sync_directory(shard.parent)
        sync_directory(self.root)

    def _copy(self, path: Path, digest: Digest) -> None:
        with closing(Staging(self._staging, digest.algorithm)) as staging, path.open("rb") as source:
            shutil.copyfileobj(source, staging, BLOCK)
            staging.verify(digest, None)
            os.fsync(staging.fd)
            self._link(digest, staging.link)

    def finish(self, staging: Staging, expected: Digest | None, algorithm: str | None) -> Digest:
        """Verify and publish a staged file; for LocalWriter."""
        digest = staging.verify(expected, algorithm)
        with storage_errors():
            os.fsync(staging.fd)
            self._link(digest, staging.link)
        return digest


class LocalWriter:
    """See `base.BlobWriter`."""

    def __init__(self, store: LocalStore, staging: Staging) -> None:
        self._store, self._staging = store, staging

    def write(self, data: bytes | memoryview) -> None:
        self._staging.write(data)

    def finish(self, expected: Digest | None = None, algorithm: str | None = None) -> tuple[Digest, int]:
        return self._store.finish(self._staging, expected, algorithm), self._staging.size


@contextmanager
def _found(digest: Digest) -> Iterator[None]:
    """Turn a missing file into BlobUnknown, other OSErrors into StorageError."""
    with storage_errors():
        try:
            yield
        except FileNotFoundError:
            raise BlobUnknown("no such blob", digest=str(digest)) from None


def _blocks(fd: int, start: int, count: int) -> Iterator[bytes]:
    """`count` bytes from `start`; the file is known to be long enough, and blobs never change."""
    end = start + count
    while start < end:
        with storage_errors():
            block = os.pread(fd, min(BLOCK, end - start), start)
        if not block:
            raise StorageFailed("a blob is shorter than it was", offset=start, missing=end - start)
        start += len(block)
        yield block
