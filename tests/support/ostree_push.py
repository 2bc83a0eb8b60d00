"""The push API as a client speaks it, written from its description alone."""

from __future__ import annotations

from collections.abc import Sequence

import httpx2

from smidgen_deltas.ostree.objects import ObjectName, ObjectType, loose_path
from smidgen_deltas.ostree.repo import Repository
from smidgen_deltas.ostree.walk import closure
from smidgen_server.index.tasks import TaskRow
from smidgen_server.services.tasks import Tasks

Record = tuple[ObjectName, bytes]


def objects_of(repository: Repository, commit: bytes) -> list[Record]:
    """All objects of a commit in an archive repository, in archive form."""
    names = [visited.name for visited in closure(repository.metadata, commit)]
    return [(name, (repository.path / loose_path(name, "archive")).read_bytes()) for name in names]


def pack_name(name: ObjectName) -> bytes:
    return bytes([name.type]) + name.checksum


class PushClient:
    def __init__(self, client: httpx2.Client, repo: str) -> None:
        self._client, self._base = client, f"/api/v1/ostree/{repo}"

    def missing(self, names: Sequence[ObjectName]) -> list[ObjectName]:
        answer = self._client.post(f"{self._base}/missing", content=b"".join(map(pack_name, names)))
        body = answer.raise_for_status().content
        return [ObjectName(ObjectType(body[at]), body[at + 1 : at + 33]) for at in range(0, len(body), 33)]

    def post(self, records: Sequence[Record]) -> httpx2.Response:
        body = b"".join(pack_name(name) + len(data).to_bytes(8, "big") + data for name, data in records)
        return self._client.post(f"{self._base}/objects", content=body)

    def send(self, records: Sequence[Record]) -> int:
        stored: int = self.post(records).raise_for_status().json()["stored"]
        return stored

    def set_ref(self, tasks: Tasks, ref: str, commit: bytes) -> TaskRow:
        answer = self._client.put(f"{self._base}/refs/{ref}", json={"commit": commit.hex()}).raise_for_status()
        assert answer.status_code == 202
        number = answer.json()["task"]
        tasks.wait(number)
        shown = self._client.get(f"/api/v1/tasks/{number}").raise_for_status().json()
        found = tasks.find(number)
        assert found is not None and shown["state"] == found.state
        return found
