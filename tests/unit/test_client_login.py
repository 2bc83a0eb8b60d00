"""A password in the server's URL opens the server, and is repeated nowhere."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from smidgen_client.cli import run
from smidgen_client.publish.api import Api
from smidgen_client.state.state import open_state
from smidgen_client.transport.client import Options, Transport
from smidgen_client.transport.retry import RetryPolicy
from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import SmidgenError, Unauthorized
from smidgen_server.services.remote import Remote

PASSWORD = "geheim-pw"
LOGIN = "Basic " + base64.b64encode(f"user:{PASSWORD}".encode()).decode()


class _Guarded(BaseHTTPRequestHandler):
    """Lets in who knows the password; has nothing but `/there`, and `/away`, which redirects."""

    def __init__(self, *args: object, seen: list[str]) -> None:
        self.seen = seen
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self.seen.append(self.headers.get("Authorization", ""))
        known = self.seen[-1] == LOGIN
        body = b"here" if known and self.path == "/there" else b""
        self.send_response(200 if body else 302 if self.path == "/away" else 404 if known else 401)
        if self.path == "/away":
            port = self.server.server_address[1]
            self.send_header("Location", f"http://user:{PASSWORD}@localhost:{port}/gone")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def seen() -> list[str]:
    return []


@pytest.fixture
def host(seen: list[str]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Guarded, seen=seen))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def said(error: SmidgenError) -> str:
    return f"{error} {error.detail} {error!r} {error.__cause__}"


def test_it_opens_the_server(host: str) -> None:
    url = f"http://user:{PASSWORD}@{host}"
    with Transport(url) as transport:
        found = transport.document("there", 10)
        assert found is not None and found.body == b"here"
        assert transport.base_url == f"http://{host}"
    with Remote(url) as remote:
        assert remote.required("there", 10) == b"here"
    with Transport(f"http://{host}") as transport, pytest.raises(Unauthorized):
        transport.document("there", 10)


def test_it_is_sent_to_nobody_else_and_redirects_are_not_repeated_with_it(host: str, seen: list[str]) -> None:
    quick = Options(retry=RetryPolicy(attempts=1))
    with Transport(f"http://user:{PASSWORD}@{host}", quick) as transport, pytest.raises(SmidgenError) as refused:
        transport.document("away", 10)
    assert PASSWORD not in said(refused.value)
    assert seen == [LOGIN, ""]


@pytest.mark.parametrize("address", ["{host}", "127.0.0.1:1", "127.0.0.1:none"])
def test_no_error_repeats_it(host: str, address: str) -> None:
    url = f"http://user:{PASSWORD}@{address.format(host=host)}"
    quick = Options(retry=RetryPolicy(attempts=1))
    for wish in (
        lambda transport: transport.document("u/keys.json", 10),
        lambda transport: list(transport.blob(Digest.of(b"x"), 1)),
    ):
        with Transport(url, quick) as transport, pytest.raises(SmidgenError) as refused:
            wish(transport)
        assert PASSWORD not in said(refused.value)
    with Api(url, "token", retry=quick.retry) as api, pytest.raises(SmidgenError) as refused:
        api.call("GET", "api/v1/tasks/1")
    assert PASSWORD not in said(refused.value)


def test_no_command_and_no_state_file_repeats_it(host: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state, store = tmp_path / "state", f"ostree:{tmp_path}/repo"
    for url in (f"http://user:{PASSWORD}@{host}", f"htp://user:{PASSWORD}@{host}", f"http://user:a/{PASSWORD}@{host}"):
        for words in (
            ["pull", url, "ostree/os/stable", "--into", store],
            ["why", "a", url, "ostree/os/stable", "--into", store],
            ["why", "a", url],
        ):
            assert run([*words, "--state", str(state), "--json"])
        run(["doctor", "--server", url, "--state", str(state)])
        run(["status", "--check", "--state", str(state)])
    shown = capsys.readouterr()
    assert PASSWORD not in shown.out + shown.err
    assert host in shown.out + shown.err
    with open_state(state) as opened:
        assert not opened.trust.listing()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()]
