"""Request bodies, streamed: never more than a batch of them in memory.

`drain` suits bodies that are only stored (it holds a thread just while a batch is written); `BodyReader` suits code
that parses and needs `read`, run by `in_body_thread` on threads of their own, so that slow senders cannot take the
threads that everyone else needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread
from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from smidgen_deltas.errors import LimitExceeded

BATCH: Final = 1 << 20  # bytes handed over at once
BODY_THREADS: Final = 16
Result = TypeVar("Result")


async def drain(request: Request, write: Callable[[bytes], None], *, limit: int) -> int:
    """Hand the body to `write`, off the event loop, in batches of about BATCH bytes; returns how many bytes there were.

    Raises:
        LimitExceeded: the body is (or says it is) longer than `limit` bytes.
        ClientDisconnect: the sender went away; what came before was written.
    """
    check_declared(request, limit)
    writer, pending, total = _Writer(write), bytearray(), 0
    try:
        async for chunk in request.stream():
            total += len(chunk)
            if total > limit:
                raise LimitExceeded("the body is larger than allowed", limit=limit)
            pending += chunk
            if len(pending) >= BATCH:
                full, pending = pending, bytearray()
                await writer.start(full)
    finally:
        with anyio.CancelScope(shield=True):
            await writer.finish(pending)
    return total


class _Writer:
    """Writes one batch off the event loop while the next one arrives. After a write that failed none follows."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._running: asyncio.Task[None] | None = None
        self._failed = False

    async def start(self, batch: bytearray) -> None:
        """Waits for the batch before; raises what its write raised."""
        await self._wait()
        self._running = asyncio.create_task(run_in_threadpool(self._write, bytes(batch)))

    async def finish(self, last: bytearray) -> None:
        await self._wait()
        if last and not self._failed:
            await self.start(last)
            await self._wait()

    async def _wait(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            self._failed = True
            await running
            self._failed = False


def check_declared(request: Request, limit: int) -> None:
    """Refuse by Content-Length alone what is too long. Raises LimitExceeded."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise LimitExceeded("the body is larger than allowed", limit=limit, declared=int(declared))


async def in_body_thread(request: Request, work: Callable[[BodyReader], Result], *, limit: int) -> Result:
    """Run `work` with a reader of the body on a thread kept for that. Errors as BodyReader.read and `work`."""
    check_declared(request, limit)
    state = request.app.state
    if not hasattr(state, "body_threads"):
        state.body_threads = anyio.CapacityLimiter(BODY_THREADS)
    return await anyio.to_thread.run_sync(work, BodyReader(request, limit), limiter=state.body_threads)


class BodyReader:
    """A request's body as a file: only for the thread that `in_body_thread` runs."""

    def __init__(self, request: Request, limit: int) -> None:
        self._stream = request.stream()
        self._limit = limit
        self._pending = b""
        self._at = 0
        self._total = 0

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, fewer only at the end, b"" after it.

        Raises:
            LimitExceeded: the body is longer than allowed.
            ClientDisconnect: the sender went away.
        """
        parts: list[bytes] = []
        missing = size
        while missing > 0:
            if self._at == len(self._pending):
                self._pending, self._at = anyio.from_thread.run(self._pull), 0
                if not self._pending:
                    break
            part = self._pending[self._at : self._at + missing]
            self._at += len(part)
            missing -= len(part)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _pull(self) -> bytes:
        """The next chunks, together at least a quarter of a batch, so that few hops between threads are needed."""
        found = bytearray()
        async for chunk in self._stream:
            found += chunk
            if len(found) >= BATCH // 4:
                break
        self._total += len(found)
        if self._total > self._limit:
            raise LimitExceeded("the body is larger than allowed", limit=self._limit)
        return bytes(found)
