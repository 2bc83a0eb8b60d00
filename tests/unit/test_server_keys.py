"""Signing keys of the update surface, and the commands for them."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from smidgen_deltas.errors import Conflict, NotFound, SettingsError
from smidgen_deltas.native.refdoc import key_id
from smidgen_server.__main__ import main
from smidgen_server.services.keys import SigningKeys
from smidgen_server.settings_load import load


@pytest.fixture
def keys(tmp_path: Path) -> SigningKeys:
    return SigningKeys(tmp_path / "keys")


def test_the_first_key_is_made_when_needed(keys: SigningKeys, tmp_path: Path) -> None:
    assert keys.ids() == []
    (signer,) = keys.signers()
    assert keys.ids() == [key_id(signer.public_key())] == [keys.current()]
    assert list(keys.public()) == keys.ids()
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
    for path in (tmp_path / "keys").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    again = SigningKeys(tmp_path / "keys").signers()
    assert [key_id(key.public_key()) for key in again] == keys.ids()


def test_rotation_keeps_signing_with_the_old_key(keys: SigningKeys) -> None:
    old = keys.new()
    new = keys.new()
    assert keys.current() == old
    keys.rotate(new)
    assert [key_id(key.public_key()) for key in keys.signers()] == [new, old]
    with pytest.raises(Conflict):
        keys.remove(new)
    keys.remove(old)
    assert keys.ids() == [new]


@pytest.mark.parametrize("identity", ["0" * 16, "../../etc", "", "current"])
def test_unknown_keys(keys: SigningKeys, identity: str) -> None:
    keys.new()
    for use in (keys.rotate, keys.remove, keys.export):
        with pytest.raises(NotFound):
            use(identity)


def test_a_damaged_key_is_a_clear_error(keys: SigningKeys, tmp_path: Path) -> None:
    first, second = keys.new(), keys.new()
    path = tmp_path / "keys" / f"{first}.pem"
    for damage in (b"", b"-----BEGIN nothing", (tmp_path / "keys" / f"{second}.pem").read_bytes()):
        path.write_bytes(damage)
        with pytest.raises(SettingsError):
            keys.signers()


def run(tmp_path: Path, *arguments: str) -> str:
    found = CliRunner().invoke(main, ["keys", *arguments, "--data", str(tmp_path)], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.stdout


def test_commands(tmp_path: Path) -> None:
    first, second = run(tmp_path, "new").strip(), run(tmp_path, "new").strip()
    assert json.loads(run(tmp_path, "list", "--json")) == [
        {"id": one, "current": one == first} for one in sorted([first, second])
    ]
    run(tmp_path, "rotate", second)
    assert f"* {second}" in run(tmp_path, "list")
    public = load_pem_public_key(run(tmp_path, "export").encode())
    assert key_id(public) == second  # type: ignore[arg-type]
    run(tmp_path, "remove", first)
    assert CliRunner().invoke(main, ["keys", "remove", second, "--data", str(tmp_path)]).exit_code == 33


def test_a_made_token_can_be_put_into_the_settings(tmp_path: Path) -> None:
    made = CliRunner().invoke(
        main, ["keys", "token", "ci", "--repo", "oci/ci/*", "--action", "pull", "--action", "push"]
    )
    (tmp_path / "smidgen.toml").write_text(made.stdout)
    (found,) = load({"data": tmp_path}).auth.tokens
    assert (found.name, found.repos, found.actions) == ("ci", ("oci/ci/*",), ("pull", "push"))
    assert made.stderr.startswith("token: ")


def test_many_threads_that_find_no_key_make_one(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as executor:
        made = executor.map(lambda _: SigningKeys(tmp_path).signers(), range(40))
        found = [[key_id(key.public_key()) for key in keys] for keys in made]
    assert found == [SigningKeys(tmp_path).ids()] * 40
    assert len(found[0]) == 1
