"""Jobs, policies and deltas on demand, over HTTP and on the command line."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from click.testing import CliRunner
from sqlalchemy import select

from smidgen_deltas.digest import Digest
from smidgen_deltas.native.refdoc import DeltaOffer, decode_keys, verify
from smidgen_server.index import deltas
from smidgen_server.index.tables.deltas import delta
from smidgen_server.jobs_cli import jobs
from smidgen_server.services.container import open_services
from smidgen_server.settings import Settings
from support.releases import rows, settled, until
from support.server import RunningServer, ServerFactory, run_server
from support.small_images import publish_version
from support.surface import fetch_document

REF = "oci/app:stable"


def publish(server: RunningServer, folder: Path, *versions: int) -> list[Digest]:
    return [publish_version(server.services, folder, version) for version in versions]


@pytest.fixture
def quiet(server_factory: ServerFactory) -> RunningServer:
    """A server that makes no delta by itself."""
    return server_factory(deltas={"from_last": 0})


def lost(server: RunningServer, folder: Path) -> deltas.DeltaRow:
    """A delta that cannot be made, because a tree document is gone."""
    publish(server, folder, 1)
    with server.client() as client:
        tree = fetch_document(client, REF).tree.digest
    server.services.blobs.delete(tree)
    publish(server, folder, 2)
    (row,) = until(server.services.index, lambda found: bool(found) and found[0].reason is not None)
    return row


def test_a_delta_on_demand_is_built_once_for_all_who_ask(quiet: RunningServer, tmp_path: Path) -> None:
    first, _ = publish(quiet, tmp_path, 1, 2)
    path = f"/u/deltas/{REF}/{first.hex}.json"
    with quiet.client() as admin, quiet.anonymous() as device:
        assert device.get(path).status_code == 404
        admin.put("/api/v1/delta-policies", json={"refs": "sta*", "on_demand": True}).raise_for_status()
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: device.get(path), range(8)))
        assert {answer.status_code for answer in answers} <= {200, 202}
        (asked, *_) = [answer for answer in answers if answer.status_code == 202]
        assert int(asked.headers["retry-after"]) > 0 and asked.headers["cache-control"] == "no-store"
        assert asked.json()["state"] in deltas.ACTIVE
        (row,) = settled(quiet.services)
        assert (row.state, row.attempts, row.priority) == (deltas.READY, 1, 1)
        ready = device.get(path)
        assert ready.status_code == 200 and "max-age" in ready.headers["cache-control"]
        document = verify(ready.content, decode_keys(device.get("/u/keys.json").content))
        (offer,) = document.deltas
        assert (offer.sources, offer.piece.size) == ((first,), row.size)
        assert device.get(f"/u/blobs/{offer.piece.digest.hex}").status_code == 200


@pytest.mark.parametrize(
    "path", ["oci/app:none/{first}", "oci/none:stable/{first}", "oci/app:stable/{second}", "oci/app:stable/" + "0" * 64]
)
def test_only_deltas_to_a_ref_from_another_revision_can_be_asked_for(
    quiet: RunningServer, tmp_path: Path, path: str
) -> None:
    first, second = publish(quiet, tmp_path, 1, 2)
    with quiet.client() as client:
        client.put("/api/v1/delta-policies", json={"on_demand": True}).raise_for_status()
        answer = client.get(f"/u/deltas/{path.format(first=first.hex, second=second.hex)}.json")
    assert answer.status_code == 404 and "advice" in answer.json()["error"]
    assert rows(quiet.services.index) == []


def test_devices_cannot_fill_the_queue(server_factory: ServerFactory, tmp_path: Path) -> None:
    settings = {"from_last": 0, "on_demand": True, "demand_queue": 1, "retry_seconds": 86400}
    server = server_factory(deltas=settings)
    first, second, _ = publish(server, tmp_path, 1, 2, 3)
    with server.client() as client:
        tree = fetch_document(client, REF).tree.digest
        server.services.blobs.delete(tree)  # no build can end well
        assert client.get(f"/u/deltas/{REF}/{first.hex}.json").status_code == 202
        full = client.get(f"/u/deltas/{REF}/{second.hex}.json")
    assert (full.status_code, full.json()["state"]) == (202, "full")
    assert len(rows(server.services.index)) == 1


def test_a_policy_is_acted_on_at_once_and_can_be_removed(quiet: RunningServer, tmp_path: Path) -> None:
    first, second = publish(quiet, tmp_path, 1, 2)
    publish_version(quiet.services, tmp_path, 1, tag="factory")
    publish(quiet, tmp_path, 3)
    policy = {
        "repos": "oci/app",
        "refs": "stable",
        "from_named": ["factory", "not-yet", second.hex, "factory + " + second.hex],
    }
    with quiet.client() as client:
        assert client.put("/api/v1/delta-policies", json={**policy, "formats": ["none"]}).status_code == 400
        client.put("/api/v1/delta-policies", json=policy).raise_for_status()
        assert client.get("/api/v1/delta-policies").json() == {"policies": [policy], "settings": []}
        assert {row.state for row in settled(quiet.services)} == {deltas.READY}
        found = {offer.sources for offer in fetch_document(client, REF).deltas}
        assert found == {(first,), (second,), (first, second)}
        patterns = {"repos": "oci/app", "refs": "stable"}
        assert client.delete("/api/v1/delta-policies", params=patterns).status_code == 204
        assert client.delete("/api/v1/delta-policies", params=patterns).status_code == 404
    with quiet.anonymous() as client:
        assert client.put("/api/v1/delta-policies", json=policy).status_code == 401
        assert client.get("/api/v1/jobs").status_code == 401


def test_a_poison_pair_is_shown_with_its_reason_and_retried(server_factory: ServerFactory, tmp_path: Path) -> None:
    server = server_factory(deltas={"attempts": 1})
    row = lost(server, tmp_path)
    with server.client() as client:
        shown = client.get("/api/v1/jobs", params={"state": "failed"}).json()
        (job,) = shown["jobs"]
        assert (job["id"], job["repo"], job["attempts"]) == (row.id, "oci/app", 1)
        assert "blob" in job["reason"] and shown["counts"] == {"failed": 1}
        assert client.post(f"/api/v1/jobs/{row.id}/cancel").status_code == 409
        again = client.post(f"/api/v1/jobs/{row.id}/retry").raise_for_status().json()
        assert (again["state"], again["attempts"]) in (("waiting", 0), ("building", 1))
        (after,) = settled(server.services)
        assert (after.state, after.priority) == (deltas.FAILED, 2)
        assert client.get("/api/v1/jobs/99").status_code == 404
        assert 'smidgen_deltas_total{state="failed"} 2.0' in client.get("/metrics").text


def test_what_failed_waits_its_time_and_can_be_cancelled(server_factory: ServerFactory, tmp_path: Path) -> None:
    server = server_factory(deltas={"retry_seconds": 1000})
    row = lost(server, tmp_path)
    assert row.state == deltas.WAITING and row.not_before - row.created > 490
    with server.client() as client:
        job = client.post(f"/api/v1/jobs/{row.id}/cancel").raise_for_status().json()
        assert (job["state"], job["reason"]) == ("cancelled", "cancelled by hand")
        assert client.post(f"/api/v1/jobs/{row.id}/cancel").status_code == 409
        assert "smidgen_job_retries_total 1.0" in client.get("/metrics").text


def test_a_delta_can_be_ordered(quiet: RunningServer, tmp_path: Path) -> None:
    first, second = publish(quiet, tmp_path, 1, 2)
    order = {"repo": "oci/app", "source": first.hex, "target": "stable"}
    with quiet.client() as client:
        one = client.post("/api/v1/jobs", json=order).raise_for_status().json()["jobs"]
        assert client.post("/api/v1/jobs", json=order).json()["jobs"] == one
        nothing = client.post("/api/v1/jobs", json={**order, "source": ""}).json()["jobs"]
        assert client.post("/api/v1/jobs", json={**order, "source": second.hex}).status_code == 400
        assert client.post("/api/v1/jobs", json={**order, "repo": "oci/none"}).status_code == 404
    found = {row.id: row for row in settled(quiet.services)}
    assert found[one[0]].state == deltas.READY
    assert found[nothing[0]].sources == () and found[nothing[0]].state in (deltas.READY, deltas.USELESS)


def test_fetches_are_counted_once_each_and_sizes_are_shown(server: RunningServer, tmp_path: Path) -> None:
    publish(server, tmp_path, 1, 2)
    (row,) = settled(server.services)
    with server.client() as client:
        (offer,) = fetch_document(client, REF).deltas
        path = f"/u/blobs/{offer.piece.digest.hex}"
        for headers in ({}, {"Range": "bytes=0-9"}, {"Range": "bytes=10-19"}):
            client.get(path, headers=headers).raise_for_status()
        client.head(path).raise_for_status()
        until(server.services.index, lambda _: 2.9 < uses(server) < 3.1)  # the first is for having been made
        assert f"smidgen_delta_stored_bytes {float(row.size)}" in client.get("/metrics").text
        assert 'smidgen_jobs{state="ready"} 1.0' in client.get("/metrics").text


def uses(server: RunningServer) -> float:
    with server.services.index.read() as session:
        return float(session.execute(select(delta.c.uses)).scalar_one())


def test_what_is_evicted_is_offered_no_more_and_comes_back_on_demand(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with run_server(data) as server:
        first, second, third = publish(server, tmp_path, 1, 2, 3)
        sizes = [row.size for row in settled(server.services)]
    with run_server(data, deltas={"on_demand": True, "budget_bytes": sum(sizes) - 1}) as server:
        until(server.services.index, lambda found: [row.state for row in found].count(deltas.EVICTED) == 1)
        with server.client() as client:
            (source,) = {first, second} - {offer.sources[0] for offer in fetch_document(client, REF).deltas}
            assert client.get(f"/u/deltas/{REF}/{source.hex}.json").status_code == 202
            until(server.services.index, lambda _: source in {one.sources[0] for one in offers(client)})


def offers(client: httpx2.Client) -> tuple[DeltaOffer, ...]:
    return fetch_document(client, REF).deltas


def test_a_delta_larger_than_the_budget_is_not_kept(server_factory: ServerFactory, tmp_path: Path) -> None:
    server = server_factory(deltas={"budget_bytes": 1})
    publish(server, tmp_path, 1, 2)
    (row,) = settled(server.services)
    assert row.state == deltas.USELESS and "together" in (row.reason or "")


def test_deleting_a_revision_takes_its_deltas_from_the_documents(server: RunningServer, tmp_path: Path) -> None:
    first, _ = publish(server, tmp_path, 1, 2)
    (row,) = settled(server.services)
    assert row.state == deltas.READY
    with server.client() as client:
        (offer,) = fetch_document(client, REF).deltas
        client.delete("/api/v1/revisions/oci/app", params={"digest": str(first)}).raise_for_status()
        assert fetch_document(client, REF).deltas == ()
        assert client.get(f"/u/blobs/{offer.piece.digest.hex}").status_code == 404
    assert rows(server.services.index) == []


def test_gc_keeps_deltas_that_are_offered(server: RunningServer, tmp_path: Path) -> None:
    publish(server, tmp_path, 1, 2)
    settled(server.services)
    with server.client() as client:
        task = client.post("/api/v1/gc", json={"grace": 0, "keep": 9}).json()["task"]
        assert server.services.tasks.wait(task).state == "done"
        (offer,) = fetch_document(client, REF).deltas
        assert client.get(f"/u/blobs/{offer.piece.digest.hex}").status_code == 200
        task = client.post("/api/v1/gc", json={"grace": 0, "keep": 0}).json()["task"]
        assert server.services.tasks.wait(task).state == "done"
        assert fetch_document(client, REF).deltas == ()
        assert client.get(f"/u/blobs/{offer.piece.digest.hex}").status_code == 404


def smidgen(data: Path, *arguments: str, status: int = 0) -> Any:
    done = CliRunner().invoke(jobs, ["--data", str(data), "--json", *arguments])
    assert done.exit_code == status, done.output
    return json.loads(done.stdout) if not status else done.stderr


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A directory with a wanted delta, and no server."""
    with open_services(Settings(data=tmp_path / "data")) as services:
        for version in (1, 2):
            publish_version(services, tmp_path, version)
    return tmp_path / "data"


def test_the_command_line_shows_cancels_and_retries(data: Path) -> None:
    (job,) = smidgen(data)["jobs"]
    number = str(job["id"])
    assert (job["state"], job["repo"], job["format"]) == ("waiting", "oci/app", "smidgen")
    assert smidgen(data, "show", number) == job
    assert smidgen(data, "cancel", number)["state"] == "cancelled"
    assert smidgen(data, "list", "--state", "waiting")["jobs"] == []
    assert smidgen(data, "retry", number)["state"] == "waiting"
    assert "no such job" in smidgen(data, "show", "77", status=30)
    people = CliRunner().invoke(jobs, ["--data", str(data)])
    assert "oci/app" in people.output and "1 waiting" in people.output


def test_the_command_line_sets_policies_and_orders(data: Path) -> None:
    smidgen(data, "policy", "set", "oci/*", "stable", "--from-nothing", "--keep-share", "0.5")
    rule = {"repos": "oci/*", "refs": "stable", "from_nothing": True, "keep_share": 0.5}
    assert smidgen(data, "policy", "list") == {"policies": [rule], "settings": []}
    assert [job["sources"] for job in smidgen(data)["jobs"]][0] == []
    (ordered,) = smidgen(data, "add", "oci/app", "stable")["jobs"]
    assert ordered == smidgen(data)["jobs"][0]["id"]
    smidgen(data, "policy", "remove", "oci/*", "stable")
    assert "not a policy" in smidgen(data, "policy", "set", "*", "*", "--keep-share", "7", status=2)
