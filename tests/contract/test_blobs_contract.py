"""The blob store contract, over every store: local directory, S3 (moto's server), obstore's local and memory stores."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from typing import Any

import obstore.store
import pytest

from smidgen_deltas.digest import Digest, DigestInvalid
from smidgen_deltas.errors import BlobUnknown, DigestMismatch, SettingsError, UsageError
from smidgen_server.blobs.base import BlobStore, RangeInvalid, StorageFailed, StorageFull
from smidgen_server.blobs.choose import open_store
from smidgen_server.blobs.counted import CountedStore
from smidgen_server.blobs.local import LocalStore
from smidgen_server.blobs.objectstore import ObjectStore
from smidgen_server.metrics import Metrics
from smidgen_server.settings import BlobSettings, Settings
from support.limits import file_size_limit


def put(store: BlobStore, data: bytes, **finish: Any) -> Digest:
    with store.writer() as writer:
        writer.write(data)
        digest, size = writer.finish(**finish)
    assert size == len(data)
    return digest


def get(store: BlobStore, digest: Digest, start: int = 0, length: int | None = None) -> bytes:
    with store.open(digest, start, length) as blocks:
        return b"".join(blocks)


class BlobStoreContract:
    """Subclasses give `store` and `staging`, the directory in which it keeps bytes that are not a blob yet."""

    @pytest.fixture
    def store(self) -> BlobStore:
        raise NotImplementedError

    @pytest.fixture
    def staging(self) -> Path:
        raise NotImplementedError

    @pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
    @pytest.mark.parametrize("data", [b"", b"{}", os.urandom(700_001)], ids=["empty", "small", "large"])
    def test_what_is_written_can_be_read(self, store: BlobStore, algorithm: str, data: bytes) -> None:
        digest = put(store, data, algorithm=algorithm)
        assert digest == Digest.of(data, algorithm)
        assert store.stat(digest).size == len(data)
        assert get(store, digest) == data
        assert list(store.digests()) == [digest]
        path = store.local_path(digest)
        assert path is None or path.read_bytes() == data

    def test_a_wrong_digest_leaves_nothing(self, store: BlobStore, staging: Path) -> None:
        wanted = Digest.of(b"right")
        with pytest.raises(DigestMismatch) as failure:
            put(store, b"wrong", expected=wanted)
        assert failure.value.detail == {"expected": str(wanted), "found": str(Digest.of(b"wrong"))}
        assert list(store.digests()) == []
        assert list(staging.iterdir()) == []

    def test_leaving_without_finish_leaves_nothing(self, store: BlobStore, staging: Path) -> None:
        with pytest.raises(RuntimeError), store.writer() as writer:
            writer.write(b"half")
            raise RuntimeError("the sender went away")
        assert list(store.digests()) == []
        assert list(staging.iterdir()) == []

    def test_nothing_is_visible_before_finish(self, store: BlobStore) -> None:
        with store.writer() as writer:
            writer.write(b"all of it")
            with pytest.raises(BlobUnknown):
                store.stat(Digest.of(b"all of it"))
            assert list(store.digests()) == []
            writer.finish()
        assert store.stat(Digest.of(b"all of it")).size == 9

    def test_two_writers_of_one_digest_both_succeed(self, store: BlobStore) -> None:
        data = os.urandom(100_000)
        with store.writer() as first, store.writer() as second:
            first.write(data)
            second.write(data[:5])
            assert first.finish()[0] == Digest.of(data)
            second.write(data[5:])
            assert second.finish()[0] == Digest.of(data)
        assert get(store, Digest.of(data)) == data
        assert list(store.digests()) == [Digest.of(data)]

    def test_many_writers_at_once(self, store: BlobStore) -> None:
        data = [os.urandom(40_000) for _ in range(3)]
        failures: list[BaseException] = []

        def work() -> None:
            try:
                for one in data:
                    put(store, one, expected=Digest.of(one))
            except BaseException as error:  # noqa: BLE001
                failures.append(error)

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert sorted(store.digests()) == sorted(Digest.of(one) for one in data)

    def test_ranges(self, store: BlobStore) -> None:
        data = os.urandom(600_000)
        digest = put(store, data)
        for start, length in [(0, 1), (0, 600_000), (599_999, 1), (300_000, 290_000), (5, None), (600_000, 0), (7, 0)]:
            end = len(data) if length is None else start + length
            assert get(store, digest, start, length) == data[start:end]

    @pytest.mark.parametrize(("start", "length"), [(0, 11), (10, 1), (11, None), (-1, 2), (3, -1)])
    def test_a_range_outside_is_refused(self, store: BlobStore, start: int, length: int | None) -> None:
        digest = put(store, b"0123456789")
        with pytest.raises(RangeInvalid), store.open(digest, start, length):
            pass

    def test_an_unknown_blob(self, store: BlobStore) -> None:
        unknown = Digest.of(b"never written")
        for use in (store.stat, store.delete, lambda digest: store.open(digest).__enter__()):
            with pytest.raises(BlobUnknown) as failure:
                use(unknown)
            assert failure.value.detail["digest"] == str(unknown)
        assert store.local_path(unknown) is None

    def test_delete(self, store: BlobStore) -> None:
        kept, dropped = put(store, b"kept"), put(store, b"dropped")
        store.delete(dropped)
        with pytest.raises(BlobUnknown):
            store.stat(dropped)
        assert list(store.digests()) == [kept]
        assert put(store, b"dropped") == dropped
        assert get(store, dropped) == b"dropped"

    def test_a_reader_is_not_disturbed_by_deletion(self, store: BlobStore) -> None:
        data = os.urandom(300_000)
        digest = put(store, data)
        with store.open(digest) as blocks:
            store.delete(digest)
            assert b"".join(blocks) == data

    def test_a_local_file_is_taken_over(self, store: BlobStore, tmp_path: Path) -> None:
        for _ in range(2):
            path = tmp_path / "given"
            path.write_bytes(b"given bytes")
            store.ingest(path, Digest.of(b"given bytes"))
            assert not path.exists()
            assert get(store, Digest.of(b"given bytes")) == b"given bytes"

    def test_an_unknown_algorithm_is_refused(self, store: BlobStore) -> None:
        with pytest.raises(UsageError), store.writer("md5"):
            pass
        with pytest.raises(UsageError), store.writer() as writer:
            writer.finish(algorithm="md5")

    def test_a_full_disk_is_a_storage_error(self, store: BlobStore, staging: Path) -> None:
        with pytest.raises(StorageFull) as failure, file_size_limit(64 * 1024), store.writer() as writer:
            writer.write(os.urandom(100_000))
        assert failure.value.status == 507
        assert list(store.digests()) == []
        assert list(staging.iterdir()) == []
        assert get(store, put(store, b"space again")) == b"space again"

    def test_it_is_ready(self, store: BlobStore) -> None:
        store.check()


class TestLocalStore(BlobStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> BlobStore:
        return LocalStore(tmp_path / "blobs")

    @pytest.fixture
    def staging(self, tmp_path: Path) -> Path:
        return tmp_path / "blobs" / "tmp"


class TestLocalStoreWithoutTmpfile(TestLocalStore):
    """File systems without O_TMPFILE (NFS, FUSE): ordinary temporary files."""

    @pytest.fixture(autouse=True)
    def _no_tmpfile(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = os.open

        def without(path: Any, flags: int, mode: int = 0o777, **more: Any) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(95, "Operation not supported")
            return real(path, flags, mode, **more)

        monkeypatch.setattr(os, "open", without)


class TestCountedStore(TestLocalStore):
    @pytest.fixture
    def store(self, tmp_path: Path) -> BlobStore:
        return CountedStore(LocalStore(tmp_path / "blobs"), Metrics())


class TestS3Store(BlobStoreContract):
    @pytest.fixture
    def store(self, s3: dict[str, Any], tmp_path: Path) -> BlobStore:
        return open_store(Settings(data=tmp_path, blobs=BlobSettings(**s3)))

    @pytest.fixture
    def staging(self, tmp_path: Path) -> Path:
        return tmp_path / "tmp"

    def test_a_large_blob_goes_up_in_parts(self, store: BlobStore) -> None:
        data = bytes(range(256)) * (80 * 1024)  # 20 MiB
        digest = put(store, data)
        with store.open(digest, 12_345_678, 4_000_000) as blocks:
            assert hashlib.sha256(b"".join(blocks)).digest() == hashlib.sha256(data[12_345_678:16_345_678]).digest()

    def test_a_presigned_url_gives_the_blob(self, store: BlobStore) -> None:
        import httpx2

        url = store.presign(put(store, b"for everyone"))
        assert url is not None
        assert httpx2.get(url).content == b"for everyone"

    def test_a_missing_bucket_is_reported(self, s3: dict[str, Any], tmp_path: Path) -> None:
        store = open_store(Settings(data=tmp_path, blobs=BlobSettings(**{**s3, "url": "s3://not-there/x"})))
        with pytest.raises(StorageFailed):
            store.check()
        with pytest.raises(StorageFailed):
            put(store, b"nowhere")

    def test_a_wrong_option_is_reported(self, s3: dict[str, Any], tmp_path: Path) -> None:
        options = {**s3["options"], "no_such_option": "x"}
        with pytest.raises(SettingsError, match="blobs.options"):
            open_store(Settings(data=tmp_path, blobs=BlobSettings(url=s3["url"], options=options)))


class TestObjectStoreInDirectory(BlobStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> BlobStore:
        return ObjectStore(obstore.store.LocalStore(tmp_path / "bucket", mkdir=True), tmp_path / "tmp")

    @pytest.fixture
    def staging(self, tmp_path: Path) -> Path:
        return tmp_path / "tmp"


class TestObjectStoreInMemory(TestObjectStoreInDirectory):
    @pytest.fixture
    def store(self, tmp_path: Path) -> BlobStore:
        return ObjectStore(obstore.store.MemoryStore(), tmp_path / "tmp")


def test_local_layout_is_sharded_and_readable_by_a_web_server(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    digest = put(store, b"x")
    path = store.local_path(digest)
    assert path == tmp_path / "sha256" / digest.hex[:2] / digest.hex
    assert path.stat().st_mode & 0o444 == 0o444
    assert path.stat().st_nlink == 1


def test_what_a_crash_left_is_swept_at_start(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    digest = put(store, b"kept")
    crashed, running = tmp_path / "tmp" / "tmp-0", tmp_path / "tmp" / "tmp-1"
    for path in (crashed, running):
        path.write_bytes(b"half")
    os.utime(crashed, (0, 0))
    store.recover()
    assert list((tmp_path / "tmp").iterdir()) == [running]
    assert list(store.digests()) == [digest]


def test_foreign_files_are_not_listed(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    digest = put(store, b"ours")
    (tmp_path / "sha256" / digest.hex[:2] / "README").write_text("not a blob")
    assert list(store.digests()) == [digest]
    with pytest.raises(DigestInvalid):
        Digest.parse("sha256:README")
