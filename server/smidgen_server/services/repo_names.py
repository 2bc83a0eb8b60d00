"""Names of ostree repositories: one path segment, since what follows it in a URL is a ref or a file."""

from __future__ import annotations

import re
from typing import Final

from smidgen_deltas.errors import UsageError

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,126}\Z")


class RepoNameInvalid(UsageError):
    """Not a usable name for an ostree repository."""

    code, hint = "NAME_INVALID", "Use letters, digits, dot, dash and underscore; begin with a letter or digit."


def check_repo(name: str) -> str:
    """Return `name` if it can be one; raise RepoNameInvalid otherwise."""
    if not _NAME.match(name):
        raise RepoNameInvalid("not a valid repository name", repo=name[:200])
    return name
