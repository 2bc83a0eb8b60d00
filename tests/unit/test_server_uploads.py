"""Resumable uploads: offsets, restarts, races, limits, expiry."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import Conflict, DigestMismatch, LimitExceeded, UsageError
from smidgen_server.blobs.base import StorageFull
from smidgen_server.blobs.local import LocalStore
from smidgen_server.blobs.uploads import UploadOffset, Uploads, UploadUnknown
from support.limits import file_size_limit

DATA = os.urandom(500_000)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "blobs")


@pytest.fixture
def uploads(tmp_path: Path, store: LocalStore) -> Uploads:
    return Uploads(tmp_path / "uploads", store, expiry=60, limit=1 << 20)


def append(uploads: Uploads, identity: str, data: bytes, offset: int | None = None) -> int:
    with uploads.append(identity, offset) as writer:
        writer.write(data)
        return writer.offset


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_pieces_become_a_blob(uploads: Uploads, store: LocalStore, algorithm: str) -> None:
    identity = uploads.create(algorithm)
    assert append(uploads, identity, DATA[:1000], 0) == 1000
    assert append(uploads, identity, DATA[1000:]) == len(DATA)
    assert uploads.offset(identity) == len(DATA)
    digest = Digest.of(DATA, algorithm)
    assert uploads.finish(identity, digest) == len(DATA)
    assert store.stat(digest).size == len(DATA)
    with pytest.raises(UploadUnknown):
        uploads.offset(identity)


def test_an_empty_upload_is_the_empty_blob(uploads: Uploads, store: LocalStore) -> None:
    assert uploads.finish(uploads.create(), Digest.of(b"")) == 0
    assert store.stat(Digest.of(b"")).size == 0


def test_it_goes_on_after_a_restart(uploads: Uploads, store: LocalStore, tmp_path: Path) -> None:
    identity = uploads.create("sha512")
    append(uploads, identity, DATA[:123_456])
    again = Uploads(tmp_path / "uploads", store, expiry=60, limit=1 << 20)
    assert again.offset(identity) == 123_456
    append(again, identity, DATA[123_456:], 123_456)
    again.finish(identity, Digest.of(DATA, "sha512"))
    assert store.stat(Digest.of(DATA, "sha512")).size == len(DATA)


def test_bytes_written_before_the_sender_went_away_stay(uploads: Uploads, store: LocalStore) -> None:
    identity = uploads.create()
    with pytest.raises(ConnectionError), uploads.append(identity) as writer:
        writer.write(DATA[:5000])
        raise ConnectionError
    assert uploads.offset(identity) == 5000
    append(uploads, identity, DATA[5000:], 5000)
    uploads.finish(identity, Digest.of(DATA))


@pytest.mark.parametrize("offset", [0, 999, 1001, 10**15])
def test_a_piece_elsewhere_is_refused(uploads: Uploads, offset: int) -> None:
    identity = uploads.create()
    append(uploads, identity, DATA[:1000])
    with pytest.raises(UploadOffset) as failure:
        append(uploads, identity, b"x", offset)
    assert failure.value.status == 416
    assert failure.value.detail == {"offset": 1000, "given": offset}
    assert uploads.offset(identity) == 1000


def test_a_wrong_digest_discards_the_upload(uploads: Uploads, store: LocalStore, tmp_path: Path) -> None:
    identity = uploads.create()
    append(uploads, identity, b"wrong")
    with pytest.raises(DigestMismatch):
        uploads.finish(identity, Digest.of(b"right"))
    assert list(store.digests()) == []
    assert list((tmp_path / "uploads").iterdir()) == []


def test_one_writer_at_a_time(uploads: Uploads) -> None:
    identity = uploads.create()
    with uploads.append(identity) as writer:
        writer.write(b"first")
        for use in (
            lambda: append(uploads, identity, b"second"),
            lambda: uploads.cancel(identity),
            lambda: uploads.finish(identity, Digest.of(b"")),
        ):
            with pytest.raises(Conflict):
                use()
    assert uploads.offset(identity) == 5


def test_a_finished_blob_cannot_be_written_through_an_old_handle(uploads: Uploads, store: LocalStore) -> None:
    """The blob is the upload's own file: whoever opened it before must not be able to append."""
    identity = uploads.create()
    append(uploads, identity, b"the blob")
    path = uploads._path(identity)
    kept = path.with_name("kept")
    os.link(path, kept)
    uploads.finish(identity, Digest.of(b"the blob"))
    with pytest.raises(UploadUnknown):
        append(uploads, identity, b" and more")
    assert kept.read_bytes() == b"the blob"


def test_cancel(uploads: Uploads, tmp_path: Path) -> None:
    identity = uploads.create()
    append(uploads, identity, b"half")
    uploads.cancel(identity)
    assert list((tmp_path / "uploads").iterdir()) == []
    for use in (uploads.cancel, uploads.offset, lambda one: append(uploads, one, b"")):
        with pytest.raises(UploadUnknown) as failure:
            use(identity)
        assert (failure.value.code, failure.value.status) == ("BLOB_UPLOAD_UNKNOWN", 404)


@pytest.mark.parametrize("identity", ["", "../blobs", "x" * 32, "0" * 47, "0" * 49, "0" * 48 + "\n"])
def test_foreign_ids_are_unknown(uploads: Uploads, identity: str) -> None:
    with pytest.raises(UploadUnknown):
        uploads.offset(identity)


def test_the_limit_holds_over_all_pieces(uploads: Uploads) -> None:
    identity = uploads.create()
    append(uploads, identity, bytes(1 << 20))
    with pytest.raises(LimitExceeded) as failure:
        append(uploads, identity, b"x")
    assert failure.value.status == 413
    assert uploads.offset(identity) == 1 << 20


def test_a_full_disk_keeps_what_fitted(uploads: Uploads, store: LocalStore) -> None:
    identity = uploads.create()
    with pytest.raises(StorageFull), file_size_limit(100_000):
        append(uploads, identity, DATA)
    assert uploads.offset(identity) == 100_000
    append(uploads, identity, DATA[100_000:], 100_000)
    uploads.finish(identity, Digest.of(DATA))


def test_left_uploads_expire(uploads: Uploads, tmp_path: Path) -> None:
    left, fresh, running = uploads.create(), uploads.create(), uploads.create()
    for identity in (left, running):
        os.utime(tmp_path / "uploads" / identity, (0, 0))
    with uploads.append(running):
        assert uploads.expire() == 1
    assert uploads.offset(fresh) == uploads.offset(running) == 0
    with pytest.raises(UploadUnknown):
        uploads.offset(left)


def test_an_unknown_algorithm_is_refused(uploads: Uploads) -> None:
    with pytest.raises(UsageError):
        uploads.create("md5")
