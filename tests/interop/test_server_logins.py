"""podman, skopeo: log in, push and pull as the rights allow, over plain HTTP on the loopback."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from smidgen_server.index.repos import ensure_repo
from support.oci_content import CONFIG, LAYER, MANIFEST, digest_of, layer_tar
from support.server import RunningServer, run_server

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    root = tmp_path_factory.mktemp("logins")
    users = {"alice": "wonderland", "bob": "builder"}
    (root / "htpasswd").write_text("".join(f"{name}:{CHEAP.hash(word)}\n" for name, word in users.items()))
    auth = {"htpasswd": root / "htpasswd", "users": [{"name": "bob", "repos": ["oci/closed"], "actions": ["pull"]}]}
    with run_server(root / "data", auth=auth) as running:
        with running.services.index.session() as session:
            ensure_repo(session, "oci", "closed", public=False)
            ensure_repo(session, "oci", "open", public=True)
        yield running


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OCI layout with one small image, tag `one`."""
    root = tmp_path_factory.mktemp("image")
    layer = layer_tar({"etc/os-release": b"NAME=smidgen\n"})
    rootfs = {"type": "layers", "diff_ids": [digest_of(layer)]}
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs}).encode()

    def descriptor(media_type: str, data: bytes) -> dict[str, object]:
        path = root / "blobs" / "sha256" / digest_of(data).removeprefix("sha256:")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}

    body = {"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(CONFIG, config)}
    manifest = json.dumps({**body, "layers": [descriptor(LAYER, layer)]}).encode()
    entry = {**descriptor(MANIFEST, manifest), "annotations": {"org.opencontainers.image.ref.name": "one"}}
    (root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (root / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return root


def run(*words: str, given: str = "") -> Done:
    return subprocess.run(words, input=given, capture_output=True, text=True, timeout=120)


def login(program: str, server: RunningServer, authfile: Path, user: str, password: str) -> Done:
    words = [program, "login", "--tls-verify=false", "--authfile", str(authfile), "-u", user, "--password-stdin"]
    return run(*words, server.host, given=password)


def push(server: RunningServer, image: Path, name: str, authfile: Path) -> Done:
    target = f"docker://{server.host}/{name}:one"
    options = ["--dest-tls-verify=false", "--authfile", str(authfile)]
    return run("skopeo", "--insecure-policy", "copy", *options, f"oci:{image}:one", target)


def pull(server: RunningServer, name: str, target: Path, authfile: Path) -> Done:
    source = f"docker://{server.host}/{name}:one"
    options = ["--src-tls-verify=false", "--authfile", str(authfile)]
    return run("skopeo", "--insecure-policy", "copy", *options, source, f"oci:{target}:one")


@pytest.mark.parametrize(
    "program",
    [pytest.param(name, marks=pytest.mark.needs(name)) for name in ("skopeo", "podman")],
)
def test_login(server: RunningServer, tmp_path: Path, program: str) -> None:
    authfile = tmp_path / "auth.json"
    wrong = login(program, server, authfile, "alice", "looking glass")
    assert wrong.returncode != 0
    assert "invalid username/password" in wrong.stderr or "unauthorized" in wrong.stderr.lower()
    for user, password in [("alice", "wonderland"), ("anything", server.token)]:
        done = login(program, server, authfile, user, password)
        assert done.returncode == 0, done.stderr
        assert "Login Succeeded" in done.stdout
        assert server.host in json.loads(authfile.read_text())["auths"]


@pytest.mark.needs("skopeo")
def test_who_may_push_and_pull_what(server: RunningServer, image: Path, tmp_path: Path) -> None:
    nobody, alice, bob = (tmp_path / f"{name}.json" for name in ("nobody", "alice", "bob"))
    nobody.write_text("{}")
    assert login("skopeo", server, alice, "alice", "wonderland").returncode == 0
    assert login("skopeo", server, bob, "bob", "builder").returncode == 0

    for name in ("open", "closed", "made/by/pushing"):
        refused = push(server, image, name, nobody)
        assert refused.returncode != 0
        assert "unauthorized" in refused.stderr or "denied" in refused.stderr, refused.stderr
        assert push(server, image, name, bob).returncode != 0
        done = push(server, image, name, alice)
        assert done.returncode == 0, done.stderr

    for name, who, allowed in [
        ("open", nobody, True),
        ("made/by/pushing", nobody, True),
        ("closed", nobody, False),
        ("closed", bob, True),
        ("closed", alice, True),
    ]:
        done = pull(server, name, tmp_path / f"{name.replace('/', '-')}-{who.stem}", who)
        assert (done.returncode == 0) == allowed, (name, who.stem, done.stderr)


@pytest.mark.needs("skopeo")
def test_delete_needs_the_right_to(server: RunningServer, image: Path, tmp_path: Path) -> None:
    alice, bob = tmp_path / "alice.json", tmp_path / "bob.json"
    login("skopeo", server, alice, "alice", "wonderland")
    login("skopeo", server, bob, "bob", "builder")
    assert push(server, image, "to/delete", alice).returncode == 0
    target = f"docker://{server.host}/to/delete:one"
    refused = run("skopeo", "delete", "--tls-verify=false", "--authfile", str(bob), target)
    assert refused.returncode != 0
    done = run("skopeo", "delete", "--tls-verify=false", "--authfile", str(alice), target)
    assert done.returncode == 0, done.stderr
    assert pull(server, "to/delete", tmp_path / "gone", alice).returncode != 0
