"""Detached metadata, `a{sv}`: signatures beside a commit (`.commitmeta`) or a summary (`summary.sig`).

Signatures are over the exact bytes of the commit or summary. ed25519 is done here; for GPG see `gpg`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Iterable
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from smidgen_deltas.errors import FormatError, LimitExceeded, SignatureInvalid
from smidgen_deltas.ostree import gvariant
from smidgen_deltas.ostree.gvariant import Variant
from smidgen_deltas.ostree.objects import MAX_METADATA

VARDICT: Final = "a{sv}"
SIGNATURES: Final = "aay"
GPG: Final = "ostree.gpgsigs"
ED25519: Final = "ostree.sign.ed25519"
MAX_SIGNATURES: Final = 64
MAX_SIGNATURE: Final = 64 << 10
_KEY_SIZE: Final = 32
SIGNATURE_SIZE: Final = 64


class SigningKeyInvalid(FormatError):
    """Not an ed25519 key as ostree writes them."""


def decode_commitmeta(data: bytes) -> dict[str, Variant]:
    """Raises LimitExceeded, NotNormal."""
    if len(data) > MAX_METADATA:
        raise LimitExceeded("detached metadata is too large", size=len(data), limit=MAX_METADATA)
    found: dict[str, Variant] = gvariant.decode(VARDICT, data)
    return found


def signatures(data: bytes, key: str) -> tuple[bytes, ...]:
    """The signatures of one kind (`key`: GPG or ED25519) in detached metadata.

    Raises NotNormal, SignatureInvalid for something else under that key, LimitExceeded.
    """
    found = decode_commitmeta(data).get(key)
    if found is None:
        return ()
    if found.signature != SIGNATURES:
        raise SignatureInvalid("signatures have another type", key=key, type=found.signature)
    values: tuple[bytes, ...] = found.value
    if len(values) > MAX_SIGNATURES or any(len(value) > MAX_SIGNATURE for value in values):
        raise LimitExceeded("too many or too large signatures", key=key, count=len(values), limit=MAX_SIGNATURES)
    return values


def with_signature(data: bytes, key: str, signature: bytes) -> bytes:
    """Detached metadata with one more signature. data: what there is, perhaps nothing."""
    kept = decode_commitmeta(data)
    return gvariant.encode(VARDICT, kept | {key: Variant(SIGNATURES, (*signatures(data, key), signature))})


def verify_ed25519(
    signed: bytes, found: Iterable[bytes], trusted: Collection[bytes], revoked: Collection[bytes] = ()
) -> bytes:
    """The key of `trusted` that made one of the signatures `found` over `signed`.

    Args:
        trusted, revoked: raw public keys, 32 bytes each. A key that is in both is not trusted.
    Raises SignatureInvalid when there is none.
    """
    usable = [key for key in trusted if key not in revoked]
    tried = 0
    for signature in found:
        tried += 1
        for key in usable if len(signature) == SIGNATURE_SIZE else ():
            try:
                Ed25519PublicKey.from_public_bytes(key).verify(signature, signed)
            except InvalidSignature:
                continue
            return key
    raise SignatureInvalid("no ed25519 signature by a trusted key", signatures=tried, keys=len(usable))


def sign_ed25519(signed: bytes, secret: str) -> bytes:
    """A signature over `signed`.

    secret: base64 of seed and public key, as ostree writes it. Raises SigningKeyInvalid.
    """
    raw = _base64(secret)
    if len(raw) != 2 * _KEY_SIZE:
        raise SigningKeyInvalid("an ed25519 secret is base64 of 64 bytes", length=len(raw))
    key = Ed25519PrivateKey.from_private_bytes(raw[:_KEY_SIZE])
    if key.public_key().public_bytes_raw() != raw[_KEY_SIZE:]:
        raise SigningKeyInvalid("the two halves of an ed25519 secret do not belong together")
    return key.sign(signed)


def parse_ed25519_keys(text: str) -> tuple[bytes, ...]:
    """Raw public keys of a file as `verification-ed25519-file` names it: base64, one a line.

    Raises SigningKeyInvalid.
    """
    keys = tuple(_base64(line) for line in text.split("\n") if line.strip())
    if any(len(key) != _KEY_SIZE for key in keys):
        raise SigningKeyInvalid("an ed25519 public key is base64 of 32 bytes")
    return keys


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text.strip().encode("ascii"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise SigningKeyInvalid("an ed25519 key is not base64") from error
