"""Files written by the real programs, as distributions and container tools write them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from smidgen_deltas.engine.unpackers import registry, vectors
from smidgen_deltas.engine.unpackers.base import Budget
from smidgen_deltas.engine.unpackers.layer import analyze_gzip_layer, recompress_layer

PLAIN = vectors.plain(400_000)
BUDGET = Budget(output=1 << 24, seconds=60)


def run(*command: str | Path, stdin: bytes = b"") -> bytes:
    return subprocess.run(command, input=stdin, stdout=subprocess.PIPE, check=True).stdout


def check(name: str, packed: bytes) -> int:
    """Rebuilt exactly by the named unpacker; the recipe's size."""
    found = registry.unpack(packed, BUDGET)
    assert found is not None
    assert found.name == name
    assert b"".join(registry.repack(found.name, found.version, found.recipe, found.streams)) == packed
    return len(found.recipe)


@pytest.mark.needs("gzip")
@pytest.mark.parametrize("level", range(1, 10))
def test_gnu_gzip(level: int, tmp_path: Path) -> None:
    """A file and a pipe; one longer than the window's double, one shorter."""
    source = tmp_path / "source"
    source.write_bytes(PLAIN)
    assert check("gzip", run("gzip", f"-{level}", "-c", source)) < 50
    assert check("gzip", run("gzip", f"-{level}n", "-c", stdin=PLAIN[:50_000])) < 50
    noise = PLAIN[:50_000] + gzip.compress(PLAIN, mtime=0) + PLAIN[50_000:70_000]
    assert check("gzip", run("gzip", f"-{level}n", "-c", stdin=noise)) < 80


@pytest.mark.needs("xz")
@pytest.mark.parametrize(
    "options",
    [
        ("-0",),
        ("-3",),
        ("-6",),
        ("-9e",),
        ("-T2", "--block-size=100KiB", "--check=crc32", "--lzma2=dict=1MiB"),  # as Debian packs kernel modules
        ("--check=crc32", "--x86", "--lzma2=dict=32MiB"),  # as the kernel's build packs itself
        ("--check=sha256", "--delta=dist=4", "--lzma2=preset=5,lc=1,lp=2,pb=1"),
        ("--check=none", "--arm", "--lzma2=preset=4"),
    ],
)
def test_xz(options: tuple[str, ...]) -> None:
    assert check("xz", run("xz", "-c", *options, stdin=PLAIN)) < 30


@pytest.mark.needs("bzip2")
@pytest.mark.parametrize("level", [1, 5, 9])
def test_bzip2(level: int) -> None:
    assert check("bzip2", run("bzip2", f"-{level}", "-c", stdin=PLAIN)) < 10


@pytest.mark.needs("zstd")
@pytest.mark.parametrize(
    "options", [("-1",), ("-3",), ("-19", "-T2"), ("--ultra", "-22", "--no-check"), ("-9", "--long")]
)
def test_zstd(options: tuple[str, ...], tmp_path: Path) -> None:
    """The program's library is the system's: that one has an unpacker if its version is known."""
    source = tmp_path / "source"
    source.write_bytes(PLAIN)
    for packed in (run("zstd", "-q", "-c", *options, stdin=PLAIN), run("zstd", "-q", "-c", *options, source)):
        found = registry.unpack(packed, BUDGET)
        assert found is not None or b"1.5." not in run("zstd", "--version")
        if found:
            assert b"".join(registry.repack(found.name, found.version, found.recipe, found.streams)) == packed


@pytest.mark.needs("dpkg-deb", "cpio")
def test_packages_and_archives(tmp_path: Path) -> None:
    control = tmp_path / "package" / "DEBIAN"
    control.mkdir(parents=True)
    (control / "control").write_text("Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n")
    (tmp_path / "package" / "file").write_bytes(PLAIN)
    run("dpkg-deb", "--root-owner-group", "-b", tmp_path / "package", tmp_path / "x.deb")
    package = (tmp_path / "x.deb").read_bytes()
    node = registry.nested(package, BUDGET)
    assert node is not None
    assert sum(child is not None for child in node.children) == 2
    assert b"".join(registry.rebuild(node, node.leaves())) == package
    names = b"package\npackage/file\npackage/DEBIAN/control\n"
    made = subprocess.run(
        ["cpio", "-o", "-H", "newc", "--quiet"], cwd=tmp_path, input=names, capture_output=True, check=True
    )
    check("cpio", made.stdout)


def image(folder: Path, tar: bytes) -> None:
    """An OCI layout with one uncompressed layer, tagged "t"."""

    def put(data: bytes, media_type: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (folder / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        (folder / "blobs" / "sha256" / digest).write_bytes(data)
        return {"mediaType": f"application/vnd.oci.image.{media_type}", "digest": f"sha256:{digest}", "size": len(data)}

    layer = put(tar, "layer.v1.tar")
    rootfs = {"type": "layers", "diff_ids": [layer["digest"]]}
    config = put(json.dumps({"architecture": "amd64", "os": "linux", "rootfs": rootfs}).encode(), "config.v1+json")
    manifest: dict[str, object] = {"schemaVersion": 2, "config": config, "layers": [layer]}
    manifest["mediaType"] = "application/vnd.oci.image.manifest.v1+json"
    entry = put(json.dumps(manifest).encode(), "manifest.v1+json")
    entry["annotations"] = {"org.opencontainers.image.ref.name": "t"}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


@pytest.mark.needs("skopeo", "tar")
def test_layers_of_skopeo(tmp_path: Path) -> None:
    """skopeo, podman and buildah compress with the same library: gzip comes back, their zstd is not libzstd's."""
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "text").write_bytes(vectors.plain(1_500_000))
    shutil.copy("/bin/sh", tmp_path / "files" / "program")
    (tmp_path / "files" / "noise").write_bytes(gzip.compress(PLAIN))
    tar = run("tar", "-C", tmp_path / "files", "-c", ".")
    image(tmp_path / "oci", tar)
    command = ["skopeo", "--insecure-policy", "copy", "-q", "--dest-compress", "--dest-compress-format"]
    run(*command, "gzip", f"oci:{tmp_path}/oci:t", f"dir:{tmp_path}/gzip")
    layer = max((tmp_path / "gzip").iterdir(), key=lambda path: path.stat().st_size).read_bytes()
    recipe = analyze_gzip_layer(io.BytesIO(layer))
    assert recipe is not None
    assert len(recipe) < 100
    assert b"".join(recompress_layer(recipe, (tar,))) == layer
    run(*command, "zstd", f"oci:{tmp_path}/oci:t", f"dir:{tmp_path}/zstd")
    other = max((tmp_path / "zstd").iterdir(), key=lambda path: path.stat().st_size).read_bytes()
    assert analyze_gzip_layer(io.BytesIO(other)) is None
