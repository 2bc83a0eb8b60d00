"""The process that makes one delta: `python -m smidgen_server.delta_process`, started by services.delta_worker.

Standard input: one line of JSON, the order (delta_worker.Order), then open for as long as the delta is wanted: at its
end the process goes, whatever it is doing. Standard output: lines {"done", "total"}, and a last one that says what came
of it (delta_worker.Outcome). The files of the delta go to the blob store unless the delta saves too little.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Final

from sqlalchemy.exc import NoResultFound

from smidgen_deltas.errors import SmidgenError
from smidgen_server.blobs.base import BlobStore
from smidgen_server.blobs.choose import open_store
from smidgen_server.index import surface
from smidgen_server.index.base import Index
from smidgen_server.services import delta_formats
from smidgen_server.services.delta_cost import packs_cost
from smidgen_server.services.delta_formats import Useless, Work
from smidgen_server.settings import DeltaSettings, Settings

LINE_SECONDS: Final = 0.5
BLOCK: Final = 1 << 20
RECIPES: Final = "recipes.sqlite"
PER_THREAD: Final = 256 << 20  # bytes of the memory limit; more threads than fit would break it


def main() -> None:
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=_leave_when_unwanted, daemon=True).start()
    settings = Settings.model_validate(order["settings"])
    here = settings.data.is_dir()
    if not here:  # another machine
        settings = settings.model_copy(update={"data": Path(tempfile.gettempdir())})
    limit = settings.deltas.memory_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    os.nice(5)
    try:
        say(**_run(settings, order, settings.data / RECIPES if here else None))
    except Useless as reason:
        say(useless=str(reason))
    except SmidgenError as error:
        say(error=str(error))
    except NoResultFound:
        say(error="a revision is gone")
    except MemoryError:
        say(error=f"more than {limit} bytes of memory are needed")
    except Exception as error:  # noqa: BLE001 - the edge of the process; libraries have words of their own for memory refused
        traceback.print_exc()
        say(error=f"{type(error).__name__}: {error} ({limit} bytes of memory were allowed)")


def say(**words: Any) -> None:
    print(json.dumps(words), flush=True)


def threads(settings: DeltaSettings) -> int:
    """How many threads make a delta: all cores by default, as far as memory goes."""
    wanted = settings.workers or len(os.sched_getaffinity(0))
    return max(1, min(wanted, settings.memory_bytes // PER_THREAD))


def _run(settings: Settings, order: dict[str, Any], recipes: Path | None) -> dict[str, Any]:
    count = threads(settings.deltas)
    index, store = Index(settings.database_url, pool_size=count), open_store(settings)
    try:
        with index.read() as session:
            sources = tuple(surface.get_revision(session, number) for number in order["sources"])
            target = surface.get_revision(session, order["target"])
        with ExitStack() as files, ThreadPoolExecutor(count) as executor:
            written: dict[str, IO[bytes]] = {}
            work = Work(index, store, sources, target, settings.deltas, executor, _Lines(), recipes)
            facts = delta_formats.find(order["format"]).build(work, _creator(written, files, settings.data))
            size = sum(file.seek(0, os.SEEK_END) for file in written.values())
            cost = packs_cost(store, sources, target) if facts.cost is None else facts.cost
            if size > order["keep_share"] * cost:
                return {"useless": f"{size} bytes save too little: the full update costs {cost}", "cost": cost}
            stored = [(name, *_store(store, file)) for name, file in written.items()]
    finally:
        index.close()
    header = facts.header.hex() if facts.header else None
    return {**asdict(facts), "header": header, "files": stored, "size": size, "cost": cost}


def _creator(written: dict[str, IO[bytes]], files: ExitStack, folder: Path) -> Callable[[str], IO[bytes]]:
    """Makes files without a name on disk, so that nothing is left behind however this ends."""

    def create(name: str) -> IO[bytes]:
        written[name] = files.enter_context(tempfile.TemporaryFile(dir=folder))  # noqa: SIM115 - it does
        return written[name]

    return create


def _store(store: BlobStore, file: IO[bytes]) -> tuple[str, int]:
    file.seek(0)
    with store.writer() as writer:
        while block := file.read(BLOCK):
            writer.write(block)
        digest, size = writer.finish()
    return str(digest), size


class _Lines:
    """Progress, now and then."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, done: int, total: int) -> None:
        if (now := time.monotonic()) >= self._next:
            self._next = now + LINE_SECONDS
            say(done=done, total=total)


def _leave_when_unwanted() -> None:
    while sys.stdin.read(1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
