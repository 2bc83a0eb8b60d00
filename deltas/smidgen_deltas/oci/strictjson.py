"""JSON as only one reader could read it.

Rules enforced here, all before the document is used
 * size and nesting are bounded; UTF-8 without a byte order mark (RFC 8259 section 8.1)
 * an object names no key twice: readers differ in which one counts
 * numbers are finite, integers have at most 19 digits
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from smidgen_deltas.errors import FormatError, LimitExceeded

MAX_DEPTH: Final = 64
MAX_DIGITS: Final = 19
# A string, even an unterminated one (so that no input makes the search start over), or a bracket.
_TOKENS: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[{\]}]', re.DOTALL)


class JsonInvalid(FormatError):
    """Not JSON, or JSON that readers would understand differently."""


def parse(data: bytes, limit: int, what: str) -> Any:
    """Decode `data`, at most `limit` bytes. `what` names the document in errors.

    Raises:
        LimitExceeded: too large or nested too deeply.
        JsonInvalid: anything else.
    """
    if len(data) > limit:
        raise LimitExceeded(f"{what} is too large", size=len(data), limit=limit)
    _check_depth(data, what)
    try:
        return json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_constant=_constant,
        )
    except UnicodeDecodeError as error:
        raise JsonInvalid(f"{what} is not UTF-8", offset=error.start) from error
    except json.JSONDecodeError as error:
        raise JsonInvalid(f"{what} is not JSON", offset=error.pos, reason=error.msg) from error


def _check_depth(data: bytes, what: str) -> None:
    depth = 0
    for token in _TOKENS.finditer(data):
        byte = data[token.start()]
        if byte in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise LimitExceeded(f"{what} is nested too deeply", offset=token.start(), limit=MAX_DEPTH)
        elif byte in b"]}":
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise JsonInvalid("JSON object names a key twice", key=twice[:100])
    return result


def _integer(text: str) -> int:
    if len(text.lstrip("-")) > MAX_DIGITS:
        raise JsonInvalid("JSON integer is too long", digits=len(text))
    return int(text)


def _constant(text: str) -> float:
    raise JsonInvalid("JSON has no such number", given=text)
