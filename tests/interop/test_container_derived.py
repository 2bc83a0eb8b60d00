"""Images with layers on top of a commit: the tree is the one that stock libostree merges them to."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from smidgen_client.cli import run
from smidgen_deltas.errors import SmidgenError, UnsupportedFeature
from smidgen_deltas.oci.layout import Layout
from smidgen_deltas.ostree.container.folders import Folder, read_folder
from smidgen_deltas.ostree.container.layout import FINAL_LABEL, ContainerInvalid
from smidgen_deltas.ostree.objects import Commit, ObjectName, ObjectType
from smidgen_deltas.ostree.repo import Repository
from smidgen_deltas.ostree.walk import MAX_DEPTH, paths
from smidgen_deltas.tar.errors import UnsafePath
from support.forged_image import ForgedImage
from support.ostree import SECOND, ostree

OBJECT = "sysroot/ostree/repo/objects/aa/" + "b" * 62 + ".file"
TIME = 1_700_000_000
VAR = re.compile(r" /(usr/share/factory|var)(/|$)")  # before libostree 2024.3 the one was the place for the other


@dataclass(frozen=True)
class One:
    """A member. at: where stock tools have it in the commit: "" there too, None nowhere. link: its target, there."""

    path: str
    data: bytes = b""
    type: bytes = tarfile.REGTYPE
    mode: int = 0o644
    link: str = ""
    at: str | None = ""
    xattr: bytes = b""
    there: str = ""

    def member(self, path: str, link: str) -> tarfile.TarInfo:
        info = tarfile.TarInfo(path)
        info.type, info.mode, info.linkname, info.size, info.mtime = self.type, self.mode, link, len(self.data), TIME
        if self.xattr:
            info.pax_headers = {"SCHILY.xattr.user.note": self.xattr.decode()}
        return info


DIR, SYM, LNK, DEV = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE
LAYERS = (
    [
        One("usr/", type=DIR, mode=0o700),
        One("usr/bin/new", b"new program", mode=0o4755, xattr=b"added"),
        One("usr/bin/prog", b"replaced"),
        One("usr/bin/.wh.tool"),
        One("usr/many/.wh..wh..opq"),
        One("usr/many/only", b"one"),
        One("usr/d1", b"a file now"),
        One("usr/lib/tool-link", type=SYM, mode=0o777, link="../bin/new"),
        One("usr/share/deep/er/file", b"in folders that nobody named"),
        One("etc/", type=DIR, mode=0o755, at="usr/etc/"),
        One("etc/conf", b"other settings", at="usr/etc/conf"),
        One("etc/added", b"settings", mode=0o600, at="usr/etc/added"),
        One("etc/same", type=LNK, link="etc/added", at="usr/etc/same", there="usr/etc/added"),
        One("var/lib/state", b"first state"),
        One("run/", type=DIR, mode=0o755),
        One("run/gone", b"x", at=None),
        One("boot/loader", b"x", at=None),
        One(OBJECT, b"written to below", mode=0o755, at="usr/bin/first"),
        One("usr/bin/first", type=LNK, mode=0o755, link=OBJECT, at=None),
        One("usr/bin/second", type=LNK, mode=0o755, link=OBJECT, there="usr/bin/first"),
    ],
    [
        One("./usr/bin/.wh.new", at="usr/bin/.wh.new"),
        One("/usr/lib/big-1.1.dat", b"smaller", at="usr/lib/big-1.1.dat"),
        One("usr/lib/.wh.empty"),
        One("usr/share/.wh.deep"),
        One("usr/share/flat", b"instead"),
    ],
)


def tar(ones: Iterable[One], *, stock: bool) -> bytes:
    """A layer; or what libostree itself gets of it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for one in ones:
            if stock and one.at is None:
                continue
            path, link = (one.at or one.path, one.there or one.link) if stock else (one.path, one.link)
            archive.addfile(one.member(path, link), io.BytesIO(one.data))
    return out.getvalue()


def forge(base: Path, *layers: bytes) -> ForgedImage:
    """An image of the commit with layers on top."""
    image = ForgedImage(base)
    own = image.config["rootfs"]["diff_ids"][-1]
    image.config["created"] = "2023-11-14T22:13:20Z"
    image.forge([*image.tars, *layers], lambda config: config["config"]["Labels"].update({FINAL_LABEL: own}))
    return image


def merged_by_stock(folder: Path, archive: Path) -> Commit:
    """Every layer committed, all checked out over each other as root, and committed again."""
    peer, root = folder / "peer", folder / "root"
    ostree(peer, "init", "--mode=bare")
    ostree(peer, "pull-local", str(archive), SECOND.hex())
    ostree(peer, "checkout", SECOND.hex(), str(root))
    for number, ones in enumerate(LAYERS):
        file = folder / f"layer{number}.tar"
        file.write_bytes(tar(ones, stock=True))
        words = ("--no-bindings", "--tar-autocreate-parents", f"--tree=tar={file}")
        ostree(peer, "commit", f"--branch=layer{number}", "--owner-uid=0", "--owner-gid=0", *words)
        ostree(peer, "checkout", "--union", "--whiteouts", f"layer{number}", str(root))
    merged = ostree(peer, "commit", "-b", "merged", "-I", "--owner-uid=0", "--owner-gid=0", f"--tree=dir={root}")
    return commit_of(peer, merged.strip())


def commit_of(repo: Path, checksum: str) -> Commit:
    found = Repository.open(repo).metadata(ObjectName(ObjectType.COMMIT, bytes.fromhex(checksum)))
    return Commit.decode(found)


@pytest.mark.needs("ostree", "root")
def test_the_tree_is_the_one_that_stock_libostree_merges(tmp_path: Path) -> None:
    image = forge(tmp_path, *(tar(ones, stock=False) for ones in LAYERS))
    back = tmp_path / "mine"
    assert run(["container", "import", f"oci:{image.root}:bad", f"ostree:{back}@os"]) == 0
    ostree(back, "fsck")
    found = commit_of(back, ostree(back, "rev-parse", "os").strip())
    stock = merged_by_stock(tmp_path, tmp_path / "archive")
    listing = ostree(back, "ls", "-RX", "os", "/usr", "/var")
    assert listing == ostree(tmp_path / "peer", "ls", "-RX", "merged", "/usr", "/var")
    assert (found.root_tree, found.root_meta) == (stock.root_tree, stock.root_meta)
    assert (found.timestamp, found.parent) == (TIME, None)
    assert found.metadata["ostree.manifest-digest"].value == str(Layout.open(image.root).resolve("bad").digest)
    (left_out,) = found.metadata["ostree.tar-filtered"].value.values()
    assert left_out == {"run": 1, "boot": 1}
    assert Repository.open(back).has(ObjectName(ObjectType.COMMIT, SECOND))


@pytest.mark.needs("ostree", "root", "skopeo")
def test_the_same_image_is_the_same_commit_and_the_stock_tool_agrees(tmp_path: Path) -> None:
    image = forge(tmp_path, *(tar(ones, stock=False) for ones in LAYERS))
    first = image.read()
    assert image.read() == first
    if stock := shutil.which("ostree-ext-command"):
        ostree(tmp_path / "other", "init", "--mode=bare")
        pull = [stock, "container", "image", "pull", str(tmp_path / "other")]
        subprocess.run([*pull, f"ostree-unverified-image:oci:{image.root}:bad"], check=True)
        (ref,) = ostree(tmp_path / "other", "refs", "--list", "ostree/container/image").split()
        listings = ostree(tmp_path / "other", "ls", "-RX", ref, "/"), ostree(image.back.path, "ls", "-RX", "ref", "/")
        theirs, ours = ({line for line in found.splitlines() if not VAR.search(line)} for found in listings)
        assert theirs == ours


def test_a_folder_in_the_place_of_a_file(tmp_path: Path) -> None:
    """libostree does so since 2024; Debian's refuses the image."""
    image = forge(tmp_path, tar([One("usr/lib/empty/", type=DIR, mode=0o711), One("usr/lib/empty/x")], stock=False))
    image.read()
    repo = image.back.path
    assert "d00711 0 0      0 /usr/lib/empty\n" in ostree(repo, "ls", "-R", "ref", "/usr/lib/empty")


@pytest.mark.parametrize(
    ("one", "error"),
    [
        (One("usr/../../etc/passwd", b"x"), UnsafePath),
        (One("usr/bin/null", type=DEV), ContainerInvalid),
        (One("usr/pipe", type=tarfile.FIFOTYPE), ContainerInvalid),
        (One("usr/bin/x", type=LNK, link="usr/bin/not-here"), ContainerInvalid),
        (One("usr/bin/x", type=LNK, link="../../etc/passwd"), UnsafePath),
        (One("usr/.wh."), ContainerInvalid),
        (One("usr/.wh..."), ContainerInvalid),
        (One("usr/" + "a/" * 300 + "b"), UnsafePath),
        (One("etc/selinux/config", b"SELINUX=enforcing"), UnsupportedFeature),
    ],
    ids=lambda value: value.path[:24] if isinstance(value, One) else "",
)
def test_what_a_layer_cannot_have_is_refused(tmp_path: Path, one: One, error: type[SmidgenError]) -> None:
    image = forge(tmp_path, tar([One("usr/fine", b"x"), one], stock=False))
    with pytest.raises(error):
        image.read()
    image.assert_untouched()


def test_a_path_through_a_link_of_the_layer_is_refused(tmp_path: Path) -> None:
    """Else a name would say one place and mean another."""
    through = [One("usr/away", type=SYM, link="/etc"), One("usr/away/passwd", b"x")]
    image = forge(tmp_path, tar(through, stock=False))
    with pytest.raises(ContainerInvalid):
        image.read()
    image.assert_untouched()


def test_a_link_of_a_layer_below_gives_way_to_the_folder(tmp_path: Path) -> None:
    """What lies behind the link stays as it was; whiteouts of what is not there change nothing."""
    lower = [One("usr/away", type=SYM, link="/usr/share"), One("usr/.wh.nothing"), One("usr/no/.wh.where")]
    image = forge(tmp_path, tar(lower, stock=False), tar([One("usr/away/passwd", b"x")], stock=False))
    merged = image.read()
    tree = {path for path, _, _ in paths(image.back.repository.metadata, merged)}
    base = {path for path, _, _ in paths(image.back.repository.metadata, SECOND)}
    assert tree - base == {"usr/away", "usr/away/passwd", "usr/no"}
    assert not base - tree


def test_deep_trees_are_written() -> None:
    """A commit may be nested deeper than a path of a layer; neither ends in too deep a recursion."""
    stored: dict[ObjectName, bytes] = {}
    root = below = Folder()
    for _ in range(MAX_DEPTH):
        below = below.folders.setdefault("d", Folder())
    tree, meta = root.write(stored.__setitem__)
    assert read_folder(stored.__getitem__, tree, meta).write(stored.__setitem__) == (tree, meta)


def test_layers_damaged_below_their_digests_leave_nothing(tmp_path: Path) -> None:
    layer = tar(LAYERS[0], stock=False)
    image = forge(tmp_path, layer[:-10000])
    with pytest.raises(SmidgenError):
        image.read()
    image.assert_untouched()
