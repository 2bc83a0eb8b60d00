"""Blobs in a bucket (S3, GCS, Azure; obstore's local and memory stores too): <prefix>/<algorithm>/<xx>/<hex>.

Bytes are staged in a local file, verified there, then uploaded, in parts when large. An object appears at once and
whole (all of these services promise that), so that nothing unverified is ever visible. Writing a digest that exists
replaces it by the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url

from smidgen_deltas.digest import LENGTHS, Digest
from smidgen_deltas.errors import BlobUnknown, SettingsError
from smidgen_server.blobs.base import BLOCK, BlobStat, StorageFailed, check_range
from smidgen_server.blobs.staging import Staging, storage_errors, sweep
from smidgen_server.settings import Settings

PART: Final = 8 << 20  # bytes of one part of an upload
PARTS_AT_ONCE: Final = 3  # so that an upload takes at most 24 MiB of memory
# Options of the connection, not of the bucket: obstore wants them apart.
FLAGS: Final = ("allow_http", "allow_invalid_certificates")
TEXTS: Final = ("timeout", "connect_timeout", "read_timeout", "proxy_url", "root_certificate", "user_agent")
SIGNING: Final = ("S3Store", "GCSStore", "AzureStore")


def open_object_store(settings: Settings) -> ObjectStore:
    """The bucket named in the settings. Raises SettingsError when the URL or an option is wrong."""
    url = settings.blobs.url
    assert url is not None
    store = connect(url, settings.blobs.options, "blobs.url or blobs.options")
    return ObjectStore(store, settings.data / "tmp", settings.blobs.redirect_seconds)


def connect(url: str, options: Mapping[str, str], named: str) -> Any:
    """One of obstore's stores. Raises SettingsError, with what `named` it, when the URL or an option is wrong."""
    config = dict(options)
    connection: dict[str, Any] = {name: config.pop(name) for name in (*FLAGS, *TEXTS) if name in config}
    connection.update({name: connection[name].lower() == "true" for name in FLAGS if name in connection})
    try:
        return from_url(url, config=config, client_options=connection)  # type: ignore[call-overload]
    except (BaseError, ValueError, TypeError) as error:
        raise SettingsError(f"{named} cannot be used", url=url, reason=_first_line(error)) from error


class ObjectStore:
    """See `base.BlobStore`."""

    def __init__(self, store: Any, staging: Path, sign_seconds: int = 900) -> None:
        """`store` is one of obstore's; `staging` a local directory with space for the largest blobs under way."""
        self._store, self._staging, self._sign_seconds = store, staging, sign_seconds
        with storage_errors():
            staging.mkdir(parents=True, exist_ok=True)

    def recover(self) -> None:
        with storage_errors():
            sweep(self._staging)

    def stat(self, digest: Digest) -> BlobStat:
        with _bucket_errors(digest):
            return BlobStat(int(obstore.head(self._store, _key(digest))["size"]))

    @contextmanager
    def open(self, digest: Digest, start: int = 0, length: int | None = None) -> Iterator[Iterator[bytes]]:
        size = self.stat(digest).size
        count = check_range(digest, size, start, length)
        if count == 0:
            yield iter(())
            return
        with _bucket_errors(digest):
            found = obstore.get(self._store, _key(digest), options={"range": (start, start + count)})
        yield _blocks(digest, found, count)

    @contextmanager
    def writer(self, algorithm: str = "sha256") -> Iterator[ObjectWriter]:
        with closing(Staging(self._staging, algorithm)) as staging:
            yield ObjectWriter(self, staging)

    def ingest(self, path: Path, digest: Digest) -> None:
        with storage_errors(), path.open("rb") as file:
            self._put(digest, file)
        path.unlink()

    def finish(self, staging: Staging, expected: Digest | None, algorithm: str | None) -> Digest:
        """Verify and upload a staged file; for ObjectWriter."""
        digest = staging.verify(expected, algorithm)
        with storage_errors(), os.fdopen(os.dup(staging.fd), "rb") as file:
            file.seek(0)
            self._put(digest, file)
        return digest

    def delete(self, digest: Digest) -> None:
        self.stat(digest)  # deleting what is not there is no error for a bucket
        with _bucket_errors(digest):
            obstore.delete(self._store, _key(digest))

    def local_path(self, digest: Digest) -> Path | None:  # noqa: ARG002
        return None

    def presign(self, digest: Digest) -> str | None:
        if type(self._store).__name__ not in SIGNING:
            return None
        with _bucket_errors(digest):
            return str(obstore.sign(self._store, "GET", _key(digest), timedelta(seconds=self._sign_seconds)))

    def digests(self) -> Iterator[Digest]:
        for algorithm in sorted(LENGTHS):
            with _bucket_errors(None):
                for page in obstore.list(self._store, prefix=algorithm, chunk_size=1000):
                    yield from (Digest(algorithm, Path(str(item["path"])).name) for item in page)

    def check(self) -> None:
        """List one object: the answer shows that the bucket is there and the credentials work."""
        with _bucket_errors(None):
            next(iter(obstore.list(self._store, prefix="sha256/00", chunk_size=1)), None)

    def _put(self, digest: Digest, file: Any) -> None:
        with _bucket_errors(None):
            obstore.put(self._store, _key(digest), file, chunk_size=PART, max_concurrency=PARTS_AT_ONCE)


class ObjectWriter:
    """See `base.BlobWriter`."""

    def __init__(self, store: ObjectStore, staging: Staging) -> None:
        self._store, self._staging = store, staging

    def write(self, data: bytes | memoryview) -> None:
        self._staging.write(data)

    def finish(self, expected: Digest | None = None, algorithm: str | None = None) -> tuple[Digest, int]:
        return self._store.finish(self._staging, expected, algorithm), self._staging.size


@contextmanager
def _bucket_errors(digest: Digest | None) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        if digest is None:
            raise StorageFailed("the bucket failed", reason=_first_line(error)) from error
        raise BlobUnknown("no such blob", digest=str(digest)) from None
    except (BaseError, OSError) as error:
        raise StorageFailed("the bucket failed", reason=_first_line(error)) from error


def _blocks(digest: Digest, found: Any, count: int) -> Iterator[bytes]:
    """Exactly `count` bytes; a bucket that ignores the range, or sends less, is an error."""
    sent = 0
    with _bucket_errors(digest):
        for block in found.stream(min_chunk_size=BLOCK):
            sent += len(block)
            if sent > count:
                break
            yield bytes(block)
    if sent != count:
        raise StorageFailed("the bucket sent another number of bytes than asked for", asked=count, sent=sent)


def _key(digest: Digest) -> str:
    return f"{digest.algorithm}/{digest.hex[:2]}/{digest.hex}"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
