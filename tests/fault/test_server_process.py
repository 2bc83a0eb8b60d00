"""The server as a process: the ways to listen, a graceful end, kill -9 during an upload, memory."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from support.server import ServerProcess, start_server

SERVE = [sys.executable, "-m", "smidgen_server", "serve", "--data"]


def log_lines(data: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (data.parent / f"{data.name}.log").read_text().splitlines()]


def read_until(process: subprocess.Popen[bytes], event: str) -> None:
    """Read the log until something has happened."""
    assert process.stderr is not None
    for line in process.stderr:
        if json.loads(line)["event"] == event:
            return
    raise AssertionError(f"the server ended without {event!r}")


def end(process: subprocess.Popen[bytes]) -> int:
    process.terminate()
    return process.wait(30)


def test_it_serves_logs_json_and_ends_at_sigterm(tmp_path: Path) -> None:
    with start_server(tmp_path / "data") as server:
        assert httpx2.get(f"{server.url}/readyz").json()["status"] == "ok"
        assert httpx2.get(f"{server.url}/v2/").status_code == 401
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
    lines = log_lines(tmp_path / "data")
    assert all({"event", "level", "timestamp"} <= set(line) for line in lines)
    (request,) = (line for line in lines if line["event"] == "request")
    assert (request["path"], request["status"], request["level"]) == ("/v2/", 401, "info")
    assert lines[-1]["event"] == "stopped"


def test_ctrl_c_ends_it_too(tmp_path: Path) -> None:
    with start_server(tmp_path / "data") as server:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(30) == 0


def test_a_request_under_way_may_finish(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        words = [*SERVE, str(tmp_path / "data"), "--fd", str(listener.fileno())]
        process = subprocess.Popen(words, pass_fds=[listener.fileno()], stderr=subprocess.PIPE)
        address = listener.getsockname()
    with socket.create_connection(address) as connection:
        body = b"grant_type=password&username=x&password=y"
        head = f"POST /v2/token HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")  # it is under way
        process.terminate()
        read_until(process, "Shutting down")
        connection.sendall(body)
        assert connection.recv(1000).startswith(b"HTTP/1.1 401 ")
    assert process.wait(30) == 0


def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "s"
    for _ in range(2):  # the second start finds the first one's socket
        words = [*SERVE, str(tmp_path / "data"), "--uds", str(path)]
        process = subprocess.Popen(words, stderr=subprocess.PIPE)
        read_until(process, "serving")
        with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(path))) as client:
            assert client.get("http://server/healthz").json() == {"status": "ok"}
        assert path.stat().st_mode & 0o777 == 0o660
        assert end(process) == 0


def test_socket_activation_by_systemd(tmp_path: Path) -> None:
    """What systemd does: the socket is descriptor 3, LISTEN_PID and LISTEN_FDS say so."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.fileno()
        script = f'exec 3<&{number} && LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'
        words = ["bash", "-c", script, "bash", *SERVE, str(tmp_path / "data")]
        process = subprocess.Popen(words, pass_fds=[number], stderr=subprocess.DEVNULL)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    assert httpx2.get(f"{address}/healthz", timeout=30).json() == {"status": "ok"}  # connecting works at once
    assert end(process) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fd", "77"], "the descriptor is not a socket"),
        (["--fd", "0"], "the descriptor is not a socket"),
        (["--listen", "192.0.2.7:80"], "cannot listen on 192.0.2.7:80: Cannot assign requested address"),
        (["--uds", "/proc/none/x"], "cannot listen on /proc/none/x"),
        (["--config", "/no/such.toml"], "settings file /no/such.toml cannot be read"),
    ],
)
def test_a_start_that_cannot_be(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = subprocess.run(
        [*SERVE, str(tmp_path / "data"), *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 3
    assert message in done.stderr.splitlines()[0]
    assert "Traceback" not in done.stderr


def test_a_data_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = subprocess.run(
        [*SERVE, str(tmp_path / "file" / "data"), "--listen", "127.0.0.1:0"], capture_output=True, text=True
    )
    assert done.returncode == 50
    assert "Traceback" not in done.stderr


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    with start_server(tmp_path / "data"):
        pass
    with sqlite3.connect(tmp_path / "data" / "index.sqlite") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999_future'")
    done = subprocess.run([*SERVE, str(tmp_path / "data"), "--listen", "127.0.0.1:0"], capture_output=True, text=True)
    assert done.returncode == 3
    assert "newer version" in done.stderr
    assert "Traceback" not in done.stderr


def push_some(server: ServerProcess, body: bytes) -> str:
    """Begin an upload and send `body` as its first chunk; the upload's URL."""
    with httpx2.Client(base_url=server.url, headers=server.auth, timeout=60) as client:
        begun = client.post("/v2/team/app/blobs/uploads/")
        assert begun.status_code == 202
        answer = client.patch(begun.headers["location"], content=body)
        assert answer.status_code == 202
        return str(answer.headers["location"])


def test_an_upload_survives_kill_9(tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    with start_server(tmp_path / "data") as server:
        location = push_some(server, data[:2_000_000]).removeprefix(server.url)
        server.kill()
    with start_server(tmp_path / "data") as server:
        with httpx2.Client(base_url=server.url, headers=server.auth, timeout=60) as client:
            state = client.get(location)
            assert (state.status_code, state.headers["range"]) == (204, "0-1999999")
            done = client.put(
                location, params={"digest": "sha256:" + hashlib.sha256(data).hexdigest()}, content=data[2_000_000:]
            )
            assert done.status_code == 201
            assert client.get(done.headers["location"]).content == data


def test_memory_stays_small_whatever_the_size_of_a_blob(tmp_path: Path) -> None:
    block, count = os.urandom(1 << 20), 512
    digest = hashlib.sha256(block * count).hexdigest()
    with start_server(tmp_path / "data") as server:
        location = push_some(server, b"")
        with httpx2.Client(base_url=server.url, headers=server.auth, timeout=120) as client:
            done = client.put(location, params={"digest": f"sha256:{digest}"}, content=(block for _ in range(count)))
            assert done.status_code == 201
            with client.stream("GET", done.headers["location"]) as answer:
                assert sum(len(part) for part in answer.iter_raw()) == count << 20
        assert server.peak_memory() <= 256 << 20
