"""Publishing an ostree commit over the push API: ask what is missing, send only that, set the ref last.

Objects go in batches of records: name, length, object in archive form. Whatever breaks, the next question for what is
missing shows what arrived, so nothing is sent twice. Objects of an archive repository are sent as they lie there.
"""

from __future__ import annotations

import json
import struct
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, Final

from smidgen_client.names import RefName
from smidgen_client.progress import Progress
from smidgen_client.publish.api import Api
from smidgen_client.publish.tasks import wait_for_task
from smidgen_client.transport.answers import Retryable, ShortBody
from smidgen_deltas.errors import SizeMismatch
from smidgen_deltas.ostree.filez import write_filez
from smidgen_deltas.ostree.objects import ObjectName, ObjectType
from smidgen_deltas.ostree.repo import Repository
from smidgen_deltas.ostree.walk import closure

NAME_SIZE: Final = 33
ASKED_AT_ONCE: Final = 100_000
BATCH_BYTES: Final = 24 << 20
BATCH_OBJECTS: Final = 4000
IN_MEMORY: Final = 1 << 20
BLOCK: Final = 1 << 18
AHEAD: Final = 8
OCTETS: Final = {"Content-Type": "application/octet-stream"}
_LENGTH: Final = struct.Struct(">Q")


@dataclass(frozen=True, slots=True)
class Published:
    """What was sent. Sizes in bytes; `objects` of the commit, `sent` of them over the line."""

    ref: str
    revision: str
    objects: int
    sent: int
    bytes_sent: int


def publish_ostree(
    api: Api, repository: Repository, rev: str, name: RefName, progress: Progress, *, wait: bool = True
) -> Published:
    """Publish `rev` of a local repository as `name`.

    Raises NotFound for an incomplete commit, and what the server says.
    """
    commit = repository.resolve(rev)
    base = f"api/v1/ostree/{name.repo}"
    names = [visited.name for visited in closure(repository.metadata, commit)]
    names.reverse()  # files first, the commit last
    sender = _Sender(api, repository, base, progress)
    sender.send_missing(names)
    commitmeta = repository.commitmeta(commit)
    if commitmeta is not None:
        api.call("PUT", f"{base}/commitmeta/{commit.hex()}", body=commitmeta, headers=OCTETS)
    body = json.dumps({"commit": commit.hex()}).encode()
    answer = api.call("PUT", f"{base}/refs/{name.ref}", body=body, headers={"Content-Type": "application/json"})
    if wait:
        wait_for_task(api, int(answer.json()["task"]), progress)
    return Published(str(name), f"sha256:{commit.hex()}", len(names), sender.sent, sender.bytes)


class _Sender:
    def __init__(self, api: Api, repository: Repository, base: str, progress: Progress) -> None:
        self._api, self._repository, self._base, self._progress = api, repository, base, progress
        self.sent = self.bytes = 0

    def send_missing(self, names: Sequence[ObjectName]) -> None:
        """Send until nothing is missing; gives up when a round brings no progress several times."""
        attempts = self._api.attempts()
        missing = self._missing(names)
        self._progress.say(f"{len(names)} objects, {len(missing)} of them are not on the server yet")
        if not missing:
            return
        self._progress.begin("sending objects", len(missing), "objects")
        while missing:
            before = len(missing)
            try:
                self._send(missing)
            except Retryable as error:
                attempts.failed(error, error.retry_after)
            except ShortBody as error:
                attempts.failed(error)
            missing = self._missing(missing)
            if len(missing) < before:
                attempts.progressed()
        self._progress.end()

    def _missing(self, names: Sequence[ObjectName]) -> list[ObjectName]:
        found: list[ObjectName] = []
        for at in range(0, len(names), ASKED_AT_ONCE):
            body = b"".join(_wire(name) for name in names[at : at + ASKED_AT_ONCE])
            answer = self._api.call("POST", f"{self._base}/missing", body=body, headers=OCTETS).body
            if len(answer) % NAME_SIZE:
                raise SizeMismatch("the server's list ends inside a name", length=len(answer))
            found += [_unwire(answer[start : start + NAME_SIZE]) for start in range(0, len(answer), NAME_SIZE)]
        return found

    def _send(self, names: Sequence[ObjectName]) -> None:
        """Several bodies, each a batch; a batch that breaks off is kept by the server as far as it came."""
        with ThreadPoolExecutor(2, thread_name_prefix="deflate") as pool:
            records = _Records(self._repository, names, pool)
            while records.more:
                self._api.once("POST", f"{self._base}/objects", body=lambda: self._counted(records), headers=OCTETS)

    def _counted(self, records: _Records) -> Iterator[bytes]:
        size = 0
        for count, record in enumerate(records.take(), 1):
            yield record.head
            yield from record.blocks()
            size += len(record.head) + record.size
            self.sent += 1
            self.bytes += len(record.head) + record.size
            self._progress.advance(1)
            if size >= BATCH_BYTES or count >= BATCH_OBJECTS:
                return


class _Records:
    """Objects in archive form, prepared a few ahead by other threads (deflating is most of the work)."""

    def __init__(self, repository: Repository, names: Sequence[ObjectName], pool: ThreadPoolExecutor) -> None:
        self._repository, self._pool = repository, pool
        self._names = iter(names)
        self._ready: list[Future[_Record]] = []
        self._fill()

    @property
    def more(self) -> bool:
        return bool(self._ready)

    def take(self) -> Iterator[_Record]:
        while self._ready:
            record = self._ready.pop(0).result()
            self._fill()
            yield record

    def _fill(self) -> None:
        while len(self._ready) < AHEAD and (name := next(self._names, None)) is not None:
            self._ready.append(self._pool.submit(_record, self._repository, name))


class _Record:
    """One object on its way: head and body; the body is in a file when it is large."""

    def __init__(self, name: ObjectName, file: IO[bytes], size: int) -> None:
        self.head = _wire(name) + _LENGTH.pack(size)
        self._file, self.size = file, size

    def blocks(self) -> Iterator[bytes]:
        with self._file as file:
            file.seek(0)
            while block := file.read(BLOCK):
                yield block


def _record(repository: Repository, name: ObjectName) -> _Record:
    file: IO[bytes] = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 - closed when it was sent
    if name.type is not ObjectType.FILE:
        file.write(repository.metadata(name))
    elif repository.mode.startswith("archive"):
        return _stored(repository, name)
    else:
        with repository.open_file(name.checksum) as opened:
            for block in write_filez(opened.header, opened.size, opened.chunks):
                file.write(block)
    return _Record(name, file, file.tell())


def _stored(repository: Repository, name: ObjectName) -> _Record:
    """A `.filez` as it lies in an archive repository; the server verifies it."""
    file = repository.open_stored(name.checksum)
    return _Record(name, file, file.seek(0, 2))


def _wire(name: ObjectName) -> bytes:
    return bytes([name.type]) + name.checksum


def _unwire(data: bytes) -> ObjectName:
    return ObjectName(ObjectType(data[0]), data[1:])
