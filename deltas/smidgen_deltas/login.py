"""User and password in a web address, `http://user:password@host/`: used, never repeated."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from smidgen_deltas.errors import UsageError

_LOGIN: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<login>[^/?#]*)@")
_SECRET: Final = re.compile(r"://\S*@")


@dataclass(frozen=True, slots=True)
class Address:
    """A web address without its login. login: (user, password), decoded, or None; not shown by repr."""

    url: str
    login: tuple[str, str] | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> Address:
        """Take a login out of an address.

        Raises UsageError for a further `@`: it may be that of a password with a `/`, which would name another host.
        """
        found = _LOGIN.match(text)
        url = text if found is None else found["scheme"] + text[found.end() :]
        if "@" in url:
            raise UsageError("in an address, / ? # and @ of a password are written %2F %3F %23 %40", given=shown(text))
        if found is None:
            return cls(url)
        user, _, password = found["login"].partition(":")
        return cls(url, (unquote(user), unquote(password)))


def shown(text: str) -> str:
    """At most 500 characters of an address for messages, also of one that is none: what may be a login is left out."""
    return _SECRET.sub("://", text)[:500]
