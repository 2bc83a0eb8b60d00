"""Making revisions out of folders and tars without any tool but Python: for the demo, and as input for stock tools."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import stat
import sys
import tarfile
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from smidgen_benchmarks.measure import sha256
from smidgen_deltas.digest import Digest
from smidgen_deltas.oci.layout_writer import LayoutWriter
from smidgen_deltas.oci.model import Descriptor
from smidgen_deltas.ostree.gvariant import Variant
from smidgen_deltas.ostree.objects import Commit, DirMeta, DirTree, FileHeader, ObjectName, ObjectType, checksum_file
from smidgen_deltas.ostree.repo_writer import RepositoryWriter, Transaction

MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
CREATED: Final = "2026-01-01T00:00:00Z"


def folder_to_tar(folder: Path, tar: Path) -> None:
    """A tar with sorted members, owned by root, times at zero: the same folder always gives the same bytes."""
    with tarfile.open(tar, "w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(folder.rglob("*")):
            archive.add(path, str(path.relative_to(folder)), recursive=False, filter=_plain)


def commit_folder(folder: Path, repo: Path, ref: str, subject: str) -> bytes:
    """Commit a folder to a bare-user repository, everything owned by root; returns the commit's raw checksum."""
    writer = RepositoryWriter.open_or_create(repo, "bare-user")
    with writer.transaction() as transaction:
        root = _commit_directory(folder, transaction)
        commit = Commit(
            metadata={"ostree.ref-binding": Variant("as", (ref,))},
            parent=None,
            related=(),
            subject=subject,
            body="",
            timestamp=int(datetime.fromisoformat(CREATED).timestamp()),
            root_tree=root[0],
            root_meta=root[1],
        )
        name = _put(ObjectType.COMMIT, commit.encode(), transaction)
        transaction.set_ref(ref, name)
        transaction.commit()
    return name


def _commit_directory(folder: Path, transaction: Transaction) -> tuple[bytes, bytes]:
    """Raw checksums of the dirtree and dirmeta of a folder."""
    files, dirs = [], []
    for entry in sorted(folder.iterdir(), key=lambda path: os.fsencode(path.name)):
        if entry.is_dir() and not entry.is_symlink():
            dirs.append((entry.name, *_commit_directory(entry, transaction)))
        else:
            files.append((entry.name, _commit_file(entry, transaction)))
    meta = DirMeta(0, 0, stat.S_IFDIR | 0o755)
    tree = _put(ObjectType.DIRTREE, DirTree(tuple(files), tuple(dirs)).encode(), transaction)
    return tree, _put(ObjectType.DIRMETA, meta.encode(), transaction)


def _commit_file(path: Path, transaction: Transaction) -> bytes:
    if path.is_symlink():
        header = FileHeader(0, 0, stat.S_IFLNK | 0o777, (), str(path.readlink()))
        body = b""
    else:
        header = FileHeader(0, 0, stat.S_IFREG | path.stat().st_mode & 0o755)
        body = path.read_bytes()
    checksum = checksum_file(header, [body])
    if not transaction.has(ObjectName(ObjectType.FILE, checksum)):
        transaction.put_file(checksum, header, len(body), [body])
    return checksum


def _put(kind: ObjectType, data: bytes, transaction: Transaction) -> bytes:
    checksum = hashlib.sha256(data).digest()
    transaction.put_metadata(ObjectName(kind, checksum), data)
    return checksum


def image_of_folder(folder: Path, layout: Path, tag: str, scratch: Path) -> None:
    """An image whose one gzip layer is the folder, tagged in an OCI layout."""
    tar, packed = scratch / "layer.tar", scratch / "layer.tar.gz"
    folder_to_tar(folder, tar)
    with tar.open("rb") as source, packed.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as target:
        shutil.copyfileobj(source, target, 1 << 20)
    writer = LayoutWriter.open_or_create(layout)
    layer = Digest("sha256", sha256(packed))
    with packed.open("rb") as source:
        writer.put_blob(layer, iter(lambda: source.read(1 << 20), b""))
    config = _dump(_config(sha256(tar)))
    manifest = _dump(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _descriptor("application/vnd.oci.image.config.v1+json", writer.put_bytes(config), len(config)),
            "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar+gzip", layer, packed.stat().st_size)],
        }
    )
    writer.set_ref(tag, Descriptor(MANIFEST, writer.put_bytes(manifest), len(manifest), annotations={}))
    tar.unlink()
    packed.unlink()


def _descriptor(media_type: str, digest: Digest, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": str(digest), "size": size}


def _dump(document: dict[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _config(diff_id: str) -> dict[str, Any]:
    return {
        "architecture": "amd64",
        "os": "linux",
        "created": CREATED,
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff_id}"]},
        "history": [{"created": CREATED, "created_by": "smidgen bench"}],
    }


def docker_archive(layer: Path, archive: Path) -> None:
    """An image with `layer` as its only layer, in the form that `docker save` writes and skopeo reads."""
    digest = sha256(layer)
    config = _dump(_config(digest))
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": name, "RepoTags": None, "Layers": [f"{digest}.tar"]}]).encode()
    with tarfile.open(archive, "w", format=tarfile.USTAR_FORMAT if layer.stat().st_size < 1 << 33 else None) as out:
        out.add(layer, f"{digest}.tar", filter=_plain)
        for entry, body in ((name, config), ("manifest.json", manifest)):
            info = tarfile.TarInfo(entry)
            info.size = len(body)
            out.addfile(info, io.BytesIO(body))


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """`info` without what depends on who unpacked the file, when, and with which umask."""
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    if not info.issym():
        info.mode = 0o755 if info.mode & 0o100 else 0o644
    return info


if __name__ == "__main__":
    docker_archive(Path(sys.argv[2]), Path(sys.argv[3]))
