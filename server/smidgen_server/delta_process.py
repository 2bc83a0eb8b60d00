"""The process that makes one delta: `python -m smidgen_server.delta_process`, started by services.deltas.

Standard input: one line of JSON {"settings", "source", "target" (row ids of revisions), "out" (open file)}, then open
for as long as the server lives. Standard output: lines {"done", "total"}, at the end {"size", "raw_size", "memory",
"scratch", "cpu", "header", "features"} or {"error"}.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any, Final

from smidgen_deltas.engine.make import make
from smidgen_deltas.errors import SmidgenError
from smidgen_deltas.native.delta import LEAD, decode_header, decode_lead
from smidgen_server.blobs.choose import open_store
from smidgen_server.index.base import Index
from smidgen_server.services.delta_sources import open_tree
from smidgen_server.settings import Settings

LINE_SECONDS: Final = 0.5


def main() -> None:
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=_leave_with_the_server, daemon=True).start()
    settings = Settings.model_validate(order["settings"])
    limit = settings.deltas.memory_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    os.nice(5)
    try:
        with os.fdopen(order["out"], "r+b") as out:
            say(**_make(settings, order["source"], order["target"], out))
    except SmidgenError as error:
        say(error=str(error))
    except MemoryError:
        say(error=f"more than {limit} bytes of memory are needed")


def say(**words: Any) -> None:
    print(json.dumps(words), flush=True)


def _make(settings: Settings, source: int, target: int, out: IO[bytes]) -> dict[str, Any]:
    index = Index(settings.database_url, pool_size=settings.deltas.workers)
    try:
        store = open_store(settings)
        old, new = open_tree(index, store, source), open_tree(index, store, target)
        with ThreadPoolExecutor(settings.deltas.workers) as executor:
            report = make([old], new, out, settings.deltas.effort, executor, _Lines())
    finally:
        index.close()
    out.flush()
    out.seek(0)
    lead = decode_lead(out.read(LEAD))
    out.seek(lead.start)
    header = decode_header(lead, out.read(lead.size))
    return {
        "size": report.size,
        "raw_size": header.output,
        "memory": header.memory,
        "scratch": header.scratch,
        "cpu": int(header.cpu),
        "header": lead.sha256.hex(),
        "features": [f"{one.name}-{one.version}" for one in header.transforms],
    }


class _Lines:
    """Progress, now and then."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, done: int, total: int) -> None:
        if (now := time.monotonic()) >= self._next:
            self._next = now + LINE_SECONDS
            say(done=done, total=total)


def _leave_with_the_server() -> None:
    while sys.stdin.read(1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
