"""The one program `smidgen`: finds commands, shapes errors, sets the exit code.

Commands of a device live in `smidgen_client.commands`, one module each, imported when used. Commands of other parts
(server, benchmarks) are found through the entry-point group `smidgen.commands`; one whose extra is not installed
says which to install. Exit codes are the table in client/EXIT-CODES.md: those of the error classes, 130 when
interrupted.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import io
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Final, NoReturn

import click

from smidgen_deltas.errors import MissingExtra, SmidgenError, StorageError, UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint
    from types import ModuleType

GROUP: Final = "smidgen.commands"
INTERRUPTED: Final = 130

COMMANDS: Final = {
    "pull": "Fetch what is missing of a ref into a store of this device.",
    "publish": "Send a revision to a server.",
    "status": "Show what this device has, and whether there is something newer.",
    "verify": "Hash everything in a store again.",
    "checkout": "Write the files of a pulled revision into a folder.",
    "rollback": "Go back to the version before.",
    "gc": "Remove what no kept version needs.",
    "seed": "Name local files that updates may be made from.",
    "doctor": "Check this machine and show what a report needs.",
    "why": "Explain how one file of an update came, or would come, to this device.",
    "delta": "Make, apply, verify and show deltas.",
    "container": "Turn ostree commits into container images, and back.",
}
ELSEWHERE: Final = {
    "serve": ("server", "Run the server."),
    "db": ("server", "Bring the server's database up to date."),
    "keys": ("server", "Make and list signing keys."),
    "config": ("server", "Check and show the server's settings."),
    "jobs": ("server", "Show the server's queue."),
    "export": ("server", "Write the update surface as static files."),
    "bench": ("bench", "Measure beside other tools."),
}
HIDDEN: Final = frozenset({"publish-local"})
EXTRAS: Final = {"obstore": "s3", "psycopg": "postgres", "distributed": "cluster", "rich": "ui"}


class LazyGroup(click.Group):
    """A group that imports a command's module only when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        own = [name for name in COMMANDS if _module_exists(name)]
        return own + sorted(name for name in _foreign() if name not in HIDDEN and name not in own)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name in COMMANDS and _module_exists(cmd_name):
            command = getattr(_load(f"smidgen_client.commands.{cmd_name}"), cmd_name)
            assert isinstance(command, click.Command)
            return command
        found = _foreign().get(cmd_name)
        return load_foreign(found) if found else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the tables above, so that `--help` imports nothing."""
        rows = [(name, _summary(name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _load(module: str) -> ModuleType:
    """Import a module with all that it needs. The collector of garbage would look through it for nothing, now and
    later, which is a tenth of the time that a command takes to start."""
    gc.disable()
    try:
        return importlib.import_module(module)
    finally:
        gc.freeze()
        gc.enable()


def load_foreign(found: EntryPoint) -> click.Command:
    """The command behind an entry point. Raises MissingExtra when something it needs is not installed."""
    try:
        command = found.load()
    except ModuleNotFoundError as error:
        raise _missing_extra(error, found.name) from error
    if not isinstance(command, click.Command):
        raise MissingExtra(f"`smidgen {found.name}` is not a command", entry_point=found.value)
    return command


def _missing_extra(error: ModuleNotFoundError, command: str) -> MissingExtra:
    """What to install for `command`; a module of our own that is missing is a mistake and raised as it is."""
    module = (error.name or "").partition(".")[0]
    if not module or module.startswith("smidgen_"):
        raise error
    extra = EXTRAS.get(module) or ELSEWHERE.get(command, ("server", ""))[0]
    return MissingExtra(
        f"`smidgen {command}` needs the extra `{extra}`: in the sources of smidgen, pip install '.[{extra}]'",
        extra=extra,
        missing=error.name,
    )


def find_foreign(name: str) -> EntryPoint | None:
    """The entry point that another part registered under `name`."""
    return _foreign().get(name)


def _foreign() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=GROUP)}


def _module_exists(name: str) -> bool:
    return importlib.util.find_spec(f"smidgen_client.commands.{name}") is not None


def _summary(name: str) -> str:
    return COMMANDS.get(name) or ELSEWHERE.get(name, ("", ""))[1]


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="smidgen")
def cli() -> None:
    """Sends operating-system trees and container images to machines that already have most of them."""


def main() -> NoReturn:
    """Run the program; never returns."""
    arguments = sys.argv[1:]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files need not be text
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(arguments))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code. The only place where errors become words and numbers."""
    as_json = "--json" in arguments
    try:
        result = cli.main(arguments, prog_name="smidgen", standalone_mode=False)
    except SmidgenError as error:
        return _report(error, as_json=as_json)
    except click.exceptions.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        if as_json:
            _print_json(UsageError(error.format_message()))
        error.show()
        return error.exit_code
    except ModuleNotFoundError as error:
        command = next((word for word in arguments if not word.startswith("-")), "")
        return _report(_missing_extra(error, command), as_json=as_json)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        print("interrupted; what was verified is kept", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        return _report(_storage_error(error), as_json=as_json)
    return result if isinstance(result, int) else 0


def _storage_error(error: OSError) -> StorageError:
    """What the operating system refused, with the file it was about."""
    path = os.fsdecode(error.filename) if error.filename is not None else None
    return StorageError(error.strerror or str(error), errno=error.errno, path=path)


def _report(error: SmidgenError, *, as_json: bool) -> int:
    if as_json:
        _print_json(error)
    print(f"smidgen: {error}\n  {error.advice()}", file=sys.stderr)
    return error.exit


def _print_json(error: SmidgenError) -> None:
    print(json.dumps({"error": error.as_json()}), flush=True)
