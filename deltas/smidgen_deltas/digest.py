"""Content identity: algorithm and hash, as OCI image-spec v1.1 writes it (descriptor.md, "Digests")."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from smidgen_deltas.errors import DigestMismatch, FormatError

LENGTHS: Final = {"sha256": 64, "sha512": 128}
_HEX: Final = re.compile(r"[0-9a-f]+\Z")


class DigestInvalid(FormatError):
    """A digest string is malformed or of an unknown algorithm."""

    code, status = "DIGEST_INVALID", 400


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """`algorithm` is a key of LENGTHS, `hex` lower-case and of that length. Build with `parse` or `of`."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        """`"sha256:<hex>"` -> Digest. Raises DigestInvalid on anything else."""
        algorithm, _, value = text.partition(":")
        if len(value) != LENGTHS.get(algorithm, -1) or not _HEX.match(value):
            raise DigestInvalid("not a digest", given=text[:200])
        return cls(algorithm, value)

    @classmethod
    def of(cls, data: bytes | memoryview, algorithm: str = "sha256") -> Digest:
        return cls(algorithm, hashlib.new(algorithm, data).hexdigest())

    @classmethod
    def from_raw(cls, raw: bytes) -> Digest:
        """32 raw bytes -> sha256 Digest."""
        if len(raw) != 32:
            raise DigestInvalid("not 32 bytes of sha256", length=len(raw))
        return cls("sha256", raw.hex())

    @property
    def raw(self) -> bytes:
        return bytes.fromhex(self.hex)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"

    def check(self, data: bytes | memoryview) -> None:
        """Raise DigestMismatch unless `data` hashes to this digest."""
        found = Digest.of(data, self.algorithm)
        if found != self:
            raise DigestMismatch("content does not match its digest", expected=str(self), found=str(found))
