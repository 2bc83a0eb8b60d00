"""The only place of the client that reads the environment.

State lives in, by this order: `--state`, `SMIDGEN_STATE`, `/var/lib/smidgen` for root, `$XDG_STATE_HOME/smidgen`,
`~/.local/state/smidgen`. A token comes from `--token-file`, else `SMIDGEN_TOKEN`. What a device allows and prefers may
be set once for all pulls: `SMIDGEN_PREFER`, `SMIDGEN_LINK`, `SMIDGEN_MAX_MEMORY`, `SMIDGEN_MAX_SCRATCH`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from smidgen_client.plan.ways import PREFERENCES, Prefer
from smidgen_client.quantities import parse_size, parse_speed
from smidgen_deltas.errors import SettingsError, UsageError

SYSTEM_STATE: Final = Path("/var/lib/smidgen")
SYSTEM_CONTAINERS: Final = Path("/var/lib/containers/storage")
MAX_TOKEN: Final = 8192
N = TypeVar("N", int, float)


@dataclass(frozen=True, slots=True)
class Environment:
    """What the client takes from its surroundings.

    Args:
        state: directory of the device's state.
        token: credential for the server, sent as Bearer; None for none.
        home: the user's home, where rootless containers-storage is looked for.
        prefer, link, max_memory, max_scratch: defaults of the options of `smidgen pull` with these names.
    """

    state: Path
    token: str | None
    home: Path
    prefer: Prefer = "auto"
    link: float | None = None
    max_memory: int | None = None
    max_scratch: int | None = None

    @property
    def containers(self) -> Path:
        """Where podman keeps its storage for this user."""
        return SYSTEM_CONTAINERS if os.geteuid() == 0 else self.home / ".local/share/containers/storage"


def read_environment(
    environ: Mapping[str, str] | None = None, *, state: Path | None = None, token_file: Path | None = None
) -> Environment:
    """Options beat variables, variables beat defaults. Raises SettingsError for an unusable token."""
    environ = os.environ if environ is None else environ
    home = Path(environ.get("HOME") or "/")
    token = read_token(token_file) if token_file else environ.get("SMIDGEN_TOKEN") or None
    if token is not None:
        _check_token(token)
    return Environment(
        state=_state_directory(environ, state, home),
        token=token,
        home=home,
        prefer=_prefer(environ.get("SMIDGEN_PREFER") or "auto"),
        link=_parsed("SMIDGEN_LINK", environ, parse_speed),
        max_memory=_parsed("SMIDGEN_MAX_MEMORY", environ, parse_size),
        max_scratch=_parsed("SMIDGEN_MAX_SCRATCH", environ, parse_size),
    )


def read_token(path: Path) -> str:
    """The token in the first line of a file."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_TOKEN).decode("ascii").split("\n", 1)[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError("the token file cannot be read", path=str(path), reason=str(error)) from error


def _prefer(text: str) -> Prefer:
    for known in PREFERENCES:
        if text == known:
            return known
    raise SettingsError("SMIDGEN_PREFER is one of auto, bytes, time", given=text[:50])


def _parsed(name: str, environ: Mapping[str, str], parse: Callable[[str], N]) -> N | None:
    """A variable that is a size or a speed; None where it is not set."""
    text = environ.get(name)
    if not text:
        return None
    try:
        return parse(text)
    except UsageError as error:
        raise SettingsError(f"{name} is wrong: {error.message}", given=text[:50]) from error


def _check_token(token: str) -> None:
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise SettingsError("the token is empty or has characters that no token has")


def _state_directory(environ: Mapping[str, str], given: Path | None, home: Path) -> Path:
    if given is not None:
        return given.absolute()
    if environ.get("SMIDGEN_STATE"):
        return Path(environ["SMIDGEN_STATE"]).absolute()
    if os.geteuid() == 0:
        return SYSTEM_STATE
    base = environ.get("XDG_STATE_HOME")
    return (Path(base) if base else home / ".local" / "state") / "smidgen"
