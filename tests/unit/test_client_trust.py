"""Whose documents a device takes: a bundle and a server are one source where the same keys sign."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from smidgen_client.names import RefName
from smidgen_client.progress import Silent
from smidgen_client.pull.document import UnknownSigner, fetch_document
from smidgen_client.state.state import State, open_state
from smidgen_client.transport.client import Transport
from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import RollbackRefused, SignatureInvalid
from smidgen_deltas.native.bundle import Entry, encode_head
from smidgen_deltas.native.refdoc import Piece, RefDocument, encode_keys, key_id, sign
from support.static_site import serve_directory

NAME = RefName.parse("ostree/os/stable")
NOW = int(time.time())
OLD, NEW, STRANGER = (Ed25519PrivateKey.generate() for _ in range(3))
Signers = tuple[Ed25519PrivateKey, ...]
Publish = Callable[..., str]


def surface(version: int, signers: Signers) -> dict[str, bytes]:
    """The files of a server or a bundle at one version of the ref."""
    digest = Digest.of(b"%d" % version)
    piece = Piece(digest, 1, 1)
    document = RefDocument("ostree", "os", "stable", version, NOW, NOW + 3600, digest, piece, None, 1, 1)
    keys = {key_id(key.public_key()): key.public_key() for key in signers}
    return {"u/keys.json": encode_keys(keys), NAME.path: sign(document, *signers)}


@pytest.fixture
def bundle(tmp_path: Path) -> Publish:
    """Writes a bundle; its address."""

    def write(version: int, *signers: Ed25519PrivateKey, expires: int = NOW + 3600) -> str:
        files = surface(version, signers)
        entries = [Entry(name, len(body), Digest.of(body).raw) for name, body in files.items()]
        path = tmp_path / "bundle"
        path.write_bytes(encode_head(entries, NOW, expires, signers) + b"".join(files.values()))
        return f"bundle:{path}"

    return write


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Publish]:
    """Brings a server to a version; its address."""
    root = tmp_path / "site"
    root.mkdir()
    with serve_directory(root) as site:

        def publish(version: int, *signers: Ed25519PrivateKey) -> str:
            for name, body in surface(version, signers).items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_bytes(body)
            return site.url

        yield publish


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with open_state(tmp_path / "state") as opened:
        yield opened


def look(state: State, url: str, *pinned: Ed25519PrivateKey) -> int:
    """The version that the device now knows the ref at."""
    keys = {key_id(key.public_key()): key.public_key() for key in pinned}
    with Transport(url) as transport:
        return fetch_document(transport, state.trust, NAME, keys, Silent(), NOW).version


def holders(state: State) -> set[str]:
    return {one.server for one in state.trust.listing()}


def test_keys_of_a_server_count_for_bundles(state: State, server: Publish, bundle: Publish) -> None:
    url = server(2, OLD)
    assert look(state, url, OLD) == 2
    with pytest.raises(UnknownSigner) as refused:
        look(state, bundle(3, STRANGER))
    assert refused.value.detail["servers"] == [url] and refused.value.exit == 22
    assert look(state, bundle(3, OLD)) == 3
    assert holders(state) == {url}


def test_an_older_bundle_than_the_server_showed_is_refused(state: State, server: Publish, bundle: Publish) -> None:
    look(state, server(2, OLD))
    with pytest.raises(RollbackRefused):
        look(state, bundle(1, OLD))
    assert look(state, bundle(2, OLD)) == 2


def test_an_older_server_than_the_bundle_was_is_refused(state: State, server: Publish, bundle: Publish) -> None:
    url = server(2, OLD)
    look(state, url)
    look(state, bundle(4, OLD))
    for version in (2, 3):
        server(version, OLD)
        with pytest.raises(RollbackRefused):
            look(state, url)
    server(4, OLD)
    assert look(state, url) == 4


def test_a_bundle_before_the_first_contact_is_remembered(state: State, server: Publish, bundle: Publish) -> None:
    assert look(state, bundle(2, OLD)) == 2
    with pytest.raises(RollbackRefused):
        look(state, server(1, OLD))
    url = server(3, OLD)
    assert look(state, url) == 3
    with pytest.raises(RollbackRefused):
        look(state, bundle(2, OLD))
    assert holders(state) == {"bundle:", url}


def test_new_keys_reach_a_device_by_either_way(state: State, server: Publish, bundle: Publish) -> None:
    url = server(1, OLD)
    look(state, url)
    assert look(state, bundle(2, OLD, NEW)) == 2  # while both sign
    with pytest.raises(UnknownSigner):
        look(state, bundle(3, NEW))
    assert look(state, bundle(3, NEW), NEW) == 3  # the user says so
    assert look(state, bundle(4, NEW)) == 4
    with pytest.raises(SignatureInvalid):
        look(state, server(4, NEW))
    with pytest.raises(RollbackRefused):
        look(state, server(3, NEW), NEW)
    assert look(state, server(4, NEW), NEW) == 4


def test_a_ref_of_one_server_is_not_taken_from_another_one(state: State, bundle: Publish, tmp_path: Path) -> None:
    for number, key in enumerate((OLD, STRANGER)):
        public = key.public_key()
        state.trust.keep(f"http://server{number}", {key_id(public): public}, how="pinned", now=NOW)
    assert look(state, bundle(1, STRANGER)) == 1  # nobody showed the ref yet, and the key is known
    with pytest.raises(UnknownSigner):
        look(state, bundle(2, OLD))


def test_versions_of_other_keys_are_no_reason_to_refuse(state: State, server: Publish) -> None:
    url = server(9, OLD)
    look(state, url)
    assert look(state, server(1, NEW), NEW) == 1
    server(2, NEW)
    look(state, url)
    server(1, NEW)
    with pytest.raises(RollbackRefused):
        look(state, url)


def test_an_expired_bundle_is_called_expired(state: State, server: Publish, bundle: Publish) -> None:
    look(state, server(1, OLD))
    with pytest.raises(RollbackRefused, match="expired"):
        look(state, bundle(2, OLD, expires=NOW - 1))
