"""A real S3 API for tests: moto's server in a thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx2

_numbers = count(1)
CREDENTIALS = {"access_key_id": "testing", "secret_access_key": "testing", "region": "us-east-1"}


@dataclass(frozen=True, slots=True)
class S3Server:
    url: str

    def bucket(self) -> dict[str, Any]:
        """A new bucket, as settings of `blobs`."""
        name = f"bucket{next(_numbers)}"
        httpx2.put(f"{self.url}/{name}", headers={"Host": "s3.us-east-1.amazonaws.com"}).raise_for_status()
        options = {**CREDENTIALS, "endpoint": self.url, "allow_http": "true", "virtual_hosted_style_request": "false"}
        return {"url": f"s3://{name}/blobs", "options": options}


@contextmanager
def start_s3() -> Iterator[S3Server]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield S3Server(f"http://{host}:{port}")
    finally:
        server.stop()
