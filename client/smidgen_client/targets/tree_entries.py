"""The paths of a revision, as one list, whether it came as commit or as image."""

from __future__ import annotations

import platform
import stat
from collections.abc import Iterator
from typing import Final

from smidgen_client.targets.image import Image, check_image
from smidgen_client.targets.ostree import check_tree
from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import NotFound, UnsupportedFeature
from smidgen_deltas.native.tree import OciTree, OstreeTree
from smidgen_deltas.oci.model import Index, Manifest
from smidgen_deltas.ostree.objects import DirMeta, FileHeader, ObjectName, ObjectType, Xattrs
from smidgen_deltas.ostree.walk import paths
from smidgen_deltas.tar.entries import Entry, entries
from smidgen_deltas.tar.member import MemberType
from smidgen_deltas.tar.merge import merge
from smidgen_deltas.tar.pieces import Content
from smidgen_deltas.tar.recipe import EncodedRecipe

MAX_DEPTH: Final = 4
_MACHINES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386", "riscv64": "riscv64"}


def entries_of(tree: OstreeTree | OciTree, revision: Digest) -> list[Entry]:
    """Every path of the revision, parents first.

    Raises DigestMismatch, ImageIncomplete, TreeIncomplete: the document contradicts itself; UnsafePath and relatives:
    the layers name paths outside; UnsupportedFeature: a layer is not known file by file.
    """
    if isinstance(tree, OstreeTree):
        check_tree(tree, revision.raw)
        return list(_of_commit(tree, revision.raw))
    image = check_image(tree, revision)
    manifest = this_platform(image)
    layers = []
    for one in manifest.layers:
        layer = image.layers.get(one.digest)
        if layer is None:
            raise UnsupportedFeature("a layer of the image is not known file by file", digest=str(one.digest))
        layers.append(entries(EncodedRecipe(layer.recipe, tree.contents)))
    return list(merge(layers).entries())


def this_platform(image: Image) -> Manifest:
    """The image itself, or the one of an index that fits this machine. Raises NotFound."""
    machine = _MACHINES.get(platform.machine(), platform.machine())
    found = _choose(image, image.manifests[image.root], machine, MAX_DEPTH)
    if found is None:
        raise NotFound("the image has no variant for this machine", machine=machine)
    return found


def _choose(image: Image, manifest: Manifest | Index, machine: str, depth: int) -> Manifest | None:
    if isinstance(manifest, Manifest):
        return manifest
    fitting = [
        one
        for one in manifest.manifests
        if one.digest in image.manifests
        and (one.platform is None or (one.platform.os, one.platform.architecture) == ("linux", machine))
    ]
    for one in sorted(fitting, key=lambda one: one.platform is None) if depth else ():
        if (found := _choose(image, image.manifests[one.digest], machine, depth - 1)) is not None:
            return found
    return None


def _of_commit(tree: OstreeTree, commit: bytes) -> Iterator[Entry]:
    known = {ObjectName(ObjectType.COMMIT, commit): tree.commit}
    known |= {ObjectName(ObjectType.DIRTREE, Digest.of(body).raw): body for body in tree.dirtrees}
    metas = {Digest.of(body).raw: DirMeta.decode(body) for body in tree.dirmetas}
    headers = [FileHeader.decode(header) for header in tree.headers]
    files = {entry.checksum: entry for entry in tree.files}
    for path, name, meta in paths(known.__getitem__, commit):
        if meta is not None:
            found = metas[meta]
            yield _entry(path, MemberType.DIRECTORY, found.mode, found.uid, found.gid, found.xattrs)
            continue
        entry = files[name.checksum]
        header = headers[entry.header]
        if header.is_symlink:
            yield _entry(path, MemberType.SYMLINK, 0o777, header.uid, header.gid, header.xattrs, target=header.target)
            continue
        content = None
        if entry.content >= 0:
            ref = tree.contents[entry.content]
            content = Content(ref.size, ref.sha256)
        yield _entry(path, MemberType.FILE, header.mode, header.uid, header.gid, header.xattrs, content=content)


def _entry(
    path: str,
    kind: MemberType,
    mode: int,
    uid: int,
    gid: int,
    xattrs: Xattrs,
    *,
    target: str = "",
    content: Content | None = None,
) -> Entry:
    return Entry(
        path=path.encode("utf-8", "surrogateescape"),
        type=kind,
        mode=stat.S_IMODE(mode),
        uid=uid,
        gid=gid,
        mtime_ns=0,
        xattrs=tuple((name.rstrip(b"\0"), value) for name, value in xattrs),
        linkname=target.encode("utf-8", "surrogateescape"),
        size=content.size if content else 0,
        content=content,
    )
