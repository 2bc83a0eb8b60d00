"""One update of a server for a zygote: look at what is there, publish, wait for the delta, look again.

argv: data directory, kind, source as `smidgen publish` names it, name, revisions that may be seen before (with commas),
the revision that is published. Fails by AssertionError with the reason.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path

import smidgen_client.publish.api
import smidgen_client.publish.oci
import smidgen_client.publish.ostree  # noqa: F401 - what publishing imports when it runs
import smidgen_server.delta_process  # noqa: F401
import smidgen_server.services.ingest_oci
import smidgen_server.services.ingest_ostree  # noqa: F401
from smidgen_client.cli import run as smidgen
from smidgen_server.index import jobs
from smidgen_server.services import jobs_view
from support.server import RunningServer, run_server
from support.surface import fetch, fetch_blob, fetch_document

DELTAS = {"effort": "fast", "workers": 1, "retry_seconds": 0, "lease_seconds": 2, "keep_share": 1.0}
PATIENCE = 120


def run(argv: list[str]) -> int:
    data, kind, source, name, before, after = argv
    path = f"{kind}/{name}"
    with run_server(Path(data), deltas=DELTAS) as running:
        look(running, path, before.split(","))
        token = Path(data) / "admin.token"
        status = smidgen(["publish", source, name, "--server", running.url, "--token-file", str(token), "--json"])
        assert status == 0, "publishing failed"
        if before:
            wait_for_deltas(running)
        look(running, path, [after])
        if before:
            check_deltas(running, path)
        if kind == "ostree":
            pull_with_ostree(running, name, after)
    return 0


def look(running: RunningServer, path: str, revisions: list[str]) -> None:
    """What the surface has of the ref is whole, and one of `revisions` ("": nothing)."""
    with running.anonymous() as client:
        if client.get(f"/u/refs/{path}.json").status_code == 404:
            assert "" in revisions, "the ref is gone"
            return
        found = fetch(client, path).document.revision.hex
    assert found in revisions, f"{found} is not one of {revisions}"


def wait_for_deltas(running: RunningServer) -> None:
    """Until nothing is queued or under way."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with running.services.index.read() as session:
            counts = jobs.counts(session)
        if counts and not counts.get("waiting") and not counts.get("building"):
            assert not counts.get("failed"), counts
            return
        time.sleep(0.02)
    raise AssertionError(f"deltas were not made in time: {counts}")


def check_deltas(running: RunningServer, path: str) -> None:
    with running.anonymous() as client:
        offers = fetch_document(client, path).deltas
        with running.services.index.read() as session:
            assert offers, f"no delta is offered: {jobs_view.listing(session, (), None, 10)}"
        for offer in offers:
            assert len(fetch_blob(client, offer.piece.digest)) == offer.piece.size


def pull_with_ostree(running: RunningServer, name: str, commit: str) -> None:
    """Stock ostree gets all of the commit and finds it right."""
    repo, _, ref = name.partition("/")
    with tempfile.TemporaryDirectory() as folder:
        ostree = ["ostree", f"--repo={folder}/repo"]
        url = f"{running.url}/ostree/{repo}"
        for words in (
            ["init", "--mode=bare-user"],
            ["remote", "add", "--no-sign-verify", "origin", url],
            ["pull", "origin", ref],
            ["fsck", "--quiet"],
        ):
            done = subprocess.run([*ostree, *words], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
        found = subprocess.run([*ostree, "rev-parse", f"origin:{ref}"], capture_output=True, text=True, check=True)
        assert found.stdout.strip() == commit
