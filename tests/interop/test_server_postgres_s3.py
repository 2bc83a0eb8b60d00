"""The server on PostgreSQL and a bucket: an image goes in and comes out, also after a restart."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from support.oci_content import digest_of
from support.server import run_server


@pytest.mark.needs("postgres")
def test_a_blob_goes_in_and_comes_out(tmp_path: Path, postgres: str, s3: dict[str, Any]) -> None:
    data = os.urandom(12_000_000)  # more than one part of an upload
    digest = digest_of(data)
    settings = {"database": postgres, "blobs": s3}
    with run_server(tmp_path / "data", **settings) as server, server.client() as client:
        assert client.get("/readyz").json() == {"status": "ok", "database": "ok", "blobs": "ok"}
        begun = client.post("/v2/team/app/blobs/uploads/")
        half = client.patch(begun.headers["location"], content=data[:5_000_000])
        assert (
            client.put(half.headers["location"], params={"digest": digest}, content=data[5_000_000:]).status_code == 201
        )
    assert not (tmp_path / "data" / "index.sqlite").exists()
    assert not list((tmp_path / "data").rglob("*" + digest.removeprefix("sha256:")[2:]))
    with run_server(tmp_path / "elsewhere", **settings) as server, server.anonymous() as client:
        path = f"/v2/team/app/blobs/{digest}"
        assert client.get(path).content == data
        assert client.get(path, headers={"Range": "bytes=-9"}).content == data[-9:]
        assert client.head(path).headers["content-length"] == str(len(data))
