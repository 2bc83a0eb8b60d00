"""What a user names on the command line: a ref on a server, a store on this device, a source to publish."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from smidgen_deltas.errors import UsageError

RefKind = Literal["ostree", "oci"]
StoreKind = Literal["ostree", "oci", "tree"]
MAX_NAME: Final = 512
_PART: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*\Z")


@dataclass(frozen=True, slots=True)
class RefName:
    """`ostree/NAME/REF` or `oci/NAME:TAG`: NAME of the repository, REF or TAG in it."""

    kind: RefKind
    repo: str
    ref: str

    @classmethod
    def parse(cls, text: str) -> RefName:
        """Raises UsageError."""
        kind, _, rest = text.partition("/")
        if kind == "ostree":
            repo, _, ref = rest.partition("/")
        elif kind == "oci":
            repo, _, ref = rest.rpartition(":")
        else:
            raise UsageError("a ref is named ostree/NAME/REF or oci/NAME:TAG", given=text[:200])
        if len(text) > MAX_NAME or not repo or not ref or not _good(repo) or not _good(ref):
            raise UsageError("a ref is named ostree/NAME/REF or oci/NAME:TAG", given=text[:200])
        return cls("ostree" if kind == "ostree" else "oci", repo, ref)

    @property
    def path(self) -> str:
        """Of the ref document, below the server's base URL."""
        return f"u/refs/{self}.json"

    def __str__(self) -> str:
        return f"{self.kind}/{self.repo}{'/' if self.kind == 'ostree' else ':'}{self.ref}"


@dataclass(frozen=True, slots=True)
class Address:
    """A store on this device: `ostree:REPO`, `oci:DIR:TAG`, `tree:DIR`; path absolute, tag empty but for oci."""

    kind: StoreKind
    path: Path
    tag: str = ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Raises UsageError."""
        kind, _, rest = text.partition(":")
        if kind == "oci":
            path, colon, tag = rest.rpartition(":")
            if not colon or "/" in tag or not path or not _good(tag):
                raise UsageError("an OCI layout is named oci:DIR:TAG", given=text[:200])
            return cls("oci", Path(path).absolute(), tag)
        if kind in ("ostree", "tree") and rest:
            return cls("ostree" if kind == "ostree" else "tree", Path(rest).absolute())
        raise UsageError("a store is named ostree:REPO, oci:DIR:TAG or tree:DIR", given=text[:200])

    def __str__(self) -> str:
        return f"{self.kind}:{self.path}" + (f":{self.tag}" if self.tag else "")


def _good(name: str) -> bool:
    return all(_PART.match(part) for part in name.split("/"))
