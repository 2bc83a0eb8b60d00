"""Logins in addresses are used and not repeated."""

from __future__ import annotations

import pytest

from smidgen_deltas.errors import UsageError
from smidgen_deltas.login import Address, shown


@pytest.mark.parametrize(
    ("text", "url", "login"),
    [
        ("https://host/a", "https://host/a", None),
        ("http://u:pw@host:80/a/", "http://host:80/a/", ("u", "pw")),
        ("http://u@host", "http://host", ("u", "")),
        ("http://u%40x:a%2Fb%3Ac@[::1]:8/", "http://[::1]:8/", ("u@x", "a/b:c")),
        ("http://u:p@w@host/", "http://host/", ("u", "p@w")),
    ],
)
def test_a_login_is_taken_out(text: str, url: str, login: tuple[str, str] | None) -> None:
    found = Address.parse(text)
    assert (found.url, found.login) == (url, login)
    assert "pw" not in repr(found)


@pytest.mark.parametrize("text", ["http://u:p/w@host/", "http://u:p#w@host", "http://u:p?w@host", "ftp://u:p/w@h"])
def test_a_login_that_would_name_another_host_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        Address.parse(text)
    assert "p" not in str(refused.value.detail["given"]).replace("http", "").replace("ftp", "")


@pytest.mark.parametrize(
    "text", ["http://u:pw@host/x", "htp://u:pw@host/x", "http://u:p/pw@host/x", "x ://u:pw@host/x"]
)
def test_what_is_shown_has_no_password(text: str) -> None:
    assert "pw" not in shown(text) and "host/x" in shown(text)
