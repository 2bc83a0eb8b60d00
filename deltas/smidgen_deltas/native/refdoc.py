"""The ref document: the one mutable, signed file per ref. See FORMAT.md, "Ref document".

A DSSE envelope (https://github.com/secure-systems-lab/dsse, protocol v1) around a small JSON payload, signed with
ed25519. It names the target by digest and size; every other file of the update surface is reached from it and is
immutable.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import FormatError, LimitExceeded, RollbackRefused, SignatureInvalid

PAYLOAD_TYPE: Final = "application/vnd.smidgen.ref.v1+json"
KEYS_TYPE: Final = "application/vnd.smidgen.keys.v1+json"
MAX_DOCUMENT: Final = 64 * 1024
MAX_PIECE: Final = 1 << 40
MAX_DELTAS: Final = 64
MAX_SOURCES: Final = 16
MAX_SIGNATURES: Final = 8

Kind = Literal["ostree", "oci"]


class RefDocumentInvalid(FormatError):
    """A ref document is malformed."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A blob under u/blobs: its digest, size as served, and size once decompressed (zstd), both in bytes."""

    digest: Digest
    size: int
    raw_size: int


@dataclass(frozen=True, slots=True)
class DeltaOffer:
    """A delta to this revision from all of `sources` together (revision digests).

    memory and scratch are bytes the applier needs; cpu is the class of DELTA-FORMAT.md, 0 the lightest;
    work is what encoding again takes of one core of a present-day machine, about, in milliseconds;
    features names the transforms the applier must know. header: sha256 of the delta's stored header, so that it and,
    through it, every frame can be trusted while the delta is still arriving.
    """

    sources: tuple[Digest, ...]
    piece: Piece
    memory: int
    scratch: int
    cpu: int
    features: tuple[str, ...]
    header: Digest
    work: int = 0


@dataclass(frozen=True, slots=True)
class RefDocument:
    """What a ref points at. Times are UTC seconds; version grows by one with every change of the target."""

    kind: Kind
    repo: str
    ref: str
    version: int
    published: int
    expires: int
    revision: Digest
    tree: Piece
    packs: Piece | None
    count: int
    bytes: int
    deltas: tuple[DeltaOffer, ...] = ()


def key_id(key: Ed25519PublicKey) -> str:
    """The name of a key: first 16 hex digits of the sha256 of its 32 raw bytes."""
    raw = key.public_bytes_raw()
    return hashlib.sha256(raw).hexdigest()[:16]


def sign(document: RefDocument, *keys: Ed25519PrivateKey) -> bytes:
    """Encode and sign; deterministic for the same document and keys."""
    return seal(PAYLOAD_TYPE, _canonical(_to_json(document)), *keys)


def verify(data: bytes, keys: Mapping[str, Ed25519PublicKey]) -> RefDocument:
    """Check size, signature and form, in that order of trust.

    Raises:
        LimitExceeded: more than MAX_DOCUMENT bytes.
        SignatureInvalid: no valid signature by any of `keys`.
        RefDocumentInvalid: signed, but not a ref document of this version.
    """
    return _from_json(_parse(unseal(data, PAYLOAD_TYPE, keys)))


def check_freshness(document: RefDocument, *, seen_version: int, now: int) -> None:
    """Raise RollbackRefused for a document older than one already accepted, or past its expiry."""
    if document.version < seen_version:
        raise RollbackRefused(
            "the ref document is older than one seen before",
            ref=f"{document.kind}/{document.repo}",
            version=document.version,
            seen=seen_version,
        )
    if now > document.expires:
        raise RollbackRefused("the ref document has expired", expires=document.expires, now=now)


def seal(payload_type: str, payload: bytes, *keys: Ed25519PrivateKey) -> bytes:
    """A DSSE envelope around `payload`."""
    message = _pre_authentication(payload_type, payload)
    signatures = [
        {"keyid": key_id(key.public_key()), "sig": base64.b64encode(key.sign(message)).decode()} for key in keys
    ]
    return _canonical(
        {"payload": base64.b64encode(payload).decode(), "payloadType": payload_type, "signatures": signatures}
    )


def unseal(data: bytes, payload_type: str, keys: Mapping[str, Ed25519PublicKey]) -> bytes:
    """The payload, once one signature by one of `keys` holds."""
    if len(data) > MAX_DOCUMENT:
        raise LimitExceeded("signed document is too large", size=len(data), limit=MAX_DOCUMENT)
    envelope = _parse(data)
    payload = _base64(envelope.get("payload"))
    signatures = envelope.get("signatures")
    if envelope.get("payloadType") != payload_type or not isinstance(signatures, list):
        raise RefDocumentInvalid("not an envelope of the expected type", expected=payload_type)
    message = _pre_authentication(payload_type, payload)
    for entry in signatures[:MAX_SIGNATURES]:
        if isinstance(entry, dict) and _holds(entry, message, keys):
            return payload
    raise SignatureInvalid("no valid signature by a trusted key", trusted=sorted(keys))


def encode_keys(keys: Mapping[str, Ed25519PublicKey]) -> bytes:
    """The `u/keys.json` document: key id -> base64 of the raw public key."""
    entries = {name: base64.b64encode(key.public_bytes_raw()).decode() for name, key in keys.items()}
    return _canonical({"mediaType": KEYS_TYPE, "keys": entries})


def decode_keys(data: bytes) -> dict[str, Ed25519PublicKey]:
    """Raises RefDocumentInvalid when an entry is not a key or not named by its own id."""
    if len(data) > MAX_DOCUMENT:
        raise LimitExceeded("key list is too large", size=len(data), limit=MAX_DOCUMENT)
    entries = _parse(data).get("keys")
    if not isinstance(entries, dict):
        raise RefDocumentInvalid("not a key list")
    found = {}
    for name, text in entries.items():
        raw = _base64(text)
        if len(raw) != 32:
            raise RefDocumentInvalid("not an ed25519 public key", key=str(name)[:64])
        key = Ed25519PublicKey.from_public_bytes(raw)
        if key_id(key) != name:
            raise RefDocumentInvalid("key is not named by its own id", key=str(name)[:64])
        found[name] = key
    return found


def _holds(entry: dict[str, Any], message: bytes, keys: Mapping[str, Ed25519PublicKey]) -> bool:
    key = keys.get(str(entry.get("keyid")))
    if key is None:
        return False
    try:
        key.verify(_base64(entry.get("sig")), message)
    except InvalidSignature:
        return False
    return True


def _pre_authentication(payload_type: str, payload: bytes) -> bytes:
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def _canonical(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _parse(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RefDocumentInvalid("not JSON", reason=str(error)[:200]) from error
    if not isinstance(value, dict):
        raise RefDocumentInvalid("not a JSON object")
    return value


def _base64(text: object) -> bytes:
    try:
        return base64.b64decode(str(text), validate=True)
    except ValueError as error:  # binascii.Error is one; the plain one comes for text that is not ASCII
        raise RefDocumentInvalid("not base64") from error


def _piece_to_json(piece: Piece) -> dict[str, Any]:
    return {"digest": str(piece.digest), "size": piece.size, "raw": piece.raw_size}


def _to_json(document: RefDocument) -> dict[str, Any]:
    value: dict[str, Any] = {
        "kind": document.kind,
        "repo": document.repo,
        "ref": document.ref,
        "version": document.version,
        "published": document.published,
        "expires": document.expires,
        "revision": str(document.revision),
        "tree": _piece_to_json(document.tree),
        "count": document.count,
        "bytes": document.bytes,
    }
    if document.packs is not None:
        value["packs"] = _piece_to_json(document.packs)
    if document.deltas:
        value["deltas"] = [
            {
                "from": [str(source) for source in offer.sources],
                **_piece_to_json(offer.piece),
                "memory": offer.memory,
                "scratch": offer.scratch,
                "cpu": offer.cpu,
                "work": offer.work,
                "features": list(offer.features),
                "header": str(offer.header),
            }
            for offer in document.deltas
        ]
    return value


class _Fields:
    """Typed look-ups in one JSON object; anything off is RefDocumentInvalid naming the field."""

    def __init__(self, value: object) -> None:
        if not isinstance(value, dict):
            raise RefDocumentInvalid("expected a JSON object")
        self._value = value

    def text(self, name: str) -> str:
        found = self._value.get(name)
        if not isinstance(found, str) or not 0 < len(found) <= 512:
            raise RefDocumentInvalid("field is missing or not text", field=name)
        return found

    def number(self, name: str, limit: int = MAX_PIECE) -> int:
        found = self._value.get(name)
        if type(found) is not int or not 0 <= found <= limit:
            raise RefDocumentInvalid("field is missing or out of range", field=name)
        return found

    def listing(self, name: str, limit: int) -> list[Any]:
        found = self._value.get(name, [])
        if not isinstance(found, list) or len(found) > limit:
            raise RefDocumentInvalid("field is not a list or too long", field=name, limit=limit)
        return found

    def piece(self) -> Piece:
        return Piece(Digest.parse(self.text("digest")), self.number("size"), self.number("raw"))

    def has(self, name: str) -> bool:
        return name in self._value

    def child(self, name: str) -> _Fields:
        return _Fields(self._value.get(name))


def _offer(value: object) -> DeltaOffer:
    fields = _Fields(value)
    return DeltaOffer(
        sources=tuple(Digest.parse(str(text)) for text in fields.listing("from", MAX_SOURCES)),
        piece=fields.piece(),
        memory=fields.number("memory"),
        scratch=fields.number("scratch"),
        cpu=fields.number("cpu", 255),
        features=tuple(str(name)[:64] for name in fields.listing("features", 256)),
        header=Digest.parse(fields.text("header")),
        work=fields.number("work") if fields.has("work") else 0,
    )


def _from_json(value: dict[str, Any]) -> RefDocument:
    fields = _Fields(value)
    kind = fields.text("kind")
    if kind not in ("ostree", "oci"):
        raise RefDocumentInvalid("unknown kind of ref", kind=kind[:64])
    return RefDocument(
        kind="ostree" if kind == "ostree" else "oci",
        repo=fields.text("repo"),
        ref=fields.text("ref"),
        version=fields.number("version"),
        published=fields.number("published"),
        expires=fields.number("expires"),
        revision=Digest.parse(fields.text("revision")),
        tree=fields.child("tree").piece(),
        packs=fields.child("packs").piece() if fields.has("packs") else None,
        count=fields.number("count"),
        bytes=fields.number("bytes", 1 << 50),
        deltas=tuple(_offer(entry) for entry in fields.listing("deltas", MAX_DELTAS)),
    )
