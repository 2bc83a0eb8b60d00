"""skopeo against the registry: login, push, pull, list, inspect, copy, delete."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.oci_client import Repo
from support.oci_content import DOCKER_MANIFEST, INDEX, MANIFEST, Content
from support.oci_files import read_layout, write_layout
from support.server import RunningServer

pytestmark = pytest.mark.needs("skopeo")


class Skopeo:
    """The program, with the server it talks to. `login` keeps its credentials in `home`."""

    def __init__(self, server: RunningServer, home: Path) -> None:
        self.server, self.home = server, home
        policy = home / "policy.json"
        policy.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
        self._command = ["skopeo", "--policy", str(policy)]
        self._authfile = f"--authfile={home / 'auth.json'}"

    def run(self, command: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*self._command, command, self._authfile, *arguments], capture_output=True, text=True, timeout=120
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    def login(self) -> None:
        user = ["--username", "ci", "--password", self.server.token]
        done = self.run("login", "--tls-verify=false", *user, self.server.host)
        assert "Login Succeeded" in done.stdout

    def at(self, name: str) -> str:
        return f"docker://{self.server.host}/{name}"

    def copy(self, source: str, target: str, *options: str, **kwargs: Any) -> subprocess.CompletedProcess[str]:
        return self.run("copy", "--src-tls-verify=false", "--dest-tls-verify=false", *options, source, target, **kwargs)


@pytest.fixture
def skopeo(server: RunningServer, tmp_path: Path) -> Skopeo:
    home = tmp_path / "home"
    home.mkdir()
    return Skopeo(server, home)


@pytest.fixture
def logged_in(skopeo: Skopeo) -> Skopeo:
    skopeo.login()
    return skopeo


def image(tag: str = "v1") -> Content:
    content = Content()
    content.image(layers=3)
    return content.tag(tag)


def test_push_and_pull_give_the_same_bytes(logged_in: Skopeo, tmp_path: Path) -> None:
    content = image()
    write_layout(content, tmp_path / "in")
    logged_in.copy(f"oci:{tmp_path}/in:v1", logged_in.at("team/app:v1"))
    logged_in.copy(logged_in.at("team/app:v1"), f"oci:{tmp_path}/out:v1")
    assert read_layout(tmp_path / "out") == read_layout(tmp_path / "in")
    shown = logged_in.run("inspect", "--tls-verify=false", logged_in.at("team/app:v1"))
    assert json.loads(shown.stdout)["Digest"] == content.documents[0].digest
    raw = logged_in.run("inspect", "--raw", "--tls-verify=false", logged_in.at("team/app:v1"))
    assert raw.stdout.encode() == content.documents[0].body


def test_anyone_pulls_nobody_pushes(skopeo: Skopeo, tmp_path: Path) -> None:
    content = image()
    write_layout(content, tmp_path / "in")
    refused = skopeo.copy(f"oci:{tmp_path}/in:v1", skopeo.at("app:v1"), check=False)
    assert refused.returncode != 0
    assert "unauthorized" in refused.stderr.lower() or "authentication required" in refused.stderr.lower()
    with skopeo.server.client() as client:
        Repo(client, "app").push(content)
    skopeo.copy(skopeo.at("app:v1"), f"oci:{tmp_path}/out:v1")
    assert read_layout(tmp_path / "out") == read_layout(tmp_path / "in")


def test_wrong_password_cannot_log_in(skopeo: Skopeo) -> None:
    user = ["--username", "ci", "--password", "wrong"]
    done = skopeo.run("login", "--tls-verify=false", *user, skopeo.server.host, check=False)
    assert done.returncode != 0
    assert "invalid username/password" in done.stderr


def test_private_repository_needs_the_login(logged_in: Skopeo, tmp_path: Path) -> None:
    write_layout(image(), tmp_path / "in")
    logged_in.copy(f"oci:{tmp_path}/in:v1", logged_in.at("secret:v1"))
    with logged_in.server.client() as client:
        assert client.put("/api/v1/repos/oci/secret", json={"public": False}).status_code == 204
    logged_in.copy(logged_in.at("secret:v1"), f"oci:{tmp_path}/out:v1")
    logged_in.run("logout", logged_in.server.host)
    assert logged_in.copy(logged_in.at("secret:v1"), f"oci:{tmp_path}/no:v1", check=False).returncode != 0


def test_index_with_all_its_platforms(logged_in: Skopeo, tmp_path: Path) -> None:
    content = Content()
    content.tag("multi", content.platforms())
    write_layout(content, tmp_path / "in")
    logged_in.copy(f"oci:{tmp_path}/in:multi", logged_in.at("multi:latest"), "--all")
    logged_in.copy(logged_in.at("multi:latest"), f"oci:{tmp_path}/out:multi", "--all")
    assert read_layout(tmp_path / "out") == read_layout(tmp_path / "in")
    with logged_in.server.client() as client:
        assert Repo(client, "multi").head("manifests/latest").headers["Content-Type"] == INDEX


@pytest.mark.parametrize(("format", "media_type"), [("v2s2", DOCKER_MANIFEST), ("oci", MANIFEST)])
def test_format_is_kept(logged_in: Skopeo, tmp_path: Path, format: str, media_type: str) -> None:
    write_layout(image(), tmp_path / "in")
    logged_in.copy(f"oci:{tmp_path}/in:v1", logged_in.at("app:v1"), "--format", format)
    with logged_in.server.client() as client:
        assert Repo(client, "app").head("manifests/v1").headers["Content-Type"] == media_type
    logged_in.copy(logged_in.at("app:v1"), f"dir:{tmp_path}/dir")
    assert json.loads((tmp_path / "dir" / "manifest.json").read_text())["mediaType"] == media_type


def test_layers_compressed_on_the_way(logged_in: Skopeo, tmp_path: Path) -> None:
    """Then skopeo does not know the digest beforehand and streams."""
    content = Content()
    content.image(compressed=False)
    write_layout(content.tag("v1"), tmp_path / "in")
    logged_in.copy(f"oci:{tmp_path}/in:v1", logged_in.at("app:v1"), "--dest-compress-format", "zstd", "--dest-compress")
    with logged_in.server.client() as client:
        layers = Repo(client, "app").get("manifests/v1").json()["layers"]
    assert {one["mediaType"] for one in layers} == {"application/vnd.oci.image.layer.v1.tar+zstd"}
    logged_in.copy(logged_in.at("app:v1"), f"oci:{tmp_path}/out:v1")


def test_copy_within_the_registry_mounts(logged_in: Skopeo, tmp_path: Path) -> None:
    write_layout(image(), tmp_path / "in")
    logged_in.copy(f"oci:{tmp_path}/in:v1", logged_in.at("from:v1"))
    before = sent(logged_in.server)
    assert before > 0
    logged_in.copy(logged_in.at("from:v1"), logged_in.at("to:v1"))
    assert sent(logged_in.server) == before + 1, "only the config, which skopeo never mounts, had to be sent"
    logged_in.copy(logged_in.at("to:v1"), f"oci:{tmp_path}/out:v1")
    assert read_layout(tmp_path / "out") == read_layout(tmp_path / "in")


def sent(server: RunningServer) -> int:
    """PATCH requests so far, as the metrics count them."""
    with server.anonymous() as client:
        lines = client.get("/metrics").text.splitlines()
    chosen = (line for line in lines if line.startswith("smidgen_http_requests_total") and '"PATCH"' in line)
    return sum(int(float(line.rpartition(" ")[2])) for line in chosen)


def test_list_tags_and_delete(logged_in: Skopeo, tmp_path: Path) -> None:
    write_layout(image("a"), tmp_path / "one")
    write_layout(image("b"), tmp_path / "two")
    logged_in.copy(f"oci:{tmp_path}/one:a", logged_in.at("app:1.0"))
    logged_in.copy(f"oci:{tmp_path}/two:b", logged_in.at("app:1.1"))
    listed = logged_in.run("list-tags", "--tls-verify=false", logged_in.at("app"))
    assert json.loads(listed.stdout)["Tags"] == ["1.0", "1.1"]
    logged_in.run("delete", "--tls-verify=false", logged_in.at("app:1.0"))
    listed = logged_in.run("list-tags", "--tls-verify=false", logged_in.at("app"))
    assert json.loads(listed.stdout)["Tags"] == ["1.1"]


def test_tags_of_more_than_one_page(server_factory: Any, tmp_path: Path) -> None:
    server = server_factory(limits={"page": 7})
    home = tmp_path / "home"
    home.mkdir()
    content = image()
    tags = [f"v{number:02}" for number in range(30)]
    with server.client() as client:
        repo = Repo(client, "app")
        repo.push(content)
        repo.put_manifest(content.documents[0], params=[("tag", tag) for tag in tags])
    skopeo = Skopeo(server, home)
    listed = skopeo.run("list-tags", "--tls-verify=false", skopeo.at("app"))
    assert json.loads(listed.stdout)["Tags"] == sorted(["v1", *tags])
