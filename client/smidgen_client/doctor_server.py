"""What `smidgen doctor --server URL` asks a server, in a handful of requests."""

from __future__ import annotations

import time
from typing import Final

from smidgen_client.doctor import Finding
from smidgen_client.pull.document import KEYS_PATH
from smidgen_client.transport.client import Transport
from smidgen_deltas.errors import SmidgenError
from smidgen_deltas.native.refdoc import MAX_DOCUMENT, decode_keys

SLOW: Final = 2.0


def examine_server(transport: Transport) -> list[Finding]:
    """Whether the server answers, with which keys, and how quickly."""
    started = time.monotonic()
    try:
        answer = transport.document(KEYS_PATH, MAX_DOCUMENT)
        keys = sorted(decode_keys(answer.body)) if answer else []
    except SmidgenError as error:
        return [Finding("server", "bad", f"{transport.base_url}: {error}")]
    seconds = time.monotonic() - started
    return [
        Finding("server", "ok", f"{transport.base_url} shows keys {', '.join(keys) or 'none'}"),
        Finding("latency", "ok" if seconds < SLOW else "note", f"first answer after {seconds * 1000:.0f} ms"),
    ]
