"""Summaries and signatures: ours are read by stock ostree, stock ostree's by us."""

from __future__ import annotations

import base64
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from smidgen_deltas.errors import LimitExceeded, SignatureInvalid
from smidgen_deltas.ostree import gvariant
from smidgen_deltas.ostree.commitmeta import (
    ED25519,
    GPG,
    MAX_SIGNATURE,
    MAX_SIGNATURES,
    SigningKeyInvalid,
    parse_ed25519_keys,
    sign_ed25519,
    signatures,
    verify_ed25519,
    with_signature,
)
from smidgen_deltas.ostree.deltaname import DeltaName
from smidgen_deltas.ostree.gpg import ArmorInvalid, dearmor, verify_gpg
from smidgen_deltas.ostree.gvariant import Variant
from smidgen_deltas.ostree.objects import ObjectName, ObjectType, loose_path
from smidgen_deltas.ostree.summary import MODE, MODIFIED, Summary, describe, time_variant
from support.gpg import GpgKey, make_key
from support.ostree import FIRST, REF, SECOND, VECTORS, ostree, unpack_archive_repo

pytestmark = pytest.mark.needs("ostree")

SECRET = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
PUBLIC = SECRET.public_key().public_bytes_raw()
SECRET_TEXT = base64.b64encode(SECRET.private_bytes_raw() + PUBLIC).decode()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return unpack_archive_repo(tmp_path)


@pytest.fixture(scope="module")
def key() -> Iterator[GpgKey]:
    folder = Path(tempfile.mkdtemp(prefix="gpg"))
    try:
        with make_key(folder / "home") as made:
            yield made
    finally:
        shutil.rmtree(folder)


def commit_file(repo: Path, checksum: bytes) -> Path:
    return repo / loose_path(ObjectName(ObjectType.COMMIT, checksum), "archive")


def commitmeta_file(repo: Path, checksum: bytes) -> Path:
    return commit_file(repo, checksum).with_suffix(".commitmeta")


def test_the_summary_of_stock_ostree_comes_back_byte_for_byte(repo: Path) -> None:
    ostree(repo, "refs", "--create=other/ref", FIRST.hex())
    ostree(repo, "summary", "-u")
    body = (repo / "summary").read_bytes()
    found = Summary.decode(body)
    assert found.encode() == body
    assert [(entry.ref, entry.commit) for entry in found.refs] == [("other/ref", FIRST), (REF, SECOND)]
    for entry in found.refs:
        ours = describe(entry.ref, entry.commit, commit_file(repo, entry.commit).read_bytes())
        assert (ours.size, ours.timestamp) == (entry.size, entry.timestamp)
    assert found.deltas() or found.has_indexes


def test_stock_ostree_reads_our_summary(repo: Path) -> None:
    refs = tuple(
        describe(name, commit, commit_file(repo, commit).read_bytes())
        for name, commit in (("z", FIRST), ("a/b", SECOND))
    )
    before = Summary.decode((repo / "summary").read_bytes())
    metadata = {MODE: before.metadata[MODE], MODIFIED: time_variant(1_700_000_000)}
    (repo / "summary").write_bytes(Summary(refs, metadata).encode())
    told = ostree(repo, "summary", "--view")
    assert told.index("* a/b") < told.index("* z")
    assert SECOND.hex() in told
    assert "2023-11-14" in told


def test_ed25519_signatures_of_stock_ostree_are_verified(repo: Path) -> None:
    """Debian's ostree is built without them; those in the vectors were made by one that has them."""
    (toy,) = parse_ed25519_keys((VECTORS / "toy-ed25519.pub").read_text())
    body, metadata = commit_file(repo, SECOND).read_bytes(), commitmeta_file(repo, SECOND).read_bytes()
    found = signatures(metadata, ED25519)
    assert verify_ed25519(body, found, [bytes(32), toy]) == toy
    for signed, trusted, revoked in ((body + b"x", [toy], []), (body, [PUBLIC], []), (body, [toy], [toy])):
        with pytest.raises(SignatureInvalid):
            verify_ed25519(signed, found, trusted, revoked)
    more = with_signature(metadata, ED25519, sign_ed25519(body, SECRET_TEXT))
    assert signatures(more, GPG) == signatures(metadata, GPG)
    assert verify_ed25519(body, signatures(more, ED25519), [PUBLIC]) == PUBLIC


@pytest.mark.parametrize(
    "secret", ["", "?", "AAAA", SECRET_TEXT[:-8], base64.b64encode(bytes(range(64))).decode(), "é"]
)
def test_damaged_secrets_are_refused(secret: str) -> None:
    with pytest.raises(SigningKeyInvalid):
        sign_ed25519(b"", secret)


@pytest.mark.parametrize("value", [Variant("ay", b"x"), Variant("as", ("x",))])
def test_signatures_of_another_type_are_refused(value: Variant) -> None:
    with pytest.raises(SignatureInvalid):
        signatures(gvariant.encode("a{sv}", {ED25519: value}), ED25519)


def test_too_many_or_too_large_signatures_are_refused() -> None:
    for values in ((bytes(64),) * (MAX_SIGNATURES + 1), (bytes(MAX_SIGNATURE + 1),)):
        with pytest.raises(LimitExceeded):
            signatures(gvariant.encode("a{sv}", {GPG: Variant("aay", values)}), GPG)


@pytest.mark.needs("gpg", "gpgv")
def test_gpg_signatures_of_stock_ostree_are_verified(repo: Path, key: GpgKey) -> None:
    body = commit_file(repo, SECOND).read_bytes()
    toy = (VECTORS / "toy-gpg-public.asc").read_bytes()
    verify_gpg(body, signatures(commitmeta_file(repo, SECOND).read_bytes(), GPG), [toy])
    commitmeta_file(repo, SECOND).unlink()
    ostree(repo, "gpg-sign", f"--gpg-homedir={key.home}", SECOND.hex(), key.identity)
    found = signatures(commitmeta_file(repo, SECOND).read_bytes(), GPG)
    signer = verify_gpg(body, found, [key.public.read_bytes()])
    assert len(signer.fingerprint) == 40
    assert signer.primary == signer.fingerprint
    assert verify_gpg(body, [b"not a signature", *found], [toy, key.public.read_bytes()]) == signer
    for signed, tried, keyrings in ((body + b"x", found, [key.public.read_bytes()]), (body, found, [toy])):
        with pytest.raises(SignatureInvalid):
            verify_gpg(signed, tried, keyrings)
    with pytest.raises(SignatureInvalid):
        verify_gpg(body, [], [key.public.read_bytes()])


def test_armor_is_taken_off() -> None:
    armored = (VECTORS / "toy-gpg-public.asc").read_bytes()
    binary = dearmor(armored)
    assert dearmor(binary) == binary
    assert dearmor(armored + armored) == binary + binary
    lines = armored.splitlines()
    for damaged in (lines[:-1], [*lines[:3], b"?" + lines[3][1:], *lines[4:]], [*lines[:3], *lines[4:]]):
        with pytest.raises(ArmorInvalid):
            dearmor(b"\n".join(damaged))


def test_stock_deltas_are_listed_in_a_summary_that_lists_them(repo: Path) -> None:
    config = repo / "config"
    config.write_text(config.read_text() + "no-deltas-in-summary=false\n")
    ostree(repo, "summary", "-u")
    found = Summary.decode((repo / "summary").read_bytes())
    listed = found.deltas()
    assert set(listed) == {DeltaName(None, FIRST), DeltaName(FIRST, SECOND)}
