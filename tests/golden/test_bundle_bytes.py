"""The golden bundle is read and written as ever; nothing damaged passes for a bundle that somebody signed."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from golden.freeze_bundle import CREATED, EXPIRES, FILES, KEY, bundle
from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import LimitExceeded, RollbackRefused, SignatureInvalid, SmidgenError, UnsupportedFeature
from smidgen_deltas.native.bundle import MAGIC, BundleInvalid, Entry, encode_head, read_head
from smidgen_deltas.native.refdoc import key_id

GOLDEN = (Path(__file__).parent / "bundle" / "small.bundle").read_bytes()
KEYS = {key_id(KEY.public_key()): KEY.public_key()}


def test_the_golden_bundle() -> None:
    found = read_head(io.BytesIO(GOLDEN))
    assert {entry.name: (entry.size, entry.sha256) for entry in found.entries} == {
        name: (len(body), Digest.of(body).raw) for name, body in FILES.items()
    }
    assert found.size == len(GOLDEN)
    assert GOLDEN[found.start :] == b"".join(FILES.values())
    found.verify(KEYS, EXPIRES)
    with pytest.raises(RollbackRefused):
        found.verify(KEYS, EXPIRES + 1)
    stranger = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()
    with pytest.raises(SignatureInvalid):
        found.verify({key_id(stranger): stranger}, CREATED)


def test_it_is_written_the_same() -> None:
    assert bundle()[: len(MAGIC)] == GOLDEN[: len(MAGIC)]
    assert read_head(io.BytesIO(bundle())).entries == read_head(io.BytesIO(GOLDEN)).entries


def test_every_damaged_byte_of_the_head_is_found() -> None:
    """But for bits of base64 that mean nothing."""
    good = read_head(io.BytesIO(GOLDEN))
    for at in range(good.start):
        for change in (1, 0x80):
            damaged = GOLDEN[:at] + bytes([GOLDEN[at] ^ change]) + GOLDEN[at + 1 :]
            try:
                found = read_head(io.BytesIO(damaged))
                found.verify(KEYS, CREATED)
            except SmidgenError:
                continue
            assert _meaning(found.envelope) == _meaning(good.envelope)
            assert (found.index, found.entries) == (good.index, good.entries)


def _meaning(envelope: bytes) -> tuple[bytes, ...]:
    parsed = json.loads(envelope)
    texts = (parsed["payload"], *(one["sig"] for one in parsed["signatures"]))
    return (parsed["payloadType"].encode(), *map(base64.b64decode, texts))


def test_every_cut_is_found() -> None:
    start = read_head(io.BytesIO(GOLDEN)).start
    for at in range(start):
        with pytest.raises(SmidgenError):
            read_head(io.BytesIO(GOLDEN[:at]))


def test_what_is_refused_and_why() -> None:
    with pytest.raises(UnsupportedFeature, match="features"):
        read_head(io.BytesIO(MAGIC + b"\1" + bytes(60)))
    with pytest.raises(LimitExceeded, match="index size"):
        read_head(io.BytesIO(MAGIC + b"\0\1" + b"\xff\xff\xff\xff\x0f" + bytes(60)))
    with pytest.raises(LimitExceeded, match="files"):
        encode_head([Entry("u" * 1000, 0, bytes(32))] * 4100, 0, 1, [KEY])
    for names in (("a", "a"), ("",), ("ä",)):
        head = encode_head([Entry(name, 0, bytes(32)) for name in names], 0, 1, [KEY])
        with pytest.raises(BundleInvalid):
            read_head(io.BytesIO(head))
