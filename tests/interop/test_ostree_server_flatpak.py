"""flatpak installs and updates from a repository of ours, mirrored from its own."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from smidgen_deltas.ostree.repo import Repository
from smidgen_server.services import ingest_ostree
from smidgen_server.services.tasks import no_progress
from support.gpg import make_key
from support.server import RunningServer
from support.static_site import serve_directory

pytestmark = pytest.mark.needs("ostree", "flatpak")
APP = "org.example.Hello"
REF = f"app/{APP}/x86_64/stable"
METADATA = f"""[Application]
name={APP}
runtime=org.example.Platform/x86_64/stable
sdk=org.example.Sdk/x86_64/stable
command=hello
"""


@dataclass(frozen=True)
class Flatpak:
    """flatpak with everything of the user below `home`."""

    home: Path

    def __call__(self, *words: str) -> str:
        environment = {**os.environ, "HOME": str(self.home), "XDG_DATA_HOME": str(self.home / "data")}
        done = subprocess.run(["flatpak", *words], env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"flatpak {' '.join(words)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def installed(self) -> str:
        """What the installed program says it is."""
        return next((self.home / "data/flatpak/app" / APP).rglob("files/bin/hello")).read_text()


@pytest.fixture
def flatpak(tmp_path: Path) -> Flatpak:
    (tmp_path / "home").mkdir()
    return Flatpak(tmp_path / "home")


def export(flatpak: Flatpak, repo: Path, version: str, app: str = APP, signed: tuple[str, ...] = ()) -> None:
    """Put a version of a toy program into a flatpak repository."""
    folder = repo.with_name(f"{app}-{version}")
    (folder / "files/bin").mkdir(parents=True)
    (folder / "export").mkdir()
    (folder / "files/bin/hello").write_text(version)
    (folder / "metadata").write_text(METADATA.replace(APP, app))
    flatpak("build-export", *signed, str(repo), str(folder), "stable")
    flatpak("build-update-repo", *signed, "--title=Toys", str(repo))


def mirror(running: RunningServer, url: str, *refs: str) -> None:
    with running.client() as client:
        wish = {"url": url, "refs": list(refs)}
        number = client.post("/api/v1/ostree/apps/mirror", json=wish).raise_for_status().json()["task"]
    done = running.services.tasks.wait(number, 120)
    assert done.state == "done", done.error


def test_install_and_update_from_a_mirror(server: RunningServer, flatpak: Flatpak, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    export(flatpak, repo, "one")
    with serve_directory(repo) as site:
        mirror(server, site.url)
        flatpak("--user", "remote-add", "--no-gpg-verify", "toys", f"{server.url}/ostree/apps")
        assert APP in flatpak("--user", "remote-ls", "toys")
        assert "Toys" in flatpak("--user", "remotes", "-d")
        flatpak("--user", "install", "-y", "--noninteractive", "--no-deps", "--no-related", "toys", APP)
        assert flatpak.installed() == "one"
        export(flatpak, repo, "two")
        mirror(server, site.url)
    flatpak("--user", "update", "-y", "--noninteractive", "--no-deps", "--no-related", APP)
    assert flatpak.installed() == "two"


@pytest.mark.needs("gpg")
def test_install_with_signatures_verified(server: RunningServer, flatpak: Flatpak, tmp_path: Path) -> None:
    """Of the commit and of the summary, as flatpak asks for both wherever it knows a key."""
    repo = tmp_path / "repo"
    with make_key(tmp_path / "g") as key, make_key(tmp_path / "h", "other@example.org") as stranger:
        export(flatpak, repo, "one", signed=(f"--gpg-sign={key.identity}", f"--gpg-homedir={key.home}"))
        with serve_directory(repo) as site:
            mirror(server, site.url)
        flatpak("--user", "remote-add", f"--gpg-import={key.public}", "toys", f"{server.url}/ostree/apps")
        flatpak("--user", "install", "-y", "--noninteractive", "--no-deps", "--no-related", "toys", APP)
        assert flatpak.installed() == "one"
        with pytest.raises(AssertionError, match="public key not found"):
            flatpak("--user", "remote-add", f"--gpg-import={stranger.public}", "others", f"{server.url}/ostree/apps")


def test_single_refs_keep_what_flatpak_knows_of_them(server: RunningServer, flatpak: Flatpak, tmp_path: Path) -> None:
    """The summary is our own here: some refs of a larger repository, then a locally published one."""
    repo = tmp_path / "repo"
    export(flatpak, repo, "one")
    export(flatpak, repo, "other", "org.example.Other")
    with serve_directory(repo) as site:
        mirror(server, site.url, REF)
    other = "app/org.example.Other/x86_64/stable"
    local = Repository.open(repo)
    ingest_ostree.publish(server.services, local, other, "apps", other, no_progress)
    flatpak("--user", "remote-add", "--no-gpg-verify", "toys", f"{server.url}/ostree/apps")
    listed = flatpak("--user", "remote-ls", "toys")
    assert APP in listed and "org.example.Other" in listed
    assert "org.example.Platform" in flatpak("--user", "remote-info", "toys", APP)
    flatpak("--user", "install", "-y", "--noninteractive", "--no-deps", "--no-related", "toys", APP)
    assert flatpak.installed() == "one"
