"""What a user names on the command line: a ref on a server, a store on this device, a source to publish."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from smidgen_deltas.errors import UsageError
from smidgen_deltas.login import Address as WebAddress
from smidgen_deltas.login import shown

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
            return cls("oci", absolute(path), tag)
        if kind in ("ostree", "tree") and rest:
            return cls("ostree" if kind == "ostree" else "tree", absolute(rest))
        raise UsageError("a store is named ostree:REPO, oci:DIR:TAG or tree:DIR", given=text[:200])

    def __str__(self) -> str:
        return f"{self.kind}:{self.path}" + (f":{self.tag}" if self.tag else "")


def check_server(url: str) -> WebAddress:
    """The base URL of a server, its login apart. Raises UsageError for what cannot be one."""
    if not url.startswith(("http://", "https://")) or not encodable(url):
        raise UsageError("a server is named by an http:// or https:// URL", given=shown(url))
    return WebAddress.parse(url)


def absolute(path: str) -> Path:
    """What the state keeps by name must be text. Raises UsageError for a path that is not UTF-8."""
    found = Path(path).absolute()
    if not encodable(str(found)):
        raise UsageError("the path of a store or seed must be UTF-8", given=str(found)[:200])
    return found


def encodable(text: str) -> bool:
    """Whether `text` came from bytes that were UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _good(name: str) -> bool:
    return all(_PART.match(part) for part in name.split("/"))
