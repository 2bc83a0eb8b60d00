"""Names of refs, remotes and collections."""

from __future__ import annotations

import re
from typing import Final

from smidgen_deltas.errors import FormatError, UsageError

MAX_REF: Final = 255
_FRAGMENT: Final = r"[\w][-._\w]*"
_REF: Final = re.compile(rf"{_FRAGMENT}(?:/{_FRAGMENT})*\Z", re.ASCII)
_CHECKSUM: Final = re.compile(r"[0-9a-f]{64}\Z")


class RefInvalid(UsageError):
    """Not the name of a ref."""

    code = "NAME_INVALID"


def check_ref(ref: str) -> str:
    """Return `ref` if ostree would accept it as a branch name; raise RefInvalid otherwise."""
    if not is_ref(ref):
        raise RefInvalid("not a valid ref", ref=ref[:200])
    return ref


def is_ref(name: str) -> bool:
    """Whether a ref may have this name."""
    return len(name.encode(errors="replace")) <= MAX_REF and _REF.match(name) is not None


def is_checksum(text: str) -> bool:
    """Whether `text` is 64 lower-case hex digits."""
    return _CHECKSUM.match(text) is not None


def parse_ref_file(data: bytes, name: str) -> bytes:
    """The raw checksum in a ref file (64 hex digits and a newline). Raises FormatError."""
    text = data.decode("ascii", "replace").strip()
    if not is_checksum(text):
        raise FormatError("ref file does not hold a checksum", ref=name)
    return bytes.fromhex(text)
