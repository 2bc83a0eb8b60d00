"""Where settings come from; see `settings` for the order. Every mistake becomes one line that names the setting."""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as UnparsedValue
from pydantic_settings.sources import InitSettingsSource
from sqlalchemy.engine import make_url

from smidgen_deltas.errors import SettingsError
from smidgen_server.settings import Settings

PREFIX: Final = "SMIDGEN_"
SEPARATOR: Final = "__"
FILE_NAME: Final = "smidgen.toml"
MAX_SECRET: Final = 64 << 10
HIDDEN: Final = "(hidden)"
_SECRET: Final = re.compile(r"secret|access_key|(^|_)(password|key|token|sas|sha256)$", re.IGNORECASE)


class _Sourced(BaseSettings, Settings):
    """Settings, read from the environment too (which `Settings` itself never does)."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter=SEPARATOR, extra="forbid", frozen=True, validate_default=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        assert isinstance(init_settings, InitSettingsSource)
        layers = init_settings.init_kwargs.pop("layers")
        return (
            init_settings,
            env_settings,
            *(InitSettingsSource(settings_cls, layer) for layer in layers),
        )


def load(arguments: Mapping[str, Any], file: Path | None = None) -> Settings:
    """Arguments, environment, secrets directory and file, merged and checked.

    Args:
        arguments: settings given on the command line; None means not given.
        file: a TOML file that must exist; by default SMIDGEN_CONFIG, or smidgen.toml in the data directory if there.
    Raises:
        SettingsError: one line, naming the setting.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    _refuse_unknown_environment()
    data = given.get("data") or os.environ.get(f"{PREFIX}DATA")
    layers = [_secrets(), _file(file, Path(data) if data else None)]
    try:
        merged = _Sourced(layers=layers, **given)  # type: ignore[call-arg]
    except ValidationError as error:
        raise SettingsError(_explain(error)) from None
    except UnparsedValue as error:
        found = re.search(r'field "(\w+)"', str(error))
        variable = f"{PREFIX}{found[1].upper()}" if found else f"a {PREFIX} variable"
        raise SettingsError(f"{variable}… in the environment: a list or table must be JSON") from None
    return Settings.model_validate(merged.model_dump())


def activated_sockets() -> int | None:
    """How many listening sockets systemd passed to this very process (sd_listen_fds(3)); None without any."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    return int(os.environ.get("LISTEN_FDS", "0"))


def without_secrets(settings: Settings) -> dict[str, Any]:
    """The settings for showing: JSON values, with secrets, hashes and credentials replaced."""
    shown = settings.model_dump(mode="json")
    auth, blobs = shown["auth"], shown["blobs"]
    auth["secret"] = auth["secret"] and HIDDEN
    auth["tokens"] = [{**token, "sha256": HIDDEN} for token in auth["tokens"]]
    blobs["options"] = {name: HIDDEN if _is_secret(name) else value for name, value in blobs["options"].items()}
    if shown["database"]:
        shown["database"] = make_url(shown["database"]).render_as_string(hide_password=True)
    return shown


def _file(file: Path | None, data: Path | None) -> dict[str, Any]:
    named = file or (Path(os.environ[f"{PREFIX}CONFIG"]) if f"{PREFIX}CONFIG" in os.environ else None)
    path = named or (data / FILE_NAME if data else None)
    if path is None or (named is None and not path.exists()):
        return {}
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"settings file {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {path} is not TOML: {error}") from None


def _secrets() -> dict[str, Any]:
    """One file per setting; files with other names are somebody else's credentials."""
    directory = os.environ.get(f"{PREFIX}SECRETS_DIR") or os.environ.get("CREDENTIALS_DIRECTORY")
    found: dict[str, Any] = {}
    if not directory:
        return found
    if not Path(directory).is_dir():
        raise SettingsError(f"secrets directory {directory} is not there")
    for path in sorted(Path(directory).iterdir()):
        section, *rest = path.name.split(SEPARATOR)
        if section not in Settings.model_fields or not path.is_file() or path.stat().st_size > MAX_SECRET:
            continue
        place = found
        for name in (section, *rest)[:-1]:
            place = place.setdefault(name, {})
        place[(section, *rest)[-1]] = path.read_text("utf-8").rstrip("\n")
    return found


def _refuse_unknown_environment() -> None:
    """A variable of a section that we have, or one that looks like a setting of ours misspelt, is an error.

    Other SMIDGEN_ variables belong to other programs of the project (the client, the tests).
    """
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    known |= {f"{PREFIX}CONFIG", f"{PREFIX}SECRETS_DIR"}
    for name in sorted(os.environ):
        if not name.startswith(PREFIX) or name in known or name.split(SEPARATOR)[0] in known:
            continue
        close = difflib.get_close_matches(name, known, 1, cutoff=0.85)
        if close or SEPARATOR in name:
            hint = f"; did you mean {close[0]}?" if close else ""
            raise SettingsError(f"{name} in the environment is not a setting{hint}")


def _explain(error: ValidationError) -> str:
    """One line for all problems: `auth.token_seconds: Input should be …`."""
    lines = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            lines.append(f"{where}: unknown setting{_suggestion(problem['loc'])}")
        elif problem["type"] == "missing":
            lines.append(f"{where}: must be set")
        else:
            lines.append(f"{where}: {_rule(problem)}, not {_shown(problem)}")
    return "; ".join(lines)


def _rule(problem: Any) -> str:
    """What the value should be; a setting with a pattern says so in its description."""
    if problem["type"] == "string_pattern_mismatch":
        field = _field(problem["loc"])
        if field is not None and field.description:
            return f"must be {field.description}"
    message: str = problem["msg"]
    return message[0].lower() + message[1:]


def _field(location: tuple[int | str, ...]) -> Any:
    found: Any = None
    fields: Any = Settings.model_fields
    for part in location:
        found = fields.get(part)
        fields = getattr(found.annotation, "model_fields", {}) if found else {}
    return found


def _is_secret(name: str) -> bool:
    return _SECRET.search(name) is not None


def _suggestion(location: tuple[int | str, ...]) -> str:
    names: Any = Settings.model_fields
    if len(location) > 1:
        names = getattr(getattr(_field(location[:-1]), "annotation", None), "model_fields", {})
    close = difflib.get_close_matches(str(location[-1]), names, 1)
    return f"; did you mean {close[0]}?" if close else ""


def _shown(problem: Any) -> str:
    """The value as given, never a secret."""
    if any(_is_secret(str(part)) for part in problem["loc"]):
        return "what is given"
    return json.dumps(problem["input"], default=str)[:100]
