"""Names and places of static deltas: `<from>-<to>` in lists, modified base64 in paths.

Modified base64 is the standard alphabet with `_` for `/`, `+` kept, without `=`: 43 characters for a checksum.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final

from smidgen_deltas.errors import FormatError
from smidgen_deltas.ostree.refs import is_checksum

BASE64_LENGTH: Final = 43
SUPERBLOCK: Final = "superblock"
_FOLDER: Final = re.compile(r"deltas/([\w+]{2})/([\w+]{41})(?:-([\w+]{43}))?\Z", re.ASCII)


class DeltaNameInvalid(FormatError):
    """Not the name or the path of a static delta."""


@dataclass(frozen=True, slots=True)
class DeltaName:
    """What a delta leads from and to; raw checksums. source: None for a delta from nothing."""

    source: bytes | None
    target: bytes

    @classmethod
    def parse(cls, text: str) -> DeltaName:
        """`<from hex>-<to hex>` or `<to hex>`. Raises DeltaNameInvalid."""
        source, dash, target = text.rpartition("-")
        if not is_checksum(target) or (dash and not is_checksum(source)):
            raise DeltaNameInvalid("not the name of a static delta", name=text[:200])
        return cls(bytes.fromhex(source) if dash else None, bytes.fromhex(target))

    @classmethod
    def of_folder(cls, path: str) -> DeltaName:
        """The inverse of `folder`. Raises DeltaNameInvalid."""
        match = _FOLDER.match(path)
        if match is None:
            raise DeltaNameInvalid("not the folder of a static delta", path=path[:200])
        first = from_base64(match[1] + match[2])
        return cls(first, from_base64(match[3])) if match[3] else cls(None, first)

    @property
    def folder(self) -> str:
        """Where its files are, relative to the repository: `deltas/F1/MZ…-3k…`."""
        if self.source is None:
            text = to_base64(self.target)
            return f"deltas/{text[:2]}/{text[2:]}"
        text = to_base64(self.source)
        return f"deltas/{text[:2]}/{text[2:]}-{to_base64(self.target)}"

    @property
    def superblock(self) -> str:
        """Path of its superblock, relative to the repository."""
        return f"{self.folder}/{SUPERBLOCK}"

    @property
    def commitmeta(self) -> str:
        """Key of the commit's detached metadata inside a superblock."""
        return f"{self.folder}/commitmeta"

    def part(self, number: int) -> str:
        """Path of a part, relative to the repository; also the key of an inline part."""
        return f"{self.folder}/{number}"

    def __str__(self) -> str:
        return self.target.hex() if self.source is None else f"{self.source.hex()}-{self.target.hex()}"


def index_path(target: bytes) -> str:
    """Path of the index of the deltas that lead to a commit, relative to the repository."""
    text = to_base64(target)
    return f"delta-indexes/{text[:2]}/{text[2:]}.index"


def to_base64(checksum: bytes) -> str:
    """32 bytes -> 43 characters."""
    if len(checksum) != 32:
        raise ValueError("a checksum has 32 bytes")
    return base64.b64encode(checksum, b"+_").decode()[:BASE64_LENGTH]


def from_base64(text: str) -> bytes:
    """The inverse of `to_base64`; other spellings of the same bytes are refused. Raises DeltaNameInvalid."""
    try:
        checksum = base64.b64decode(text.encode("ascii") + b"=", b"+_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise DeltaNameInvalid("not a checksum in modified base64", text=text[:100]) from error
    if len(checksum) != 32 or to_base64(checksum) != text:
        raise DeltaNameInvalid("not a checksum in modified base64", text=text[:100])
    return checksum
