"""Making deltas between published revisions, in the background.

A build runs in a process of its own with bounded memory: what it does to itself, the server survives. Builds that fail
or die are begun again a few times; then the pair is set aside with its reason. Interrupted by the end of the server,
the task goes back to the queue and the build begins again. A delta is kept only when it saves enough against the packs.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final

import structlog
from sqlalchemy import select as sql_select

from smidgen_deltas import zstd
from smidgen_deltas.errors import SmidgenError
from smidgen_deltas.native.packmap import decode_packmap
from smidgen_deltas.native.tree import decode_contents
from smidgen_server.index import deltas, guard, surface
from smidgen_server.index.tables.core import repo as repo_table
from smidgen_server.index.tasks import add as add_task
from smidgen_server.services import refs
from smidgen_server.services.delta_plan import LANE, TASK
from smidgen_server.services.stored import record_blob
from smidgen_server.services.tasks import Progress, TaskInterrupted

if TYPE_CHECKING:
    from smidgen_server.services.container import Services

log = structlog.get_logger("smidgen.deltas")
POLL_SECONDS: Final = 0.5
BLOCK: Final = 1 << 20
LAST_WORDS: Final = 16 << 10


class BuildFailed(SmidgenError):
    """The process that made a delta reported an error or died."""


@dataclass(frozen=True, slots=True)
class Built:
    """What the process said about the delta that it wrote; see index.deltas.Made."""

    size: int
    raw_size: int
    memory: int
    scratch: int
    cpu: int
    header: bytes
    features: tuple[str, ...]


def run_task(services: Services, payload: Mapping[str, Any], progress: Progress) -> None:
    """Handler of TASK: {"delta": row id}. A delta that is not wanted any more has nothing to build."""
    number, settings = int(payload["delta"]), services.settings.deltas
    with services.index.session() as session:
        row = deltas.find(session, number)
        attempts = deltas.begin(session, number)
        if row is None or attempts is None:
            return
    if attempts > settings.attempts:
        _set_aside(services, row, deltas.FAILED, f"the process died in {settings.attempts} builds")
        return
    try:
        _build(services, row, progress)
    except TaskInterrupted:
        with services.index.session() as session:
            deltas.give_back(session, number)
        raise
    except SmidgenError as error:
        _failed(services, row, attempts, str(error))


def _build(services: Services, row: deltas.DeltaRow, progress: Progress) -> None:
    started = time.monotonic()
    with services.index.read() as session:
        source = surface.get_revision(session, row.source_id)
        target = surface.get_revision(session, row.target_id)
    with tempfile.TemporaryFile(dir=services.settings.data) as out:
        built = _in_process(services, source.id, target.id, out, progress)
        cost = packs_cost(services, source, target)
        services.metrics.delta_seconds.observe(time.monotonic() - started)
        if built.size > services.settings.deltas.keep_share * cost:
            _set_aside(services, row, deltas.USELESS, f"{built.size} bytes save too little: the packs cost {cost}")
            return
        _keep(services, row, built, out)
    log.info(
        "delta made",
        source=str(source.digest),
        target=str(target.digest),
        size=built.size,
        packs=cost,
        seconds=round(time.monotonic() - started, 3),
    )


def _keep(services: Services, row: deltas.DeltaRow, built: Built, out: IO[bytes]) -> None:
    """Store the blob, note it, and offer it in the documents of all refs at the target."""
    out.seek(0)
    with services.blobs.writer() as writer:
        while block := out.read(BLOCK):
            writer.write(block)
        digest, size = writer.finish()
    with services.index.session() as session:
        guard.share(session)
        blob_id = record_blob(session, services.blobs, digest, size)
        made = deltas.Made(
            blob_id, built.raw_size, built.memory, built.scratch, built.cpu, built.header, built.features
        )
        if not deltas.finish(session, row.id, made):
            return
        query = sql_select(repo_table.c.kind, repo_table.c.name).where(repo_table.c.id == row.repo_id)
        kind, name = session.execute(query).one()
        refs.sign_again(services, session, kind, name, row.target_id)
    services.metrics.deltas.labels(deltas.READY).inc()
    services.metrics.delta_bytes.inc(size)


def _failed(services: Services, row: deltas.DeltaRow, attempts: int, reason: str) -> None:
    """Begin again after what is queued already, or set the pair aside."""
    if attempts >= services.settings.deltas.attempts:
        _set_aside(services, row, deltas.FAILED, reason)
        return
    with services.index.session() as session:
        add_task(session, TASK, LANE, {"delta": row.id}, now=int(time.time()))
    log.warning("delta failed, beginning again", delta=row.id, attempt=attempts, reason=reason)


def _set_aside(services: Services, row: deltas.DeltaRow, state: str, reason: str) -> None:
    with services.index.session() as session:
        deltas.settle(session, row.id, state, reason)
    services.metrics.deltas.labels(state).inc()
    log.info("delta set aside", delta=row.id, state=state, reason=reason)


def packs_cost(services: Services, source: surface.Revision, target: surface.Revision) -> int:
    """Bytes that a device at `source` fetches to get to `target` without deltas: tree, map, frames of what it lacks."""
    cost = target.tree.size
    if target.packs is None:
        return cost
    have = {one.sha256 for one in decode_contents(read_part(services, source.tree))}
    contents = decode_contents(read_part(services, target.tree))
    missing = [one.sha256 not in have for one in contents]
    packmap = decode_packmap(read_part(services, target.packs), len(contents))
    frames = (
        frame for frame in packmap.frames if any(one.content >= 0 and missing[one.content] for one in frame.members)
    )
    return cost + target.packs.size + sum(frame.size for frame in frames)


def read_part(services: Services, part: surface.Part) -> bytes:
    """A stored document, decoded."""
    with services.blobs.open(part.digest) as blocks:
        return zstd.decompress(b"".join(blocks), part.raw_size)


def _in_process(services: Services, source_id: int, target_id: int, out: IO[bytes], progress: Progress) -> Built:
    """Let a process write the delta into the open file `out`. Raises BuildFailed, TaskInterrupted."""
    order = {
        "settings": services.settings.model_dump(mode="json"),
        "source": source_id,
        "target": target_id,
        "out": out.fileno(),
    }
    with tempfile.TemporaryFile() as words:
        process = subprocess.Popen(
            [sys.executable, "-m", "smidgen_server.delta_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=words,
            pass_fds=(out.fileno(),),
            env={**os.environ, "TMPDIR": str(services.settings.data)},
        )
        try:
            answer = _listen(process, order, progress)
        finally:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()
        if answer is None or "error" in answer:
            words.seek(max(words.seek(0, os.SEEK_END) - LAST_WORDS, 0))
            said = words.read().decode(errors="replace").strip().rpartition("\n")[2]
            reason = answer["error"] if answer else said or f"it ended with status {process.returncode}"
            raise BuildFailed("a delta could not be made", reason=str(reason)[:500])
    return Built(
        size=answer["size"],
        raw_size=answer["raw_size"],
        memory=answer["memory"],
        scratch=answer["scratch"],
        cpu=answer["cpu"],
        header=bytes.fromhex(answer["header"]),
        features=tuple(answer["features"]),
    )


def _listen(process: subprocess.Popen[bytes], order: Mapping[str, Any], progress: Progress) -> dict[str, Any] | None:
    """Hand over the order and follow the lines of JSON until the last one, which is returned; None if it never came."""
    stdin, stdout = process.stdin, process.stdout
    if stdin is None or stdout is None:
        raise BuildFailed("the process has no pipes")
    try:
        stdin.write(json.dumps(order).encode() + b"\n")
        stdin.flush()  # and stays open: at its end the process knows that the server is gone
    except BrokenPipeError:
        return None
    done, total, pending = 0, 0, b""
    while True:
        ready, _, _ = select.select([stdout], [], [], POLL_SECONDS)
        if ready:
            block = os.read(stdout.fileno(), 1 << 16)
            if not block:
                return None
            *lines, pending = (pending + block).split(b"\n")
            for line in lines:
                said: dict[str, Any] = json.loads(line)
                if "done" not in said:
                    return said
                done, total = said["done"], said["total"]
        progress(done, max(total, done + 1), "bytes")
