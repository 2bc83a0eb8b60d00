"""podman and buildah against the registry, with a storage of their own."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.oci_client import Repo
from support.oci_content import INDEX, layer_tar
from support.server import RunningServer

pytestmark = pytest.mark.needs("podman")


class Engine:
    """podman (or buildah) with storage and credentials below `home`."""

    def __init__(self, server: RunningServer, home: Path) -> None:
        self.server, self.home = server, home
        (home / "auth.json").write_text("{}")
        self._storage = ["--root", str(home / "root"), "--runroot", str(home / "run"), "--storage-driver", "vfs"]
        self._environment = {**os.environ, "REGISTRY_AUTH_FILE": str(home / "auth.json"), "TMPDIR": str(home)}

    def run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [program, *self._storage, *arguments],
            capture_output=True,
            text=True,
            timeout=180,
            env=self._environment,
        )
        assert done.returncode == 0, f"{program} {arguments}: {done.stderr}"
        return done.stdout.strip()

    def podman(self, *arguments: str) -> str:
        return self.run("podman", *arguments)

    def at(self, name: str) -> str:
        return f"{self.server.host}/{name}"

    def login(self) -> None:
        self.podman("login", "--tls-verify=false", "-u", "ci", "-p", self.server.token, self.server.host)

    def import_image(self, name: str, content: bytes) -> str:
        """A one-layer image; its id."""
        layer = self.home / "layer.tar"
        layer.write_bytes(layer_tar({"etc/content": content}))
        return self.podman("import", "--quiet", str(layer), name).removeprefix("sha256:")

    def ids(self) -> set[str]:
        return {one.removeprefix("sha256:") for one in self.podman("images", "--quiet", "--no-trunc").split()}


@pytest.fixture
def engine(server: RunningServer) -> Iterator[Engine]:
    with made_engine(server) as engine:
        yield engine


@contextmanager
def made_engine(server: RunningServer) -> Iterator[Engine]:
    """In a directory with a short name: podman takes at most 50 characters."""
    with tempfile.TemporaryDirectory(prefix="podman-") as home:
        yield Engine(server, Path(home))


def test_login_push_remove_pull(engine: Engine) -> None:
    engine.login()
    name = engine.at("team/app:v1")
    image = engine.import_image(name, os.urandom(200_000))
    engine.podman("push", "--tls-verify=false", name)
    engine.podman("rmi", "--force", image)
    assert engine.ids() == set()
    engine.podman("pull", "--tls-verify=false", name)
    assert engine.ids() == {image}


def test_pull_without_login(engine: Engine) -> None:
    engine.login()
    name = engine.at("app:v1")
    image = engine.import_image(name, b"content")
    engine.podman("push", "--tls-verify=false", "--format", "v2s2", name)
    with made_engine(engine.server) as stranger:
        stranger.podman("pull", "--tls-verify=false", name)
        assert stranger.ids() == {image}


def test_manifest_list_of_two_images(engine: Engine) -> None:
    engine.login()
    engine.podman("manifest", "create", "both")
    for architecture in ("amd64", "arm64"):
        name = engine.at(f"multi:{architecture}")
        engine.import_image(name, architecture.encode())
        engine.podman("push", "--tls-verify=false", name)
        engine.podman("manifest", "add", "--tls-verify=false", "--arch", architecture, "both", f"docker://{name}")
    engine.podman("manifest", "push", "--tls-verify=false", "--all", "both", f"docker://{engine.at('multi:latest')}")
    with engine.server.client() as client:
        response = Repo(client, "multi").get("manifests/latest")
    assert response.headers["Content-Type"] in (INDEX, "application/vnd.docker.distribution.manifest.list.v2+json")
    found = {one["platform"]["architecture"] for one in response.json()["manifests"]}
    assert found == {"amd64", "arm64"}


@pytest.mark.needs("buildah")
def test_buildah_commits_into_the_registry(engine: Engine) -> None:
    engine.login()
    (engine.home / "file").write_bytes(b"built")
    container = engine.run("buildah", "from", "scratch")
    engine.run("buildah", "copy", container, str(engine.home / "file"), "/file")
    engine.run("buildah", "commit", "--tls-verify=false", container, f"docker://{engine.at('built:v1')}")
    shown = engine.run("buildah", "pull", "--tls-verify=false", engine.at("built:v1"))
    assert shown
    with engine.server.client() as client:
        config = Repo(client, "built").get("manifests/v1").json()["config"]["digest"]
        assert json.loads(Repo(client, "built").get(f"blobs/{config}").content)["os"] == "linux"
