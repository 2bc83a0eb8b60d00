"""A bundle: files of the update surface in one signed file, for devices without a network. See BUNDLE-FORMAT.md.

An envelope as of ref documents (`native.refdoc`) signs the digest of the index; the index has name, size and sha256 of
every file. Files are not hashed here: whoever reads one knows its digest already, or its signature.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from smidgen_deltas import zstd
from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import DigestMismatch, FormatError, LimitExceeded, RollbackRefused, UnsupportedFeature
from smidgen_deltas.native.refdoc import MAX_DOCUMENT, seal, unseal
from smidgen_deltas.wire import WireReader, put_bytes, put_varint, varint

MAGIC: Final = b"smbundl1"
PAYLOAD_TYPE: Final = "application/vnd.smidgen.bundle.v1+json"
LEAD: Final = 64  # bytes that are enough for magic and numbers
MAX_INDEX: Final = 4 << 20  # read before the signature can be checked, on small devices too; 38,000 files or more
MAX_NAME: Final = 1024
MAX_SIZE: Final = 1 << 50


class BundleInvalid(FormatError):
    """A bundle is malformed."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file: its path below a server's base URL, its bytes and their sha256."""

    name: str
    size: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Bundle:
    """The head of a bundle. start: offset of the first file; the others follow it in order, without gaps."""

    envelope: bytes
    index: Digest
    entries: tuple[Entry, ...]
    start: int

    @property
    def size(self) -> int:
        """Bytes of the whole bundle."""
        return self.start + sum(entry.size for entry in self.entries)

    def verify(self, keys: Mapping[str, Ed25519PublicKey], now: int) -> None:
        """Raise SignatureInvalid unless one of `keys` signed it, RollbackRefused when it has expired (UTC seconds)."""
        payload = _payload(unseal(self.envelope, PAYLOAD_TYPE, keys))
        if payload["index"] != str(self.index):
            raise DigestMismatch("the bundle's index is another", expected=payload["index"], found=str(self.index))
        if now > payload["expires"]:
            raise RollbackRefused("the bundle has expired", expires=payload["expires"], now=now)


def encode_head(entries: Sequence[Entry], created: int, expires: int, keys: Iterable[Ed25519PrivateKey]) -> bytes:
    """All of a bundle but its files. Times are UTC seconds. Deterministic for the same arguments.

    Raises LimitExceeded when the index would be larger than readers take.
    """
    raw = bytearray()
    put_varint(raw, len(entries))
    for entry in entries:
        put_bytes(raw, entry.name.encode())
        put_varint(raw, entry.size)
        raw += entry.sha256
    if len(raw) > MAX_INDEX:
        raise LimitExceeded("a bundle cannot have that many files", files=len(entries), limit=MAX_INDEX)
    index = zstd.compress(raw, 19)
    payload = {"created": created, "expires": expires, "index": str(Digest.of(index))}
    text = json.dumps(payload, sort_keys=True, separators=(",", ":")).encode()
    envelope = seal(PAYLOAD_TYPE, text, *keys)
    lead = MAGIC + varint(0) + varint(len(envelope)) + varint(len(index)) + varint(len(raw))
    return lead + envelope + index


def read_head(file: BinaryIO) -> Bundle:
    """The head of a bundle, from a file at its beginning. Nothing is trusted by that: see `Bundle.verify`.

    Raises BundleInvalid, WireCorrupt, LimitExceeded, UnsupportedFeature for what is no bundle of this version.
    """
    lead = file.read(LEAD)
    reader = WireReader(lead, "bundle")
    reader.expect(MAGIC)
    features = reader.number(MAX_SIZE, "features")
    if features:
        raise UnsupportedFeature("the bundle needs features that are not known here", features=features)
    envelope_size = reader.number(MAX_DOCUMENT, "envelope size")
    index_size = reader.number(MAX_INDEX, "index size")
    raw_size = reader.number(MAX_INDEX, "raw index size")
    head = lead[reader.offset :]
    head += file.read(max(envelope_size + index_size - len(head), 0))
    if len(head) < envelope_size + index_size:
        raise BundleInvalid("the bundle ends early", offset=reader.offset + len(head))
    index = head[envelope_size : envelope_size + index_size]
    entries = _entries(zstd.decompress(index, raw_size))
    start = reader.offset + envelope_size + index_size
    return Bundle(head[:envelope_size], Digest("sha256", hashlib.sha256(index).hexdigest()), entries, start)


def _entries(raw: bytes) -> tuple[Entry, ...]:
    reader = WireReader(raw, "bundle index")
    found: dict[str, Entry] = {}
    for _ in range(reader.number(reader.left // 34, "file count")):
        data = reader.block(MAX_NAME, "name")
        try:
            name = data.decode("ascii")
        except UnicodeDecodeError as error:
            raise BundleInvalid("a name in the bundle is not ASCII", offset=reader.offset) from error
        if name in found or not name:
            raise BundleInvalid("a name in the bundle is empty or there twice", offset=reader.offset, name=name)
        found[name] = Entry(name, reader.number(MAX_SIZE, "size"), reader.take(32))
    reader.done()
    return tuple(found.values())


def _payload(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BundleInvalid("the bundle's envelope holds no JSON") from error
    if not isinstance(found, dict) or type(found.get("expires")) is not int or not isinstance(found.get("index"), str):
        raise BundleInvalid("the bundle's envelope lacks what it must say")
    return found
