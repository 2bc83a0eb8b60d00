"""Settings: where they come from, which wins, and what a mistake looks like."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from smidgen_deltas.errors import SettingsError
from smidgen_server.__main__ import main
from smidgen_server.settings import Settings
from smidgen_server.settings_load import load


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_the_data_directory_is_enough(tmp_path: Path) -> None:
    found = load({"data": tmp_path})
    assert found == Settings(data=tmp_path)
    assert found.database_url == f"sqlite:///{tmp_path}/index.sqlite"
    assert not found.auth.anonymous_push


def test_who_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        tmp_path / "data" / "smidgen.toml",
        'listen = "file:1"\nlog_level = "error"\npool_size = 2\n[limits]\npage = 3\n[auth]\nservice = "file"',
    )
    write(tmp_path / "secrets" / "pool_size", "4\n")
    write(tmp_path / "secrets" / "auth__secret", "s" * 40 + "\n")
    write(tmp_path / "secrets" / "somebody-elses.pem", "not ours")
    monkeypatch.setenv("SMIDGEN_SECRETS_DIR", str(tmp_path / "secrets"))
    monkeypatch.setenv("SMIDGEN_LOG_LEVEL", "debug")
    monkeypatch.setenv("SMIDGEN_LIMITS__THREADS", "5")
    found = load({"data": tmp_path / "data", "listen": "argument:1"})
    assert (found.listen, found.log_level, found.pool_size) == ("argument:1", "debug", 4)
    assert (found.limits.page, found.limits.threads) == (3, 5)
    assert (found.auth.secret, found.auth.service) == ("s" * 40, "file")


def test_lists_come_from_the_environment_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = {"name": "ci", "sha256": "0" * 64, "repos": ["oci/ci/*"], "actions": ["pull", "push"]}
    monkeypatch.setenv("SMIDGEN_AUTH__TOKENS", json.dumps([token]))
    (found,) = load({"data": tmp_path}).auth.tokens
    assert found.model_dump(mode="json") == token


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="none.toml cannot be read"):
        load({"data": tmp_path}, tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('lisen = "x"', "lisen: unknown setting; did you mean listen?"),
        ("[auth]\nanonymus_push = true", "auth.anonymus_push: unknown setting; did you mean anonymous_push?"),
        ("[[auth.tokens]]\nname = 'x'\nsha256 = 'abc'", "auth.tokens.0.sha256: string should match"),
        ("[limits]\npage = 0", "limits.page: input should be greater than or equal to 1, not 0"),
        ('listen = "8080"', 'listen: must be HOST:PORT, not "8080"'),
        ("[auth]\nsecret = 'short'", "auth.secret: string should have at least 32 characters, not what is given"),
        ("pool_size = 'many'", "pool_size: input should be a valid integer"),
        ("[[auth.tokens]]\nname = 'x'\nsha256 = '" + "0" * 64 + "'\nactions = ['read']", "auth.tokens.0.actions.0: "),
        ("[deltas]\nprofile = 'tiny'", "deltas.profile: "),
        ("log_level =", "is not TOML"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_setting(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError) as failure:
        load({"data": tmp_path}, write(tmp_path / "s.toml", text))
    assert message in str(failure.value)
    assert "\n" not in str(failure.value)
    assert "short" not in str(failure.value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("SMIDGEN_LISTN", "x", "SMIDGEN_LISTN in the environment is not a setting; did you mean SMIDGEN_LISTEN?"),
        ("SMIDGEN_AUHT__SECRET", "x", "SMIDGEN_AUHT__SECRET in the environment is not a setting"),
        ("SMIDGEN_AUTH__SECRT", "x", "auth.secrt: unknown setting; did you mean secret?"),
        ("SMIDGEN_AUTH__TOKENS", "[{", "SMIDGEN_AUTH"),
        ("SMIDGEN_POOL_SIZE", "0", "pool_size: "),
        ("SMIDGEN_SECRETS_DIR", "/no/such/dir", "secrets directory /no/such/dir is not there"),
    ],
)
def test_mistakes_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as failure:
        load({"data": tmp_path})
    assert message in str(failure.value)


def test_other_programs_variables_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMIDGEN_ALL_TOOLS", "1")
    monkeypatch.setenv("SMIDGEN_TOKEN", "the client's")
    load({"data": tmp_path})


def test_the_data_directory_must_be_named() -> None:
    with pytest.raises(SettingsError, match="data: must be set"):
        load({})


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def test_serve_with_a_wrong_setting_is_one_line_and_exit_code_3(tmp_path: Path) -> None:
    found = run("serve", "--data", str(tmp_path), "--listen", "nowhere")
    assert found.exit_code == 3
    assert found.stderr.splitlines() == [
        'smidgen: listen: must be HOST:PORT, not "nowhere"',
        "  Correct the named setting and start again.",
    ]


def test_serve_on_a_taken_address(tmp_path: Path, server_factory) -> None:  # type: ignore[no-untyped-def]
    found = run("serve", "--data", str(tmp_path / "other"), "--listen", server_factory().host)
    assert found.exit_code == 3
    assert "Address already in use" in found.stderr


def test_config_show_hides_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMIDGEN_AUTH__SECRET", "geheim" * 8)
    monkeypatch.setenv("SMIDGEN_DATABASE", "postgresql://me:geheim@db/smidgen")
    monkeypatch.setenv("SMIDGEN_BLOBS__OPTIONS", '{"region": "x", "secret_access_key": "geheim"}')
    monkeypatch.setenv("SMIDGEN_AUTH__TOKENS", json.dumps([{"name": "ci", "sha256": "deadbeef" * 8}]))
    found = run("config", "show", "--data", str(tmp_path))
    shown = json.loads(found.stdout)
    assert "geheim" not in found.stdout
    assert "deadbeef" not in found.stdout
    assert shown["blobs"]["options"] == {"region": "x", "secret_access_key": "(hidden)"}
    assert shown["database"] == "postgresql://me:***@db/smidgen"


def test_config_verify(tmp_path: Path) -> None:
    passwords = write(tmp_path / "htpasswd", "alice:{SHA}xyz\n")
    file = write(tmp_path / "s.toml", f'[auth]\nhtpasswd = "{passwords}"')
    found = run("config", "verify", "--data", str(tmp_path / "data"), "--config", str(file))
    assert found.exit_code == 3
    assert "not user:hash by argon2 or bcrypt" in found.stderr
    passwords.write_text("")
    assert run("config", "verify", "--data", str(tmp_path / "data"), "--config", str(file)).exit_code == 0
    assert not (tmp_path / "data").exists()


def test_config_schema_names_every_setting() -> None:
    schema = json.loads(run("config", "schema").stdout)
    assert set(schema["properties"]) == set(Settings.model_fields)


def test_db_upgrade(tmp_path: Path) -> None:
    assert run("db", "upgrade", "--data", str(tmp_path)).exit_code == 0
    assert (tmp_path / "index.sqlite").exists()
