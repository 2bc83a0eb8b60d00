"""Making revisions out of folders and tars without any tool but Python: for the demo, and as input for stock tools."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path
from typing import Final

from smidgen_benchmarks.measure import sha256

CREATED: Final = "2026-01-01T00:00:00Z"


def folder_to_tar(folder: Path, tar: Path) -> None:
    """A tar with sorted members, owned by root, times at zero: the same folder always gives the same bytes."""
    with tarfile.open(tar, "w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(folder.rglob("*")):
            archive.add(path, str(path.relative_to(folder)), recursive=False, filter=_plain)


def docker_archive(layer: Path, archive: Path) -> None:
    """An image with `layer` as its only layer, in the form that `docker save` writes and skopeo reads."""
    digest = sha256(layer)
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": CREATED,
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
            "history": [{"created": CREATED, "created_by": "smidgen bench"}],
        }
    ).encode()
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": name, "RepoTags": None, "Layers": [f"{digest}.tar"]}]).encode()
    with tarfile.open(archive, "w", format=tarfile.USTAR_FORMAT if layer.stat().st_size < 1 << 33 else None) as out:
        out.add(layer, f"{digest}.tar", filter=_plain)
        for entry, body in ((name, config), ("manifest.json", manifest)):
            info = tarfile.TarInfo(entry)
            info.size = len(body)
            out.addfile(info, io.BytesIO(body))


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    return info


if __name__ == "__main__":
    docker_archive(Path(sys.argv[2]), Path(sys.argv[3]))
