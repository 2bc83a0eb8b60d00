"""Registry tokens: short-lived JWTs (RFC 7519, JWS compact form of RFC 7515) signed with HMAC-SHA256.

Only what this server issues is accepted: one algorithm, one header, every claim present. The `access` claim has the
form that registry clients expect: [{"type": "repository", "name": …, "actions": [...]}].
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import secrets
from dataclasses import dataclass
from typing import Any, Final

from smidgen_deltas.errors import Unauthorized

MAX_TOKEN: Final = 8192
LEEWAY: Final = 30  # seconds that the clocks of several servers may differ
_HEADER: Final = {"alg": "HS256", "typ": "JWT"}


@dataclass(frozen=True, slots=True)
class Access:
    """Actions on one repository of the registry."""

    name: str
    actions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Claims:
    """Who the token was issued to ("" for anyone) and for what. Times are UTC seconds."""

    subject: str
    access: tuple[Access, ...]
    issued: int
    expires: int


class TokenInvalid(Unauthorized):
    """A registry token is forged, malformed or expired."""

    hint = "Log in again; registry tokens are valid for minutes only."


class TokenIssuer:
    """Sign and check tokens of one service with one secret."""

    def __init__(self, secret: str, service: str) -> None:
        self._key = hmac.digest(secret.encode(), b"smidgen registry token", "sha256")
        self._service = service

    def issue(self, claims: Claims) -> str:
        payload = {
            "iss": self._service,
            "aud": self._service,
            "sub": claims.subject,
            "iat": claims.issued,
            "nbf": claims.issued - LEEWAY,
            "exp": claims.expires,
            "jti": secrets.token_hex(8),
            "access": [{"type": "repository", "name": one.name, "actions": list(one.actions)} for one in claims.access],
        }
        signed = f"{_pack(_HEADER)}.{_pack(payload)}"
        return f"{signed}.{_encode(self._signature(signed))}"

    def check(self, token: str, now: int) -> Claims:
        """Raises TokenInvalid."""
        signed, _, signature = token.rpartition(".")
        if len(token) > MAX_TOKEN or not hmac.compare_digest(self._signature(signed), _decode(signature)):
            raise TokenInvalid("the token was not issued by this server")
        header, payload = (_unpack(part) for part in signed.split("."))
        if header != _HEADER or payload["aud"] != self._service:
            raise TokenInvalid("the token was issued for another service")
        if now > payload["exp"] + LEEWAY or now < payload["nbf"]:
            raise TokenInvalid("the token has expired", expired=payload["exp"])
        access = tuple(Access(one["name"], tuple(one["actions"])) for one in payload["access"])
        return Claims(payload["sub"], access, payload["iat"], payload["exp"])

    def _signature(self, signed: str) -> bytes:
        return hmac.digest(self._key, signed.encode(), "sha256")


def looks_like_token(text: str) -> bool:
    """Whether a bearer value has the form of a JWT; static tokens have no dots."""
    return text.count(".") == 2


def _pack(value: dict[str, Any]) -> str:
    return _encode(json.dumps(value, separators=(",", ":")).encode())


def _unpack(text: str) -> dict[str, Any]:
    """Only called on what carries our own signature."""
    value: dict[str, Any] = json.loads(_decode(text))
    return value


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise TokenInvalid("the token is malformed") from error
