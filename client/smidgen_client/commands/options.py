"""Options that several commands share, and the types of their values."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from smidgen_client.names import Address, RefName
from smidgen_client.quantities import parse_rate, parse_size, parse_speed
from smidgen_deltas.errors import UsageError

NOTHING: Final = "nothing was pulled yet"
F = TypeVar("F", bound=Callable[..., Any])

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


SIZE: Final = ParsedType("size", parse_size)
RATE: Final = ParsedType("size", parse_rate)
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


link_option = click.option("--link", type=SPEED, help="Plan for this speed, like 10Mbit, instead of measuring.")
prefer_option = click.option(
    "--prefer",
    type=click.Choice(["auto", "bytes", "time"]),
    help="Fewest bytes, fewest seconds, or by the link's speed (auto). --metered implies bytes.",
)
