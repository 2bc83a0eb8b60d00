"""The slow link of the benchmark: bytes arrive whole, not sooner than they may, and every connection gets its share."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from smidgen_benchmarks.shaped_link import shaped


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """A server that sends back what it gets until the sender has ended."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_serve, args=(listener,), daemon=True).start()
        yield listener.getsockname()


def _serve(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_echo, args=(connection,), daemon=True).start()


def _echo(connection: socket.socket) -> None:
    with connection:
        while block := connection.recv(1 << 16):
            connection.sendall(block)


def ask(url: str, body: bytes) -> bytes:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        sender = threading.Thread(target=_send, args=(connection, body))
        sender.start()
        found = b""
        while block := connection.recv(1 << 16):
            found += block
        sender.join()
    return found


def _send(connection: socket.socket, body: bytes) -> None:
    connection.sendall(body)
    connection.shutdown(socket.SHUT_WR)


def test_a_byte_takes_a_round_trip_after_the_handshake(echo: tuple[str, int]) -> None:
    with shaped(*echo, round_trip=0.1, bits_per_second=8e6) as link:
        started = time.monotonic()
        assert ask(link.url, b"x") == b"x"
        assert time.monotonic() - started >= 0.2  # never sooner, however fast the machine is


def test_bytes_arrive_whole_and_at_the_rate(echo: tuple[str, int]) -> None:
    body = bytes(range(256)) * 800
    with shaped(*echo, round_trip=0.01, bits_per_second=8e6) as link:
        started = time.monotonic()
        assert ask(link.url, body) == body
        assert time.monotonic() - started >= len(body) / 1e6
        assert (link.up.carried, link.down.carried, link.connections) == (len(body), len(body), 1)


def test_connections_share_the_line(echo: tuple[str, int]) -> None:
    bodies = [bytes([number]) * 60_000 for number in range(4)]
    with shaped(*echo, round_trip=0.01, bits_per_second=8e6) as link, ThreadPoolExecutor(4) as pool:
        started = time.monotonic()
        assert list(pool.map(lambda body: ask(link.url, body), bodies)) == bodies
        assert time.monotonic() - started >= sum(map(len, bodies)) / 1e6


def test_a_server_that_is_not_there_ends_the_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = closed.getsockname()
    with shaped(*address, round_trip=0.01, bits_per_second=8e6) as link:
        host, port = link.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            assert connection.recv(1) == b""
