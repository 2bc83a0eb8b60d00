"""Images of a toy program, one version after the other, pushed to a server that makes tar-diffs between them."""

from __future__ import annotations

import gzip
import json
import random
from typing import Literal

from smidgen_deltas import zstd
from smidgen_server.index import deltas
from support.oci_client import Repo
from support.oci_content import CONFIG, LAYER, Content, Document, Json, digest_of, layer_tar
from support.releases import settled
from support.server import RunningServer

POLICY = {"formats": ["tardiff"], "from_last": 2}
_CHANCE = random.Random(5)
PROGRAM, LIBRARY = _CHANCE.randbytes(60_000), _CHANCE.randbytes(40_000)


def tars(version: int, layers: int) -> list[bytes]:
    """Layers of a version: the last one changes; of two, the first stays."""
    changed = bytearray(PROGRAM)
    changed[100 * version : 100 * version + 50] = bytes(50)
    top = layer_tar({"bin/program": bytes(changed), "share/version": b"%d" % version})
    return [layer_tar({"lib/library": LIBRARY}), top][-layers:]


def add_image(
    content: Content, made: list[bytes], architecture: str = "amd64", pack: Literal["+gzip", "+zstd"] = "+gzip"
) -> Document:
    packed = [zstd.compress(one, 19) if pack == "+zstd" else gzip.compress(one, mtime=0) for one in made]
    described = [content.blob(one, LAYER + pack) for one in packed]
    config = {
        "architecture": architecture,
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [digest_of(one) for one in made]},
    }
    return content.manifest(content.blob(json.dumps(config).encode(), CONFIG), described)


def config_of(document: Document) -> str:
    found: str = json.loads(document.body)["config"]["digest"]
    return found


def push(site: RunningServer, repo: Repo, version: int, layers: int) -> Document:
    """Push a version, and wait for all that the server makes of it."""
    content = Content()
    document = add_image(content, tars(version, layers))
    repo.push(content.tag("latest"))
    settle(site, repo)
    return document


def settle(site: RunningServer, repo: Repo) -> list[deltas.DeltaRow]:
    """All deltas, once there is nothing more to do."""
    for task in repo.client.get("/api/v1/tasks").raise_for_status().json()["tasks"]:
        assert site.services.tasks.wait(task["id"]).state == "done"
    return settled(site.services)


def artifacts(repo: Repo, document: Document) -> list[Json]:
    """Referrers of an image, as the registry lists them."""
    found: list[Json] = repo.get(f"referrers/{document.digest}").raise_for_status().json()["manifests"]
    return found
