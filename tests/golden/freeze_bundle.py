"""How the golden bundle was made: python tests/golden/freeze_bundle.py. Not to be run again: the file is frozen."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from smidgen_deltas.digest import Digest
from smidgen_deltas.native.bundle import Entry, encode_head

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
FILES = {"u/keys.json": b"{}", "u/refs/oci/app:stable.json": b"[1]", "u/blobs/" + "ab" * 32: bytes(range(200))}
CREATED, EXPIRES = 1_700_000_000, 1_707_776_000


def bundle() -> bytes:
    entries = [Entry(name, len(body), Digest.of(body).raw) for name, body in FILES.items()]
    return encode_head(entries, CREATED, EXPIRES, [KEY]) + b"".join(FILES.values())


if __name__ == "__main__":
    (Path(__file__).parent / "bundle" / "small.bundle").write_bytes(bundle())
