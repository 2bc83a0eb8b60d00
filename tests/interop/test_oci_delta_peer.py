"""An oci-delta artifact of the server, copied by skopeo, applied by stock oci-delta where that is on the PATH.

No distribution packages it; what it does is done by support.oci_delta_applier in any case (tests/contract).
"""

from __future__ import annotations

import gzip
import io
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from smidgen_deltas.oci.layout import Layout
from smidgen_deltas.oci.model import Manifest
from support.oci_client import Repo
from support.oci_content import Json, digest_of
from support.oci_releases import POLICY, artifacts, push, tars
from support.server import ServerFactory

pytestmark = pytest.mark.needs("skopeo")


def test_an_artifact_travels_as_an_archive(server_factory: ServerFactory, tmp_path: Path) -> None:
    archive, old = tmp_path / "delta.tar", tmp_path / "old"
    site = server_factory(deltas=POLICY)
    with site.client() as client:
        repo = Repo(client, "team/app")
        push(site, repo, 0, 2)
        (listed,) = artifacts(repo, push(site, repo, 1, 2))
    source = f"docker://{site.host}/{repo.name}@{listed['digest']}"
    subprocess.run(["skopeo", "copy", "--src-tls-verify=false", source, f"oci-archive:{archive}"], check=True)
    layout = Layout.open(archive)
    document = layout.manifest(layout.resolve(None))
    assert isinstance(document, Manifest) and str(document.digest) == listed["digest"]
    assert all(layout.has_blob(one.digest) for one in (document.config, *document.layers))
    if stock := shutil.which("oci-delta"):
        for tar in tars(0, 2):
            with tarfile.open(fileobj=io.BytesIO(tar)) as layer:
                layer.extractall(old, filter="tar")
        subprocess.run([stock, "apply", "--directory", old, archive, tmp_path / "new.tar"], check=True)
        assert rebuilt(tmp_path / "new.tar") == [digest_of(tars(1, 2)[1])]


def rebuilt(archive: Path) -> list[str]:
    """diff_ids of the layers in an archive; those that the device has are left out by the applier."""
    with tarfile.open(archive) as files:
        blobs = {f"sha256:{Path(name).name}": files.extractfile(name) for name in files.getnames() if "256/" in name}
        bodies = {digest: found.read() for digest, found in blobs.items() if found is not None}
        index = files.extractfile("index.json")
        assert index is not None
        manifest: Json = json.loads(bodies[json.load(index)["manifests"][0]["digest"]])
    layers = [one["digest"] for one in manifest["layers"] if one["digest"] in bodies]
    return [digest_of(gzip.decompress(bodies[digest])) for digest in layers]
