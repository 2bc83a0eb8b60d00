"""Every error of the project: one base, typed, carrying its data, with one table for all audiences.

A class says what is wrong (`code`, the OCI error code where one fits), how an HTTP server answers (`status`),
how a command exits (`exit`) and what the user may do (`advice`). Modules that need a more specific error subclass the
nearest class here; a test walks all subclasses and checks the table in the documentation.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar


class SmidgenError(Exception):
    """Base of all errors that are somebody's data or circumstances, never a programmer's mistake.

    Args:
        message: one sentence, without advice.
        detail: facts for machines: digests, offsets, paths, limits. JSON-serialisable.
    """

    code: ClassVar[str] = "UNKNOWN"
    status: ClassVar[int] = 500
    exit: ClassVar[int] = 1
    hint: ClassVar[str] = "Report this with the output of `smidgen doctor --json`."

    def __init__(self, message: str, **detail: Any) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail

    def advice(self) -> str:
        """What the user may do about it."""
        return self.hint

    def as_json(self) -> dict[str, Any]:
        """The form in which programs get an error; details that JSON cannot hold are turned into text."""
        return {
            "kind": type(self).__name__,
            "code": self.code,
            "exit": self.exit,
            "message": self.message,
            "detail": {name: _plain(value) for name, value in self.detail.items()},
            "advice": self.advice(),
        }

    def __str__(self) -> str:
        facts = ", ".join(f"{name}={value}" for name, value in self.detail.items())
        return f"{self.message} ({facts})" if facts else self.message


class UsageError(SmidgenError):
    """The request itself makes no sense."""

    code, status, exit = "UNSUPPORTED", 400, 2
    hint = "Check the command or request against the documentation."


class SettingsError(SmidgenError):
    """A setting is missing, unknown or out of range."""

    code, status, exit = "UNSUPPORTED", 500, 3
    hint = "Correct the named setting and start again."


class MissingExtra(SmidgenError):
    """A command needs a part of smidgen that is not installed."""

    code, status, exit = "UNSUPPORTED", 501, 4
    hint = "Install what is named into the environment of smidgen, and run the same command again."


class FormatError(SmidgenError):
    """Bytes are not what their format says. Detail names the offset of the first bad byte where known."""

    code, status, exit = "MANIFEST_INVALID", 400, 10
    hint = "The input is damaged or hostile. It was refused; nothing was changed."


class LimitExceeded(FormatError):
    """A declared or found size is over what is allowed."""

    code, status, exit = "SIZE_INVALID", 413, 11
    hint = "The input asks for more than is allowed. Raise the limit only if you trust its source."


class UnsupportedFeature(FormatError):
    """The input is well-formed but needs something this version does not know."""

    code, status, exit = "UNSUPPORTED", 400, 12
    hint = "Update smidgen, or ask for the content in another form."


class IntegrityError(SmidgenError):
    """Content is not what was promised."""

    code, status, exit = "DIGEST_INVALID", 400, 20
    hint = "The copy is damaged or forged. It was discarded; retry from another source."


class DigestMismatch(IntegrityError):
    """Content did not hash to what was promised. Detail has both digests."""


class SizeMismatch(IntegrityError):
    """Content is shorter or longer than was promised. Detail has both sizes."""

    code, status, exit = "SIZE_INVALID", 400, 21


class SignatureInvalid(IntegrityError):
    """A signature is missing, wrong, or by a key that is not trusted."""

    code, status, exit = "DENIED", 403, 22
    hint = "Check which key the server signs with and which keys this device trusts (`smidgen keys`)."


class RollbackRefused(SignatureInvalid):
    """A signed document is older than one seen before, or has expired."""

    exit = 23
    hint = "The server or a cache shows an old state. Wait or ask its operator; nothing was changed."


class NotFound(SmidgenError):
    """The named thing does not exist (or is not visible to the asker)."""

    code, status, exit = "NAME_UNKNOWN", 404, 30
    hint = "Check the name; `smidgen status` and the server's listing show what there is."


class BlobUnknown(NotFound):
    """A blob is not there."""

    code = "BLOB_UNKNOWN"


class Denied(SmidgenError):
    """The asker is known but not allowed."""

    code, status, exit = "DENIED", 403, 31
    hint = "Ask the operator of the server for access."


class Unauthorized(SmidgenError):
    """The asker is not known."""

    code, status, exit = "UNAUTHORIZED", 401, 32
    hint = "Log in first, or give a token."


class Conflict(SmidgenError):
    """Another process is doing this, or the state changed meanwhile."""

    code, status, exit = "DENIED", 409, 33
    hint = "Wait until the other operation has ended and retry."


class TransportError(SmidgenError):
    """The network or the server failed; retrying later may help."""

    code, status, exit = "UNAVAILABLE", 502, 40
    hint = "Check the connection. What was transferred is kept; run the same command again to go on."


class ByteBudgetExceeded(SmidgenError):
    """Going on would fetch more than allowed."""

    code, status, exit = "DENIED", 403, 41
    hint = "Raise --max-bytes or wait for an unmetered link; nothing beyond the limit was fetched."


class StorageError(SmidgenError):
    """Local storage refused: full disk, missing permission, unsuitable file system."""

    code, status, exit = "UNAVAILABLE", 507, 50
    hint = "Free space or fix permissions and run the same command again."


def _plain(value: Any) -> Any:
    try:
        json.dumps(value)
    except TypeError:
        return str(value)
    return value
