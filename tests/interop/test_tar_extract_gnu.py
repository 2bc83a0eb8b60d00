"""Archives of GNU tar: extracted by us and by it, the trees are the same."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import click
import pytest

from smidgen_deltas.tar.entries import entries
from smidgen_deltas.tar.extract import extract
from smidgen_deltas.tar.member import Member
from smidgen_deltas.tar.recipe import Content, Splitter, decode, encode
from support.tars import file_blocks
from support.trees import look

pytestmark = pytest.mark.needs("tar", "root")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real package beside everything odd."""
    root = tmp_path_factory.mktemp("source")
    subprocess.run(["cp", "-a", Path(click.__file__).parent, root / "click"], check=True)
    (root / "file").write_bytes(b"x" * 10_000)
    os.link(root / "file", root / "click" / "link")
    os.chown(root / "file", 1000, 1001)
    (root / "file").chmod(0o6751)
    (root / "alias").symlink_to("file")
    os.chown(root / "alias", 5, 6, follow_symlinks=False)
    with open(root / "sparse", "wb") as file:
        file.truncate(8 << 20)
        os.pwrite(file.fileno(), b"middle", 5 << 20)
    with open(root / "hole", "wb") as file:
        file.truncate(1 << 20)
    os.mkfifo(root / "fifo", 0o600)
    os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.setxattr(root / "file", "user.a", b"b\0c")
    os.setxattr(root / "click", "user.dir", b"d")
    os.setxattr(root / "file", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
    os.setxattr(root / "alias", "trusted.link", b"t", follow_symlinks=False)
    (root / os.fsdecode(b"caf\xe9")).write_bytes(b"latin")
    (root / "locked").mkdir()
    (root / "locked" / "inside").write_bytes(b"y")
    (root / "locked").chmod(0o1500)
    os.utime(root / "locked", ns=(1_111_111_111_222_333_444,) * 2)
    return root


FORMATS = {
    "pax": ["--format=pax", "--xattrs", "--xattrs-include=*"],
    "pax, sparse": ["--format=pax", "-S", "--xattrs", "--xattrs-include=*"],
    "gnu, sparse": ["--format=gnu", "-S"],
}


class Kept:
    """A sink that keeps bodies in a directory."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.contents: list[Content] = []

    def __call__(self, member: Member, size: int) -> KeptBody:
        return KeptBody(self.base)

    def index_of(self, content: Content) -> int:
        self.contents.append(content)
        return len(self.contents) - 1


class KeptBody:
    def __init__(self, base: Path) -> None:
        self._base = base
        self._file = open(base / "incoming", "wb")  # noqa: SIM115 - closed by finish

    def write(self, data: bytes) -> None:
        self._file.write(data)

    def finish(self, sha256: bytes) -> None:
        self._file.close()
        (self._base / "incoming").rename(self._base / sha256.hex())


@pytest.mark.parametrize("arguments", FORMATS.values(), ids=FORMATS.keys())
def test_both_extract_the_same_tree(source: Path, tmp_path: Path, arguments: list[str]) -> None:
    archive = tmp_path / "a.tar"
    subprocess.run(["tar", *arguments, "-cf", archive, "-C", source, "."], check=True)
    theirs, ours, store = (tmp_path / name for name in ("theirs", "ours", "store"))
    for directory in (theirs, ours, store):
        directory.mkdir()
    options = ["-p", "--same-owner", "--numeric-owner", "--xattrs", "--xattrs-include=*"]
    subprocess.run(["tar", *options, "-xf", archive, "-C", theirs], check=True)

    sink = Kept(store)
    encoded = encode(Splitter(file_blocks(archive), sink), sink.index_of)
    recipe = decode(encoded, sink.contents)
    handle = os.open(ours, os.O_RDONLY | os.O_DIRECTORY)
    try:
        report = extract(handle, entries(recipe), lambda content: file_blocks(store / content.sha256.hex()))
    finally:
        os.close(handle)
    assert not report.skipped
    found, expected = look(ours), look(theirs)
    assert found == expected
    assert len(found) > 25
    if "-S" in arguments:
        assert (ours / "sparse").stat().st_blocks * 512 < 1 << 20
