"""What a person and a program get from every command that is used wrongly: an exit code of the table, words, JSON.

Commands run in this process through the function that the program itself calls; nothing here needs a server.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from smidgen_client.cli import run
from smidgen_deltas.oci.layout_writer import LayoutWriter
from smidgen_deltas.ostree.repo_writer import RepositoryWriter

NOWHERE = "http://127.0.0.1:1"


@dataclass(frozen=True)
class Answer:
    """exit code, standard output, standard error."""

    exit: int
    out: str
    err: str

    @property
    def error(self) -> dict[str, object]:
        """The error on the last line of JSON."""
        found: dict[str, object] = json.loads(self.out.splitlines()[-1])["error"]
        return found


Shell = Callable[..., Answer]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """Runs commands in an empty folder with one file, one empty repository and one empty layout."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SMIDGEN_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", str(tmp_path))
    Path("file").write_bytes(b"just a file\n")
    Path("folder/inside").mkdir(parents=True)
    RepositoryWriter.open_or_create(Path("repo"), "archive")
    LayoutWriter.open_or_create(Path("layout"))
    os.mkfifo("fifo")

    def type_in(*words: str) -> Answer:
        try:
            status = run(list(words))
        except SystemExit as end:  # so do commands of the server, which can be run without this program, too
            status = int(end.code or 0)
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Answer(status, captured.out, captured.err)

    return type_in


WRONG = [
    # as written it makes no sense
    (2, "container export ostree:repo oci:layout:a"),
    (2, "container export ostree:repo@a tree:x"),
    (2, "container import oci:layout:a folder:x"),
    (2, "container import oci:layout:a ostree:@a"),
    (2, "pull"),
    (2, "frobnicate"),
    (2, f"pull {NOWHERE} nonsense --into tree:x"),
    (2, f"pull {NOWHERE} ostree/os/stable --into nonsense"),
    (2, f"pull {NOWHERE} ostree/os/stable --into oci:x"),
    (2, f"pull {NOWHERE} ostree/os/stable --into oci:x:y"),
    (2, f"pull {NOWHERE} oci/os:stable --into ostree:x"),
    (2, f"pull {NOWHERE} oci/os:stable --into tree:x --mode archive"),
    (2, f"pull {NOWHERE} oci/os:stable --into tree:x --max-bytes ten"),
    (2, f"pull {NOWHERE} oci/os:stable --into tree:x --link soon"),
    (2, f"pull {NOWHERE} oci/os:stable --into tree:x --rate 0"),
    (2, "pull nowhere oci/os:stable --into tree:x"),
    (2, "publish oci:layout:a os:stable"),
    (2, f"publish oci:layout:a os:stable --server {NOWHERE} --data x"),
    (2, f"publish nonsense os:stable --server {NOWHERE}"),
    (2, f"publish ostree:repo@a os --server {NOWHERE}"),
    (2, f"publish oci:layout:a os/stable --server {NOWHERE}"),
    (2, "verify nonsense"),
    (2, "rollback nonsense"),
    (2, "checkout ostree:repo folder --rev ../x"),
    (2, "gc --keep 0"),
    (2, "gc --pin x"),
    (2, "seed add nonsense"),
    (2, "seed add nonsense:x"),
    (2, "delta make file file -o folder"),
    (2, "delta make file file -o fifo"),
    (2, "delta make folder file -o x"),
    (2, "doctor --server nowhere"),
    (2, f"why usr/bin/true {NOWHERE}"),
    # a setting is wrong
    (3, f"pull {NOWHERE} oci/os:stable --into tree:x --key nonsense"),
    (3, f"pull {NOWHERE} oci/os:stable --into tree:x --trust-file nothing"),
    (3, f"pull {NOWHERE} oci/os:stable --into tree:x --token-file nothing"),
    # damaged
    (10, "delta show file"),
    (10, "delta apply file --from file -o x"),
    (10, f"publish oci:file:a os:stable --server {NOWHERE}"),
    # not there
    (30, "delta show nothing"),
    (30, "delta show fifo"),
    (30, "delta apply nothing --from file -o x"),
    (30, "delta make nothing file -o x"),
    (30, "delta make fifo file -o x"),
    (30, "verify ostree:nothing"),
    (30, "verify oci:layout:nothing"),
    (30, "verify tree:nothing"),
    (30, "checkout ostree:repo x --rev nothing"),
    (30, "checkout oci:layout:a x --rev nothing"),
    (30, "rollback ostree:repo"),
    (30, "gc tree:nothing"),
    (30, "gc ostree:repo --pin x"),
    (30, "gc ostree:repo --unpin x"),
    (30, "seed add folder:nothing"),
    (30, "seed remove folder:folder"),
    (30, f"publish ostree:nothing os/stable --server {NOWHERE}"),
    (30, f"publish ostree:repo os/stable --server {NOWHERE}"),
    (30, f"publish oci:nothing:a os:stable --server {NOWHERE}"),
    (30, f"publish oci:layout:a os:stable --server {NOWHERE}"),
    (30, "why usr/bin/true"),
    (30, "container export ostree:repo@nothing oci:layout:a"),
    (30, "container import oci:layout:a ostree:new"),
    (30, "bench deltas nonsense"),
    (30, "bench deltas --pair x nothing nothing"),
    # storage
    (50, "status --state file/x"),
    (50, "delta make file file -o nothing/x"),
]


@pytest.mark.parametrize(("code", "line"), WRONG, ids=[line for _, line in WRONG])
def test_wrong_use_has_its_exit_code_words_and_json(shell: Shell, code: int, line: str) -> None:
    told = shell(*line.split(), "--json")
    assert told.exit == code, told
    assert told.error["exit"] == code
    assert told.error["message"]
    assert told.error["advice"]
    assert str(told.error["message"]).splitlines()[0] in told.err
    assert not Path("x").exists(), "a refused command left something behind"


SERVER_WRONG = [
    (2, "keys token name --action nonsense"),
    (2, "keys password a:b --password x"),
    (2, "serve --log-level nonsense"),
    (3, "serve --listen 127.0.0.1:1"),
    (3, "serve --data data --listen nowhere"),
    (3, "serve --data data --listen 127.0.0.1:65536"),
    (3, "serve --data data --config nothing.toml"),
    (3, "serve --data data --config file"),
    (3, "serve --data data --fd 77"),
    (3, "serve --data data --uds folder"),
    (3, "db upgrade"),
    (3, "keys list"),
    (3, "config verify"),
    (30, "keys export --data data"),
    (30, "keys rotate nothing --data data"),
    (30, "jobs --data nothing list"),
    (50, "db upgrade --data file"),
    (2, "publish nonsense os/stable --data data"),
    (2, "publish ostree:repo os --data data"),
    (30, "publish oci:nothing:a os:stable --data data"),
]


@pytest.mark.parametrize(("code", "line"), SERVER_WRONG, ids=[line for _, line in SERVER_WRONG])
def test_commands_of_the_server_speak_alike(shell: Shell, code: int, line: str) -> None:
    told = shell(*line.split())
    assert told.exit == code, told
    assert told.err.startswith(("smidgen: ", "Usage: "))


def test_errors_of_the_servers_commands_are_json_too(shell: Shell) -> None:
    told = shell("jobs", "--data", "nothing", "--json", "list")
    assert told.error["kind"] == "NotFound"
    told = shell("jobs", "--data", "nothing", "show", "1", "--json")
    assert told.error["kind"] == "NotFound"
    told = shell("publish", "oci:nothing:a", "os:stable", "--data", "data", "--json")
    assert told.error["exit"] == 30


@pytest.mark.parametrize("url", ["postgresql://nobody@127.0.0.1:1/none", "sqlite:///file", "nonsense", "mysql://x/y"])
def test_a_database_that_cannot_be_used_is_told_in_a_line(
    shell: Shell, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMIDGEN_DATABASE", url)
    told = shell("db", "upgrade", "--data", "data")
    assert told.exit in (3, 50)
    assert len(told.err.splitlines()) <= 4


def test_a_password_is_read_from_standard_input_where_there_is_no_terminal(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("geheim\n"))
    told = shell("keys", "password", "alice")
    assert told.exit == 0
    name, _, hashed = told.out.strip().partition(":")
    assert name == "alice"
    assert PasswordHasher().verify(hashed, "geheim")


@pytest.mark.parametrize("line", ["status", "verify", "gc", "seed list", "doctor", "delta make file file -o out"])
def test_harmless_commands_on_a_new_device(shell: Shell, line: str) -> None:
    told = shell(*line.split())
    assert told.exit == 0, told
    assert told.out
    assert json.loads(shell(*line.split(), "--json").out.splitlines()[-1])


def test_files_of_a_seed_need_no_names_of_text(shell: Shell) -> None:
    Path("folder/\udcff").write_bytes(b"content")
    assert json.loads(shell("seed", "add", "folder:folder", "--json").out.splitlines()[-1])["hashed"] == 1
    assert json.loads(shell("seed", "add", "folder:folder", "--json").out.splitlines()[-1])["hashed"] == 0
    assert shell("seed", "remove", "folder:folder").exit == 0


@pytest.mark.parametrize(
    ("code", "line", "said"),
    [
        (2, f"pull {NOWHERE} oci/os:stable --into tree:\udcff", "must be UTF-8"),
        (2, "pull http://\udcff oci/os:stable --into tree:x", "http:// or https:// URL"),
        (2, "seed add folder:\udcff", "must be UTF-8"),
        (0, "delta make file file -o \udcff --json", '"\\udcff"'),
        (30, "delta show \udcff", "path=\\udcff"),
    ],
    ids=ascii,
)
def test_names_that_are_no_text(shell: Shell, code: int, line: str, said: str) -> None:
    strict = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    command = [sys.executable, "-m", "smidgen_client", *line.split()]
    done = subprocess.run(command, capture_output=True, env=strict, text=True)
    assert done.returncode == code, done
    assert said in done.stdout + done.stderr


DEVICE_ONLY = """
import json, sys
for module in ("fastapi", "starlette", "uvicorn", "sqlalchemy", "alembic", "argon2", "pydantic", "pydantic_settings",
               "structlog", "prometheus_client", "psycopg", "obstore", "rich", "distributed", "hdiffpatch"):
    sys.modules[module] = None
from smidgen_client.cli import run
for line in sys.stdin.read().splitlines():
    try:
        status = run(line.split())
    except SystemExit as end:
        status = end.code
    print(json.dumps([line, status]), file=sys.stderr)
"""
NEED_THE_SERVER = (
    "serve --data d",
    "db upgrade --data d",
    "config schema",
    "keys password a --password b",
    "keys list --data d --json",
    "jobs --data d --json list",
    "publish oci:layout:a os:stable --data d --json",
)


def test_without_extras_a_command_says_which_to_install(shell: Shell) -> None:
    lines = ["--help", "status", "doctor", "bench corpora", *NEED_THE_SERVER]
    ran = subprocess.run(
        [sys.executable, "-c", DEVICE_ONLY], input="\n".join(lines), capture_output=True, text=True, check=True
    )
    told = [json.loads(line) for line in ran.stderr.splitlines() if line.startswith("[")]
    assert dict(told) == {line: 4 if line in NEED_THE_SERVER else 0 for line in lines}
    assert ran.stderr.count("pip install '.[server]'") == len(NEED_THE_SERVER)
    errors = [json.loads(line)["error"] for line in ran.stdout.splitlines() if line.startswith('{"error"')]
    assert [error["detail"]["extra"] for error in errors] == ["server"] * 3
