"""Layers of commits in images: what is read, in every version of the layout, and what is refused."""

from __future__ import annotations

import hashlib
import lzma
import stat
from pathlib import Path

import pytest

from smidgen_deltas.errors import DigestMismatch, FormatError, LimitExceeded
from smidgen_deltas.ostree.container import layer_reader
from smidgen_deltas.ostree.container.layer_reader import FileBody, LayerReader, MetadataObject
from smidgen_deltas.ostree.container.layout import ContainerInvalid, deployed, link_path, object_path
from smidgen_deltas.ostree.container.tar_members import END, LINK, file_member, hard_link, member, small_file
from smidgen_deltas.ostree.header import encode_xattrs
from smidgen_deltas.ostree.objects import FileHeader, ObjectName, ObjectType, checksum_file
from smidgen_deltas.tar.errors import UnsafePath
from smidgen_deltas.tar.reader import TarReader
from support.ostree import SECOND

HAND_MADE = Path(__file__).parent.parent / "data/oci/ostree-ext-layer.tar.xz"
XATTRS = ((b"security.selinux\0", b"label\0"), (b"user.kind\0", b"\0\n="))
HEADER = FileHeader(1000, 3_000_000, stat.S_IFREG | 0o4755, XATTRS)
BODY = b"content" * 100
FILE = ObjectName(ObjectType.FILE, checksum_file(HEADER, [BODY]))
COMMIT = ObjectName(ObjectType.COMMIT, b"\1" * 32)
TREE = ObjectName(ObjectType.DIRTREE, b"\2" * 32)
BLOB = encode_xattrs(XATTRS)
SHARED = f"sysroot/ostree/repo/objects/{hashlib.sha256(BLOB).hexdigest()[:2]}/{hashlib.sha256(BLOB).hexdigest()[2:]}"


def written() -> bytes:
    return b"".join(file_member(object_path(FILE), HEADER, len(BODY), [BODY]))


def read(*members: bytes) -> list[tuple[object, ...]]:
    """All that a layer of these members holds."""
    found: list[tuple[object, ...]] = []
    for one in LayerReader([*members, END]):
        if isinstance(one, FileBody):
            found.append((one.checksum, one.header, b"".join(one.chunks)))
        else:
            found.append((one.name, one.data))
    return found


NOW = small_file(link_path(FILE.checksum), BLOB)
BEFORE = small_file(f"{SHARED}.file-xattrs", BLOB) + member(
    link_path(FILE.checksum), LINK, 0, 0, 0o644, target=f"{SHARED}.file-xattrs"
)
OLDEST = small_file(f"sysroot/ostree/repo/xattrs/{hashlib.sha256(BLOB).hexdigest()}", BLOB) + member(
    f"{object_path(FILE)}.xattrs",
    LINK,
    0,
    0,
    0o644,
    target=f"sysroot/ostree/repo/xattrs/{hashlib.sha256(BLOB).hexdigest()}",
)


@pytest.mark.parametrize("xattrs", [NOW, BEFORE, OLDEST], ids=["file", "shared", "version 0"])
def test_file_object_in_every_form(xattrs: bytes) -> None:
    link = hard_link("usr/bin/program", HEADER, object_path(FILE))
    assert read(xattrs, written(), link) == [(FILE.checksum, HEADER, BODY)]


def test_hand_made_layer_by_the_published_rules() -> None:
    reader = iter(LayerReader([lzma.decompress(HAND_MADE.read_bytes())]))
    first = next(reader)
    assert isinstance(first, MetadataObject)
    assert first.name == ObjectName(ObjectType.COMMIT, SECOND)
    files = [(one.checksum, checksum_file(one.header, one.chunks)) for one in reader if isinstance(one, FileBody)]
    assert files
    assert all(name == found for name, found in files)


@pytest.mark.parametrize(
    ("members", "error"),
    [
        ([written()], ContainerInvalid),
        ([small_file(link_path(b"\3" * 32), BLOB), written()], ContainerInvalid),
        ([NOW, written(), NOW, written()], ContainerInvalid),
        ([small_file(object_path(TREE), b""), small_file(object_path(COMMIT), b"")], ContainerInvalid),
        ([small_file(object_path(ObjectName(ObjectType.COMMITMETA, b"\1" * 32)), b"")], ContainerInvalid),
        ([member(object_path(TREE), LINK, 0, 0, 0o644, target="etc/passwd")], ContainerInvalid),
        ([small_file("sysroot/ostree/repo/objects/aa/passwd", b"")], ContainerInvalid),
        ([small_file(f"sysroot/ostree/repo/objects/aa/{'b' * 62}.tombstone-commit", b"")], ContainerInvalid),
        ([small_file("sysroot/ostree/../../etc/passwd", b"")], UnsafePath),
        ([small_file("/etc/passwd", b"")], UnsafePath),
        ([small_file(f"{SHARED}.file-xattrs", b"other")], DigestMismatch),
        ([member(link_path(FILE.checksum), LINK, 0, 0, 0o644, target=f"{SHARED}.file-xattrs")], ContainerInvalid),
        ([small_file(link_path(FILE.checksum), bytes((1 << 20) + 1))], LimitExceeded),
    ],
)
def test_what_is_no_layer_is_refused(members: list[bytes], error: type[FormatError]) -> None:
    with pytest.raises(error):
        read(*members)


def test_shared_xattrs_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_reader, "MAX_SHARED", 50)
    with pytest.raises(LimitExceeded):
        read(BEFORE, written())


def test_members_say_what_headers_alone_cannot() -> None:
    """Long names, large owners, xattrs that are no text; security.selinux stays out."""
    path, target = "d/" * 80 + "name", "t" * 150
    header = FileHeader(5, 1 << 31, stat.S_IFLNK | 0o777, XATTRS, target)
    (found,) = TarReader([*file_member(path, header, 0, ()), END])
    assert (found.path, found.linkname) == (path.encode(), target.encode())
    assert (found.uid, found.gid, found.mode, found.mtime_ns) == (5, 1 << 31, 0o777, 0)
    assert found.xattrs == ((b"user.kind", b"\0\n="),)


@pytest.mark.parametrize(
    ("path", "place"),
    [("usr/etc", "etc"), ("usr/etc/fstab", "etc/fstab"), ("usr/etcetera", "usr/etcetera"), ("etc", "etc")],
)
def test_places_in_the_running_image(path: str, place: str) -> None:
    assert deployed(path) == place
