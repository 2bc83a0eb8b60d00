"""Names and labels of commits in container images; FORMAT.md has the whole layout."""

from __future__ import annotations

import re
from typing import Final

from smidgen_deltas.errors import FormatError, IntegrityError
from smidgen_deltas.ostree.objects import EXTENSIONS, ObjectName, ObjectType, loose_path

REPO: Final = "sysroot/ostree/repo"
FOLDERS: Final = (
    "sysroot",
    "sysroot/ostree",
    REPO,
    f"{REPO}/objects",
    *(f"{REPO}/objects/{number:02x}" for number in range(256)),
    *(
        f"{REPO}/{name}"
        for name in ("extensions", "refs", "refs/heads", "refs/mirrors", "refs/remotes", "state", "tmp", "tmp/cache")
    ),
)
CONFIG: Final = b"[core]\nrepo_version=1\nmode=bare-split-xattrs\n"
COMMIT_LABEL: Final = "ostree.commit"
FINAL_LABEL: Final = "ostree.final-diffid"
BOOTC_LABEL: Final = "containers.bootc"
VERSION_LABELS: Final = ("org.opencontainers.image.version", "version")
COPIED_LABELS: Final = ("ostree.bootable", "ostree.linux")
COMPONENTS: Final = "ostree.components"
LINK: Final = "file-xattrs-link"
MAX_XATTRS: Final = 1 << 20

_TYPES: Final = {extension[1:]: kind for kind, extension in EXTENSIONS.items() if kind is not ObjectType.TOMBSTONE}
_OBJECT: Final = re.compile(rb"sysroot/ostree/repo/objects/([0-9a-f]{2})/([0-9a-f]{62})\.([a-z.-]+)\Z")


class ContainerInvalid(FormatError):
    """An image is not laid out as ostree in containers is."""


class CommitMismatch(IntegrityError):
    """An image promises one commit and holds another, or not all of it."""


def object_path(name: ObjectName) -> str:
    """Where an object is in a layer."""
    return f"{REPO}/{loose_path(name, 'bare-split-xattrs')}"


def link_path(checksum: bytes) -> str:
    """Where the xattrs of a file object are in a layer."""
    return f"{object_path(ObjectName(ObjectType.FILE, checksum))[: -len('file')]}{LINK}"


def parse_object(path: bytes) -> tuple[bytes, str] | None:
    """The checksum and extension that a clean path names, None where it names no object."""
    found = _OBJECT.match(path)
    return (bytes.fromhex((found[1] + found[2]).decode()), found[3].decode()) if found else None


def object_type(extension: str) -> ObjectType | None:
    """The type of objects with an extension; None for those of xattrs."""
    return _TYPES.get(extension)


def deployed(path: str) -> str:
    """Where a path of a commit is when the image runs: `usr/etc` is `etc`."""
    return path.removeprefix("usr/") if path == "usr/etc" or path.startswith("usr/etc/") else path
