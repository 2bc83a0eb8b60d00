"""`smidgen delta` between folders: what was in the new one is in the result, with all that a file has besides bytes."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from smidgen_client.deltas.folders import FolderFiles, tar_blocks
from smidgen_client.deltas.inputs import open_input
from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import NotFound, StorageError
from smidgen_deltas.native.tree import ContentRef
from support.delta_desk import Desk
from support.device_trees import noise

Facts = tuple[int, int, object]


@pytest.fixture
def desk(capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(capsys)


def fill(folder: Path, version: int) -> Path:
    body = noise("library", 50_000)
    (folder / "usr/lib").mkdir(parents=True)
    (folder / f"usr/lib/lib-1.{version}.so").write_bytes(body[:20_000] + b"%d" % version + body[20_000:])
    (folder / "usr/lib/tool").write_bytes(noise("tool", 9_000))
    (folder / "usr/lib/tool").chmod(0o750)
    os.link(folder / "usr/lib/tool", folder / "usr/again")
    (folder / "usr/link").symlink_to("lib/../../outside")
    (folder / "usr/empty").touch()
    (folder / os.fsdecode(b"usr/na\xefve")).write_bytes(b"a name that is no text\n")
    os.setxattr(folder / "usr/empty", "user.note", b"\x00\xff%d" % version)
    os.utime(folder / "usr/empty", ns=(5, 1_700_000_000_123_456_789))
    (folder / "usr").chmod(0o711)
    return folder


def snapshot(folder: Path) -> dict[str, Facts]:
    found = {}
    for path in sorted(folder.rglob("*")):
        facts = path.lstat()
        content: object = path.readlink() if path.is_symlink() else path.is_file() and path.read_bytes()
        names = os.listxattr(path, follow_symlinks=False)
        notes = {name: os.getxattr(path, name, follow_symlinks=False) for name in names}
        found[str(path.relative_to(folder))] = (facts.st_mode, facts.st_mtime_ns, (content, notes, facts.st_nlink))
    return found


def test_a_folder_comes_back_as_it_was(desk: Desk, tmp_path: Path) -> None:
    old, new = fill(tmp_path / "old", 1), fill(tmp_path / "new", 2)
    delta, out = tmp_path / "delta", tmp_path / "out"
    made = desk.facts("make", old, new, "-o", delta)
    assert made["size"] < 3_000
    desk.facts("apply", delta, "--from", old, "-o", out)
    assert snapshot(out) == snapshot(new)
    again = tmp_path / "again"
    desk.facts("make", old, new, "-o", again)
    assert again.read_bytes() == delta.read_bytes()


def test_how_each_file_comes_is_listed(desk: Desk, tmp_path: Path) -> None:
    old, new = fill(tmp_path / "old", 1), fill(tmp_path / "new", 2)
    files = {one["path"]: one for one in desk.facts("make", old, new, "-o", tmp_path / "delta", "--list")["files"]}
    library = files["usr/lib/lib-1.2.so"]
    assert "usr/lib/lib-1.1.so" in library["source"] and library["weight"] < 1000 and library["why"]
    shown = desk.type_in("make", old, new, "-o", tmp_path / "delta", "--list")[1]
    assert f"{library['path']}  {library['source']}  {library['why']}" in shown


def test_nothing_is_written_where_something_is(desk: Desk, tmp_path: Path) -> None:
    old, new = fill(tmp_path / "old", 1), fill(tmp_path / "new", 2)
    delta = tmp_path / "delta"
    desk.facts("make", old, new, "-o", delta)
    (tmp_path / "link").symlink_to("nowhere")
    before = snapshot(tmp_path)
    for out in (new, delta, tmp_path / "link"):
        assert desk.type_in("apply", delta, "--from", old, "-o", out)[0] == 2
    assert desk.type_in("apply", delta, "--from", new / "usr", "-o", tmp_path / "out")[0] == 30
    assert snapshot(tmp_path) == before


def test_the_tar_of_a_folder_has_all_of_it_in_order(tmp_path: Path) -> None:
    folder = fill(tmp_path / "folder", 1)
    os.mkfifo(folder / "usr/pipe")
    data = b"".join(tar_blocks(folder))
    assert len(data) % tarfile.RECORDSIZE == 0
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = tar.getmembers()
        assert tar.pax_headers == {"comment": "smidgen folder 1"}
        body = tar.extractfile("./usr/lib/tool")
        assert body is not None and body.read() == (folder / "usr/lib/tool").read_bytes()
    names = [member.name.removeprefix("./") for member in members]
    assert names[:4] == [".", "usr", "usr/again", "usr/empty"]
    assert names[4:] == ["usr/lib", "usr/lib/lib-1.1.so", "usr/lib/tool", "usr/link", "usr/na\udcefve", "usr/pipe"]
    kinds = dict(zip(names, members, strict=True))
    assert kinds["usr/lib/tool"].linkname == "./usr/again" and kinds["usr/lib/tool"].islnk()
    assert kinds["usr/link"].linkname == "lib/../../outside"
    assert kinds["usr/pipe"].isfifo()


def test_contents_are_read_where_they_lie(tmp_path: Path) -> None:
    folder = fill(tmp_path / "folder", 1)
    with open_input(folder) as side:
        found = {Digest.of(side.contents.open(one)).raw for one in side.tree.contents}
        assert found == {one.sha256 for one in side.tree.contents}
        assert {Digest.of(b"".join(side.contents.blocks(one))).raw for one in side.tree.contents} == found


def _truncate(path: Path) -> None:
    os.truncate(path, 8_999)


def _touch(path: Path) -> None:
    os.utime(path, ns=(5, 5))


def _link(path: Path) -> None:
    path.rename(path.with_name("other"))
    path.symlink_to("other")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("change", [_truncate, _touch, _link, _pipe, Path.unlink])
def test_files_that_change_meanwhile_are_refused(tmp_path: Path, change: Callable[[Path], object]) -> None:
    folder = fill(tmp_path / "folder", 1)
    tool = folder / "usr/lib/tool"
    ref = ContentRef(Digest.of(tool.read_bytes()).raw, tool.stat().st_size)
    (folder / "usr/again").unlink()
    with open_input(folder) as side:
        change(tool)
        for read in (side.contents.open, lambda one: b"".join(side.contents.blocks(one))):
            with pytest.raises(StorageError):
                read(ref)


def test_a_content_of_no_file_is_not_there(tmp_path: Path) -> None:
    files = FolderFiles(tmp_path, {})
    assert not files.has(bytes(32))
    with pytest.raises(NotFound):
        files.open(ContentRef(bytes(32), 1))
