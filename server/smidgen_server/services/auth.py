"""Who asks, and what they may do.

Who: nobody (anonymous), a user of the htpasswd file (Basic), a static token (Bearer, or Basic with any user name and
the token as password), or the holder of a registry token issued here for one of these.
What: a public repository may be pulled by anyone. Everything else needs a grant. Nobody may push anonymously unless
`auth.anonymous_push` says so. The token in DATA/admin.token, made at the first start, may do everything.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, Literal

from smidgen_deltas.errors import Denied, Unauthorized
from smidgen_server.blobs.staging import storage_errors
from smidgen_server.index.base import Index
from smidgen_server.index.repos import is_public
from smidgen_server.services.keys import write_private
from smidgen_server.services.passwords import Passwords, token_hash
from smidgen_server.services.tokens import Access, Claims, TokenIssuer, looks_like_token
from smidgen_server.settings import Action, Settings

Kind = Literal["oci", "ostree"]
ADMIN_TOKEN: Final = "admin.token"
SECRET: Final = "auth.secret"
ALL_ACTIONS: Final[tuple[Action, ...]] = ("pull", "push", "delete", "admin")
USER_ACTIONS: Final[tuple[Action, ...]] = ("pull", "push", "delete")
MAX_HEADER: Final = 16 << 10


class CredentialsInvalid(Unauthorized):
    """The password or token is wrong. Never says which part."""

    hint = "Check the user name and password, or the token."


class LoginNeeded(Unauthorized):
    """Nobody, or a registry token for something else, asks for what needs a right. Detail names it."""


@dataclass(frozen=True, slots=True)
class Right:
    """`actions` on repositories matching one of `repos`, patterns of "kind/name"."""

    repos: tuple[str, ...]
    actions: frozenset[str]

    def covers(self, repo: str, action: str) -> bool:
        return action in self.actions and any(fnmatchcase(repo, pattern) for pattern in self.repos)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. `name` is "" for anonymous; `via` tells how they proved it."""

    name: str
    via: Literal["anonymous", "user", "token", "bearer"]
    rights: tuple[Right, ...] = ()

    def may(self, repo: str, action: str) -> bool:
        return any(right.covers(repo, action) for right in self.rights)


class Auth:
    """Thread-safe. `require` and `allowed` may open a database session: call them off the event loop."""

    def __init__(self, settings: Settings, index: Index) -> None:
        self._settings, self._index = settings.auth, index
        self._passwords = Passwords(settings.auth.htpasswd)
        self._users = {user.name: Right(user.repos, frozenset(user.actions)) for user in settings.auth.users}
        self._tokens = {
            token.sha256: Principal(token.name, "token", (Right(token.repos, frozenset(token.actions)),))
            for token in settings.auth.tokens
        }
        admin = token_hash(_made_once(settings.data / ADMIN_TOKEN))
        self._tokens[admin] = Principal("admin", "token", (Right(("*",), frozenset(ALL_ACTIONS)),))
        self._issuer = TokenIssuer(settings.auth.secret or _made_once(settings.data / SECRET), settings.auth.service)
        open_to = frozenset(USER_ACTIONS) if settings.auth.anonymous_push else frozenset[str]()
        self._anyone = (Right(("*",), open_to),)

    @property
    def anonymous(self) -> Principal:
        return Principal("", "anonymous", self._anyone)

    def authenticate(self, headers: Mapping[str, str]) -> Principal:
        """Principal of a request, from its Authorization header. Raises CredentialsInvalid, TokenInvalid."""
        given = headers.get("authorization")
        if given is None:
            return self.anonymous
        scheme, _, value = given.partition(" ")
        if len(given) > MAX_HEADER or scheme.lower() not in ("basic", "bearer"):
            raise CredentialsInvalid("unknown kind of authorization")
        value = value.strip()
        return self._basic(value) if scheme.lower() == "basic" else self._bearer(value)

    def require(self, principal: Principal, kind: Kind, repo: str, action: Action) -> None:
        """Raise Unauthorized (log in, or ask for a wider token) or Denied unless the action is allowed."""
        if self.allowed(principal, kind, repo, action):
            return
        if principal.via in ("anonymous", "bearer"):
            raise LoginNeeded("log in to do this", kind=kind, repo=repo, action=action, via=principal.via)
        raise Denied("not allowed", kind=kind, repo=repo, action=action, who=principal.name)

    def allowed(self, principal: Principal, kind: Kind, repo: str, action: Action) -> bool:
        """Whether the action is allowed."""
        if principal.may(f"{kind}/{repo}", action):
            return True
        return action == "pull" and self._public(kind, repo)

    def issue(self, principal: Principal, scopes: Iterable[str]) -> tuple[str, Claims]:
        """A registry token for that part of the scopes that the principal has."""
        now = int(time.time())
        access = tuple(one for one in (self._granted(principal, scope) for scope in scopes) if one is not None)
        claims = Claims(principal.name, access, now, now + self._settings.token_seconds)
        return self._issuer.issue(claims), claims

    def login(self, user: str, password: str) -> Principal:
        """A user of the htpasswd file, or anyone with a static token as password. Raises CredentialsInvalid."""
        if found := self._tokens.get(token_hash(password)):
            return found
        if not self._passwords.check(user, password):
            raise CredentialsInvalid("wrong user name or password")
        return Principal(user, "user", (self._users.get(user, Right(("*",), frozenset(USER_ACTIONS))),))

    def _granted(self, principal: Principal, scope: str) -> Access | None:
        """`repository:NAME:ACTION,ACTION` -> what of it is allowed. Other kinds of scope give nothing."""
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        if kind != "repository" or not name:
            return None
        wanted = set(USER_ACTIONS) if "*" in actions.split(",") else set(actions.split(","))
        return Access(
            name, tuple(one for one in USER_ACTIONS if one in wanted and self.allowed(principal, "oci", name, one))
        )

    def _public(self, kind: str, repo: str) -> bool:
        with self._index.read() as session:
            found = is_public(session, kind, repo)
        return self._settings.default_public if found is None else found

    def _basic(self, value: str) -> Principal:
        try:
            user, separator, password = base64.b64decode(value, validate=True).decode("utf-8").partition(":")
        except (binascii.Error, UnicodeDecodeError, ValueError):
            raise CredentialsInvalid("malformed Basic credentials") from None
        if not separator:
            raise CredentialsInvalid("malformed Basic credentials")
        return self.login(user, password)

    def _bearer(self, value: str) -> Principal:
        if looks_like_token(value):
            claims = self._issuer.check(value, int(time.time()))
            rights = tuple(Right((_literal(f"oci/{one.name}"),), frozenset(one.actions)) for one in claims.access)
            return Principal(claims.subject, "bearer", rights + self._anyone)
        found = self._tokens.get(token_hash(value))
        if found is None:
            raise CredentialsInvalid("unknown token")
        return found


def _literal(text: str) -> str:
    """A pattern that matches only `text`."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in text)


def _made_once(path: Path) -> str:
    """The secret in a file of mode 0600, made now when there is none."""
    with storage_errors():
        if not path.exists():
            write_private(path, secrets.token_urlsafe(32).encode() + b"\n")
        return path.read_text().strip()
