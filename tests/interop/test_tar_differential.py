"""Archives written by GNU tar, bsdtar and Python, in every format they have: our listing is theirs, every file is the
one that they extract, and the archive comes back from its recipe bit for bit.
"""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from smidgen_deltas.tar.member import Member, MemberType
from smidgen_deltas.tar.reader import TarReader
from smidgen_deltas.tar.recipe import Content, decode, encode, rebuild, split
from smidgen_deltas.tar.sparse import expand
from support.tars import file_blocks

pytestmark = pytest.mark.needs("tar", "bsdtar")

LONG = b"directory-with-a-long-name-" * 3
HOLE = 1 << 20


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with everything that a layer may hold, as far as this user may make it."""
    root = os.fsencode(tmp_path_factory.mktemp("source"))

    def path(*parts: bytes) -> bytes:
        return b"/".join((root, *parts))

    def write(data: bytes, *parts: bytes, mode: int = 0o644) -> None:
        with open(path(*parts), "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), mode)

    Path(os.fsdecode(path(b"bin"))).mkdir()
    Path(os.fsdecode(path(LONG, LONG, LONG))).mkdir(parents=True)
    write(b"", b"empty")
    write(b"#!/bin/sh\n", b"bin", b"run", mode=0o4755)
    write(bytes(range(256)) * 5000, b"big")
    write(b"x" * 512, b"exact")
    write("käse".encode(), "käse".encode())
    write(b"latin", b"caf\xe9")
    write(b"deep", LONG, LONG, LONG, b"f" * 200)
    write(b"private", b"private", mode=0o600)
    os.link(path(b"big"), path(b"bin", b"big-link"))
    os.link(path(LONG, LONG, LONG, b"f" * 200), path(b"zz-link-to-long"))
    Path(os.fsdecode(path(b"bin", b"alias"))).symlink_to("run")
    Path(os.fsdecode(path(b"dangling"))).symlink_to(os.fsdecode(b"/" + LONG * 3))
    os.mkfifo(path(b"pipe"), 0o640)
    with open(path(b"sparse"), "wb") as file:
        file.truncate(3 * HOLE)
        os.pwrite(file.fileno(), b"middle" * 1000, HOLE)
    with open(path(b"sparse-many"), "wb") as file:
        file.truncate(60 * HOLE // 4)
        for at in range(30):
            os.pwrite(file.fileno(), bytes([65 + at]) * 4096, at * HOLE // 2)
    with open(path(b"hole-only"), "wb") as file:
        file.truncate(HOLE)
    os.setxattr(path(b"exact"), b"user.colour", b"gr\xfcn\0")
    os.setxattr(path(b"bin"), b"user.of-a-directory", b"x" * 300)
    os.utime(path(b"empty"), ns=(1_500_000_000_123_456_789, 1_500_000_000_123_456_789))
    os.utime(path(b"private"), ns=(-86_400_000_000_000, -86_400_000_000_000))
    if os.geteuid() == 0:
        os.chown(path(b"big"), 12345, 3_000_000_000)
        os.mknod(path(b"null"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
    return Path(os.fsdecode(root))


GNU_ARGUMENTS = {
    "gnu": ["--format=gnu"],
    "gnu-sparse": ["--format=gnu", "-S"],
    "oldgnu-sparse": ["--format=oldgnu", "-S"],
    "pax": ["--format=pax", "--xattrs"],
    "pax-sparse-0.0": ["--format=pax", "-S", "--sparse-version=0.0", "--xattrs"],
    "pax-sparse-0.1": ["--format=pax", "-S", "--sparse-version=0.1"],
    "pax-sparse-1.0": ["--format=pax", "-S", "--sparse-version=1.0", "--xattrs"],
    "pax-selinux-acls": ["--format=pax", "--acls", "--xattrs"],
}
OLD = {"ustar": ["--format=ustar"], "v7": ["--format=v7"]}
BSD_FORMATS = ("gnutar", "pax", "rpax", "ustar", "v7")


def gnu_tar(tree: Path, archive: Path, arguments: list[str]) -> None:
    run = subprocess.run(["tar", *arguments, "-cf", archive, "-C", tree, "."], capture_output=True, check=False)
    assert archive.stat().st_size > 10240, run.stderr


def bsd_tar(tree: Path, archive: Path, form: str) -> None:
    run = subprocess.run(
        ["bsdtar", f"--format={form}", "-cf", archive, "-C", tree, "."], capture_output=True, check=False
    )
    assert archive.stat().st_size > 10240, run.stderr


@dataclass(frozen=True)
class Listed:
    """A member as any program sees it."""

    path: bytes
    type: MemberType
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int
    linkname: bytes


def ours(member: Member) -> Listed:
    path = member.path.rstrip(b"/")
    return Listed(path, member.type, member.mode, member.uid, member.gid, member.mtime, member.size, member.linkname)


_PYTHON_TYPES = {
    tarfile.REGTYPE: MemberType.FILE,
    tarfile.AREGTYPE: MemberType.FILE,
    tarfile.CONTTYPE: MemberType.FILE,
    tarfile.GNUTYPE_SPARSE: MemberType.FILE,
    tarfile.LNKTYPE: MemberType.HARDLINK,
    tarfile.SYMTYPE: MemberType.SYMLINK,
    tarfile.CHRTYPE: MemberType.CHAR,
    tarfile.BLKTYPE: MemberType.BLOCK,
    tarfile.DIRTYPE: MemberType.DIRECTORY,
    tarfile.FIFOTYPE: MemberType.FIFO,
}


def pythons(archive: Path) -> Iterator[tuple[Listed, bytes]]:
    with tarfile.open(archive, "r:", encoding="utf-8", errors="surrogateescape") as tar:
        for info in tar:
            file = tar.extractfile(info) if info.isreg() else None
            name, link = (text.encode("utf-8", "surrogateescape") for text in (info.name, info.linkname))
            kind = _PYTHON_TYPES[info.type]
            link = link if kind in (MemberType.HARDLINK, MemberType.SYMLINK) else b""
            size = info.size if kind is MemberType.FILE else 0
            listed = Listed(name, kind, info.mode & 0o7777, info.uid, info.gid, int(info.mtime // 1), size, link)
            yield listed, hashlib.sha256(file.read() if file else b"").digest()


def read(archive: Path) -> list[tuple[Listed, bytes, Member]]:
    result = []
    for member in TarReader(file_blocks(archive)):
        hasher = hashlib.sha256()
        chunks = member.chunks() if member.sparse is None else expand(member.sparse, member.size, member.chunks())
        for chunk in chunks:
            hasher.update(chunk)
        result.append((ours(member), hasher.digest(), member))
    return result


def check_recipe(archive: Path) -> None:
    """Take apart, encode, decode, rebuild: the same bytes."""
    bodies: dict[bytes, bytes] = {}

    class Body:
        def __init__(self) -> None:
            self.data = bytearray()

        def write(self, data: bytes) -> None:
            self.data += data

        def finish(self, sha256: bytes) -> None:
            bodies[sha256] = bytes(self.data)

    recipe = split(file_blocks(archive, 10_000), lambda member, size: Body())
    contents = sorted({piece for piece in recipe.pieces if isinstance(piece, Content)}, key=lambda one: one.sha256)
    encoded = encode(recipe.pieces, contents.index)
    again = decode(encoded, contents)
    assert again.tar_size == archive.stat().st_size
    wanted = archive.read_bytes()
    for pieces in (recipe.pieces, again):
        rebuilt = b"".join(rebuild(pieces, lambda content: (bodies[content.sha256],), recipe.diff_id))
        assert rebuilt == wanted


def check_all(archive: Path) -> list[Member]:
    found = read(archive)
    assert [(listed, digest) for listed, digest, _ in found] == list(pythons(archive))
    check_recipe(archive)
    return [member for _, _, member in found]


@pytest.mark.parametrize("arguments", GNU_ARGUMENTS.values(), ids=GNU_ARGUMENTS.keys())
def test_gnu_tar(tree: Path, tmp_path: Path, arguments: list[str]) -> None:
    gnu_tar(tree, tmp_path / "a.tar", arguments)
    members = {member.path: member for member in check_all(tmp_path / "a.tar")}
    assert len(members) >= 20
    assert b"./caf\xe9" in members
    assert b"./" + b"/".join((LONG, LONG, LONG, b"f" * 200)) in members
    assert (members[b"./sparse"].sparse is not None) is ("-S" in arguments)
    if "--xattrs" in arguments:
        assert members[b"./exact"].xattrs == ((b"user.colour", b"gr\xfcn\0"),)
        assert members[b"./bin/"].xattrs == ((b"user.of-a-directory", b"x" * 300),)
    if "--format=pax" in arguments:
        assert members[b"./empty"].mtime_ns == 1_500_000_000_123_456_789


@pytest.mark.parametrize("arguments", OLD.values(), ids=OLD.keys())
def test_gnu_tar_in_old_formats(tree: Path, tmp_path: Path, arguments: list[str]) -> None:
    """What does not fit is left out by tar itself; the rest must agree."""
    gnu_tar(tree, tmp_path / "a.tar", arguments)
    assert len(check_all(tmp_path / "a.tar")) >= 10


@pytest.mark.parametrize("form", BSD_FORMATS)
def test_bsdtar(tree: Path, tmp_path: Path, form: str) -> None:
    bsd_tar(tree, tmp_path / "a.tar", form)
    members = {member.path: member for member in check_all(tmp_path / "a.tar")}
    assert len(members) >= 10
    if form == "pax":
        assert members[b"./exact"].xattrs == ((b"user.colour", b"gr\xfcn\0"),)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_python(tree: Path, tmp_path: Path, form: int) -> None:
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w", format=form, errors="surrogateescape") as tar:
        for path in sorted(tree.rglob("*")):
            try:
                tar.add(path, str(path.relative_to(tree)), recursive=False)
            except ValueError:  # does not fit this format
                continue
    assert len(check_all(archive)) >= 10


@pytest.mark.parametrize("arguments", [GNU_ARGUMENTS["pax-sparse-1.0"], GNU_ARGUMENTS["oldgnu-sparse"]])
def test_listings_of_the_programs_themselves(tree: Path, tmp_path: Path, arguments: list[str]) -> None:
    """GNU tar's and libarchive's own listings of names and sizes."""
    archive = tmp_path / "a.tar"
    gnu_tar(tree, archive, arguments)
    members = [member for _, _, member in read(archive)]
    names = [member.path for member in members]
    listed = subprocess.run(["tar", "--quoting-style=literal", "-tf", archive], capture_output=True, check=True).stdout
    assert listed.splitlines() == names
    verbose = subprocess.run(
        ["tar", "--quoting-style=literal", "--numeric-owner", "-tvf", archive],
        capture_output=True,
        check=True,
        env={**os.environ, "LC_ALL": "C"},
    ).stdout.splitlines()
    for line, member in zip(verbose, members, strict=True):
        mode, owner, size = line.split()[:3]
        assert owner == b"%d/%d" % (member.uid, member.gid)
        assert member.type in (MemberType.CHAR, MemberType.BLOCK) or int(size) == member.size
        assert mode[:1] == _LETTERS[member.type]
    bsd = subprocess.run(["bsdtar", "-tf", archive], capture_output=True, check=False, env={"LC_ALL": "C.UTF-8"})
    assert [line for line in bsd.stdout.splitlines() if line.isascii() and b"\\" not in line] == [
        name for name in names if name.isascii()
    ]


_LETTERS = {
    MemberType.FILE: b"-",
    MemberType.HARDLINK: b"h",
    MemberType.SYMLINK: b"l",
    MemberType.CHAR: b"c",
    MemberType.BLOCK: b"b",
    MemberType.DIRECTORY: b"d",
    MemberType.FIFO: b"p",
}


def test_volume_padding_and_concatenation_come_back(tree: Path, tmp_path: Path) -> None:
    """Large records, and another archive behind the end: no members, but part of the bytes."""
    archive = tmp_path / "a.tar"
    gnu_tar(tree / "bin", archive, ["--format=gnu", "-b", "200"])
    members = len(read(archive))
    archive.write_bytes(archive.read_bytes() * 2 + b"tail")
    assert len(read(archive)) == members
    check_recipe(archive)
