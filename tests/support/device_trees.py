"""Small revisions for tests of the client: commits and images made in memory, without any tool."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import stat
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass

from smidgen_deltas.digest import Digest
from smidgen_deltas.native.tree import ContentRef, Document, FileEntry, LayerEntry, OciTree, OstreeTree
from smidgen_deltas.oci.media import OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST
from smidgen_deltas.ostree.objects import Commit, DirMeta, DirTree, FileHeader, checksum_file
from smidgen_deltas.tar.recipe import encode, split

Files = Mapping[str, bytes]


def noise(seed: str, size: int) -> bytes:
    """Incompressible bytes, always the same for the same seed."""
    return random.Random(seed).randbytes(size)


def some_files(count: int, version: int = 1, *, size: int = 3000, changed: int = 10) -> dict[str, bytes]:
    """`count` files in a few folders; every `changed`-th differs between versions. Plus a large one of 9 MB."""
    files = {}
    for number in range(count):
        tag = version if number % changed == 0 else 1
        files[f"usr/lib/part{number % 7}/file{number:04}"] = noise(f"{number}-{tag}", 500 + (number * 37) % size)
    files["usr/bin/empty"] = b""
    return files


@dataclass(frozen=True, slots=True)
class Made:
    """A tree document and the bodies of its contents by sha256."""

    tree: OstreeTree | OciTree
    bodies: Mapping[bytes, bytes]


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def make_commit(files: Files, subject: str = "made for a test", *, uid: int = 0) -> Made:
    """A commit of regular files (and one symlink), owned by `uid`."""
    builder = _Commit(uid)
    root = builder.folder(_nested(files))
    metas = DirMeta(uid, uid, stat.S_IFDIR | 0o755).encode()
    commit = Commit({}, None, (), subject, "", 1_700_000_000, root, sha(metas)).encode()
    builder.dirtrees.reverse()
    tree = OstreeTree(
        commit=commit,
        commitmeta=None,
        dirtrees=tuple(dict.fromkeys(builder.dirtrees)),
        dirmetas=(metas,),
        headers=tuple(builder.headers),
        files=tuple(builder.files.values()),
        contents=tuple(ContentRef(digest, len(body)) for digest, body in builder.bodies.items()),
    )
    return Made(tree, builder.bodies)


def _nested(files: Files) -> dict[str, object]:
    root: dict[str, object] = {}
    for path, body in files.items():
        *folders, name = path.split("/")
        at = root
        for folder in folders:
            at = at.setdefault(folder, {})  # type: ignore[assignment]
        at[name] = body
    return root


class _Commit:
    def __init__(self, uid: int) -> None:
        self.headers: list[bytes] = []
        self.files: dict[bytes, FileEntry] = {}
        self.bodies: dict[bytes, bytes] = {}
        self.dirtrees: list[bytes] = []
        self._meta = sha(DirMeta(uid, uid, stat.S_IFDIR | 0o755).encode())
        self._uid = uid

    def folder(self, entries: dict[str, object]) -> bytes:
        files, folders = [], []
        for name, found in sorted(entries.items(), key=lambda one: one[0].encode()):
            if isinstance(found, dict):
                folders.append((name, self.folder(found), self._meta))
            elif isinstance(found, bytes):
                files.append((name, self._file(found)))
        body = DirTree(tuple(files), tuple(folders)).encode()
        self.dirtrees.append(body)
        return sha(body)

    def _file(self, body: bytes) -> bytes:
        link = body.startswith(b"->")
        mode = stat.S_IFLNK | 0o777 if link else stat.S_IFREG | 0o644
        header = FileHeader(self._uid, self._uid, mode, (), body[2:].decode() if link else "")
        encoded = header.encode()
        if encoded not in self.headers:
            self.headers.append(encoded)
        content = -1
        if body and not link:
            self.bodies.setdefault(sha(body), body)
            content = list(self.bodies).index(sha(body))
        checksum = checksum_file(header, () if link else (body,))
        self.files[checksum] = FileEntry(checksum, self.headers.index(encoded), content)
        return checksum


def make_layer(files: Files) -> bytes:
    """A tar of regular files and symlinks, always the same for the same files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, body in files.items():
            info = tarfile.TarInfo(path)
            info.mode = 0o644
            if body.startswith(b"->"):
                info.type, info.linkname = tarfile.SYMTYPE, body[2:].decode()
                archive.addfile(info)
                continue
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return out.getvalue()


@dataclass(frozen=True, slots=True)
class Image(Made):
    """blobs: compressed layers by digest, to be served whole."""

    blobs: Mapping[Digest, bytes]
    config: Digest


def make_image(*layers: Files, level: int = 6) -> Image:
    """An image with gzip layers; `layers` from the lowest up."""
    tars = [make_layer(files) for files in layers]
    stored = [gzip.compress(tar, level, mtime=0) for tar in tars]
    bodies: dict[bytes, bytes] = {}
    diff_ids = [str(Digest.of(tar)) for tar in tars]
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}, "config": {}}
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": str(Digest.of(config)), "size": len(config)},
            "layers": [
                {"mediaType": OCI_LAYER_GZIP, "digest": str(Digest.of(blob)), "size": len(blob)} for blob in stored
            ],
        }
    ).encode()
    recipes = [split([tar], _Collector(bodies)) for tar in tars]
    order = list(bodies)
    entries = tuple(
        LayerEntry(
            media_type=OCI_LAYER_GZIP,
            digest=Digest.of(blob),
            size=len(blob),
            diff_id=recipe.diff_id,
            tar_size=recipe.tar_size,
            recipe=encode(recipe.pieces, lambda content: order.index(content.sha256)),
            recompress=b"",
        )
        for blob, recipe in zip(stored, recipes, strict=True)
    )
    tree = OciTree(
        manifests=(Document(OCI_MANIFEST, Digest.of(manifest), manifest),),
        blobs=(Document(OCI_CONFIG, Digest.of(config), config),),
        layers=entries,
        opaque=(),
        contents=tuple(ContentRef(digest, len(body)) for digest, body in bodies.items()),
    )
    return Image(tree, bodies, {Digest.of(blob): blob for blob in stored}, Digest.of(config))


class _Collector:
    """A tar sink that keeps every content."""

    def __init__(self, bodies: dict[bytes, bytes]) -> None:
        self._bodies = bodies

    def __call__(self, member: object, size: int) -> _Writer:
        return _Writer(self._bodies)


class _Writer:
    def __init__(self, bodies: dict[bytes, bytes]) -> None:
        self._bodies = bodies
        self._data = bytearray()

    def write(self, data: bytes, /) -> None:
        self._data += data

    def finish(self, sha256: bytes, /) -> None:
        self._bodies[sha256] = bytes(self._data)
