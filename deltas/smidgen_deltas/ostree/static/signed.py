"""Signed deltas: a superblock with ed25519 signatures around it, for files that are carried by hand.

GVariant `(taya{sv})`: eight bytes of magic, the superblock, `ostree.sign.ed25519` -> signatures over its bytes. Clients
that fetch deltas over HTTP do not know this form.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from smidgen_deltas.errors import LimitExceeded, SignatureInvalid
from smidgen_deltas.ostree import gvariant
from smidgen_deltas.ostree.commitmeta import ED25519, SIGNATURE_SIZE, SIGNATURES, signatures
from smidgen_deltas.ostree.gvariant import Variant
from smidgen_deltas.ostree.static.superblock import MAX_FILE

SIGNATURE: Final = "(taya{sv})"
MAGIC: Final = b"OSTSGNDT"


@dataclass(frozen=True, slots=True)
class SignedDelta:
    """superblock: the bytes that were signed; signatures: ed25519, 64 bytes each (not verified here)."""

    superblock: bytes
    signatures: tuple[bytes, ...]


def is_signed(data: bytes) -> bool:
    return data.startswith(MAGIC)


def decode_signed(data: bytes) -> SignedDelta:
    """Raises LimitExceeded, NotNormal, SignatureInvalid for something else than signatures, or none of any kind."""
    if len(data) > MAX_FILE:
        raise LimitExceeded("signed delta is too large", size=len(data), limit=MAX_FILE)
    _, superblock, members = gvariant.decode(SIGNATURE, data)
    if not members:
        raise SignatureInvalid("signed delta has no signatures", size=len(data))
    found = signatures(gvariant.encode("a{sv}", members), ED25519)
    for number, signature in enumerate(found):
        if len(signature) != SIGNATURE_SIZE:
            raise SignatureInvalid("ed25519 signature has the wrong length", signature=number, length=len(signature))
    return SignedDelta(superblock, found)


def encode_signed(superblock: bytes, found: Iterable[bytes]) -> bytes:
    """The inverse of `decode_signed`."""
    kept = {ED25519: Variant(SIGNATURES, tuple(found))}
    return gvariant.encode(SIGNATURE, (int.from_bytes(MAGIC, "little"), superblock, kept))
