"""A blob store that counts what is stored in it, around any other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from smidgen_deltas.digest import Digest
from smidgen_server.blobs.base import BlobStat, BlobStore, BlobWriter
from smidgen_server.metrics import Metrics


class CountedStore:
    """See `base.BlobStore`; adds to `Metrics.blobs` and `Metrics.blob_bytes`."""

    def __init__(self, store: BlobStore, metrics: Metrics) -> None:
        self._store, self._metrics = store, metrics

    def stat(self, digest: Digest) -> BlobStat:
        return self._store.stat(digest)

    def open(
        self, digest: Digest, start: int = 0, length: int | None = None
    ) -> AbstractContextManager[Iterator[bytes]]:
        return self._store.open(digest, start, length)

    @contextmanager
    def writer(self, algorithm: str = "sha256") -> Iterator[BlobWriter]:
        with self._store.writer(algorithm) as writer:
            yield _CountedWriter(writer, self)

    def ingest(self, path: Path, digest: Digest) -> None:
        size = path.stat().st_size
        self._store.ingest(path, digest)
        self.count(size)

    def delete(self, digest: Digest) -> None:
        self._store.delete(digest)

    def local_path(self, digest: Digest) -> Path | None:
        return self._store.local_path(digest)

    def presign(self, digest: Digest) -> str | None:
        return self._store.presign(digest)

    def digests(self) -> Iterator[Digest]:
        return self._store.digests()

    def recover(self) -> None:
        self._store.recover()

    def check(self) -> None:
        self._store.check()

    def count(self, size: int) -> None:
        """One more blob of so many bytes."""
        self._metrics.blobs.inc()
        self._metrics.blob_bytes.inc(size)


class _CountedWriter:
    def __init__(self, writer: BlobWriter, counter: CountedStore) -> None:
        self._writer, self._counter = writer, counter

    def write(self, data: bytes | memoryview) -> None:
        self._writer.write(data)

    def finish(self, expected: Digest | None = None, algorithm: str | None = None) -> tuple[Digest, int]:
        digest, size = self._writer.finish(expected, algorithm)
        self._counter.count(size)
        return digest, size
