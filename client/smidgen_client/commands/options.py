"""Options that several commands share, and the types of their values."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from smidgen_client.names import Address, RefName
from smidgen_deltas.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kKMGT]?)(i?)[bB]?\Z")
_SPEED: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*([kKMGT]?)(bit|B)(?:/?s|ps)?\Z")
_POWERS: Final = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4}

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object per line.")
state_option = click.option(
    "--state", type=click.Path(path_type=Path, file_okay=False), help="Directory of this device's state."
)
token_option = click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with the token for the server (or set SMIDGEN_TOKEN).",
)
wait_option = click.option("--wait", is_flag=True, help="Wait for another smidgen that works on the store.")


class ParsedType(click.ParamType[Any]):
    """A value with a parser of its own, which raises UsageError."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except UsageError as error:
            self.fail(str(error), param, ctx)


def parse_size(text: str) -> int:
    """`500`, `10MB`, `1.5GiB` -> bytes."""
    match = _SIZE.match(text.strip())
    if match is None:
        raise UsageError("a size is written like 500, 10MB or 1.5GiB", given=text[:50])
    return int(float(match[1]) * (1024 if match[3] else 1000) ** _POWERS[match[2]])


def parse_speed(text: str) -> float:
    """`10Mbit`, `1.5Gbit`, `250kB` (a second) -> bytes per second."""
    match = _SPEED.match(text.strip())
    if match is None or not float(match[1]):
        raise UsageError("a speed is written like 10Mbit or 1.2MB (per second)", given=text[:50])
    return float(match[1]) * 1000 ** _POWERS[match[2]] / (8 if match[3] == "bit" else 1)


SIZE: Final = ParsedType("size", parse_size)
SPEED: Final = ParsedType("speed", parse_speed)
REF: Final = ParsedType("ref", RefName.parse)
STORE: Final = ParsedType("store", Address.parse)


def emit(value: Any, *, as_json: bool, text: str) -> None:
    """Print a command's result: one JSON line, or the text."""
    if as_json:
        print(json.dumps(plain(value), default=str), flush=True)
    elif text:
        print(text, flush=True)


def plain(value: Any) -> Any:
    """Dataclasses as dictionaries."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value
