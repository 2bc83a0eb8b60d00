"""A link that is slow on purpose: forwards TCP connections to one server, delayed and paced in each direction.

All connections share the line, as on a modem: a piece leaves when those before it have left, and arrives half a round
trip later. A new connection costs one round trip before its first byte, as the handshake of TCP does. Neither loss nor
slow start are played, so tools with many connections or requests are not worse off than in the field.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

PIECE: Final = 8 << 10  # bytes that leave at once; connections take turns


@dataclass(slots=True)
class Direction:
    """One way of the line. carried: bytes so far."""

    bytes_per_second: float
    free_at: float = 0.0
    carried: int = 0

    async def leave(self, count: int) -> None:
        """Return when `count` bytes have left, after all that wanted to leave before."""
        now = asyncio.get_running_loop().time()
        self.free_at = max(self.free_at, now) + count / self.bytes_per_second
        self.carried += count
        await asyncio.sleep(self.free_at - now)


@dataclass(slots=True)
class Link:
    """A running link. url: what tools are told in place of the server's."""

    url: str
    server: tuple[str, int]
    delay: float  # seconds, one way
    up: Direction
    down: Direction
    connections: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until both sides have ended it, one has broken it, or the link is cut."""
        self.connections += 1
        task = asyncio.ensure_future(self._connection(reader, writer))
        self.tasks.add(task)
        await asyncio.wait([task])
        self.tasks.discard(task)
        writer.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(*self.server)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._carry(reader, back, self.up, 2 * self.delay))
                    group.create_task(self._carry(there, writer, self.down, 0))
            finally:
                back.close()
        except* OSError:
            pass  # a broken connection is broken for both sides: closing tells them

    async def _carry(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, way: Direction, begin: float
    ) -> None:
        """Pieces of one direction; `begin`: seconds before the first one may leave."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(
            1 + int(way.bytes_per_second * self.delay / PIECE) * 2
        )
        arriving = asyncio.create_task(self._arrive(under_way, target))
        try:
            now = asyncio.get_running_loop().time
            started = now()
            while piece := await source.read(PIECE):
                await asyncio.sleep(started + begin - now())
                await way.leave(len(piece))
                await under_way.put((now() + self.delay, piece))
            await under_way.put((now() + self.delay, b""))
            await arriving
        finally:
            arriving.cancel()

    async def _arrive(self, under_way: asyncio.Queue[tuple[float, bytes]], target: asyncio.StreamWriter) -> None:
        while True:
            when, piece = await under_way.get()
            await asyncio.sleep(when - asyncio.get_running_loop().time())
            if not piece:
                target.write_eof()
                return
            target.write(piece)
            await target.drain()


@contextmanager
def shaped(host: str, port: int, *, round_trip: float, bits_per_second: float) -> Iterator[Link]:
    """A link to HOST:PORT until the end of the block. round_trip: seconds; the rate counts for each direction."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    rate = bits_per_second / 8
    link = Link(url, (host, port), round_trip / 2, Direction(rate), Direction(rate))
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(_run(link, listener, stop),), daemon=True)
    thread.start()
    try:
        yield link
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        loop.close()


async def _run(link: Link, listener: socket.socket, stop: asyncio.Event) -> None:
    async with await asyncio.start_server(link.accept, sock=listener, limit=PIECE):
        await stop.wait()
        for task in tuple(link.tasks):
            task.cancel()
        await asyncio.gather(*link.tasks, return_exceptions=True)
