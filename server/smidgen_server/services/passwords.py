"""htpasswd files: one `user:hash` per line, hashes by argon2 or bcrypt, `#` begins a comment.

The file is read again when it changes. Weak hashes (crypt, MD5, SHA-1, plain text) are refused when the file is read.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from smidgen_deltas.errors import SettingsError

MAX_FILE: Final = 1 << 20
REMEMBERED: Final = 256  # successful checks kept, so that a pull of many layers hashes once
_HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19 << 10, parallelism=1)  # 19 MiB: OWASP's small profile
_BCRYPT: Final = ("$2a$", "$2b$", "$2y$")


class Passwords:
    """Check users against a file. Thread-safe."""

    def __init__(self, path: Path | None) -> None:
        """Raises SettingsError when the file is not there or has a line that cannot be used."""
        self._path = path
        self._lock = threading.Lock()
        self._hashing = threading.Lock()  # argon2 takes 64 MiB at its defaults: one at a time
        self._stamp: tuple[int, int, int] | None = None
        self._hashes: dict[str, str] = {}
        self._known: OrderedDict[bytes, None] = OrderedDict()
        self._salt = secrets.token_bytes(32)
        self._dummy = hash_password(secrets.token_hex(16)) if path else ""
        self._reload()

    def check(self, user: str, password: str) -> bool:
        """Whether the password is the user's; takes as long for a user that does not exist."""
        if self._path is None:
            return False
        self._reload()
        with self._lock:
            stored = self._hashes.get(user)
        proof = hmac.digest(self._salt, f"{user}\0{stored}\0{password}".encode(), "sha256")
        with self._lock:
            if stored is not None and proof in self._known:
                self._known.move_to_end(proof)
                return True
        with self._hashing:
            right = _matches(stored or self._dummy, password)
        if not right or stored is None:
            return False
        with self._lock:
            self._known[proof] = None
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return True

    def _reload(self) -> None:
        if self._path is None:
            return
        try:
            found = self._path.stat()
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
            if stamp == self._stamp:
                return
            text = self._path.read_text("utf-8") if found.st_size <= MAX_FILE else ""
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError("auth.htpasswd cannot be read", path=str(self._path), reason=str(error)) from error
        hashes = _parse(text, self._path)
        with self._lock:
            self._hashes, self._stamp = hashes, stamp
            self._known.clear()


def hash_password(password: str) -> str:
    """A hash for a new line of the file."""
    return _HASHER.hash(password)


def _parse(text: str, path: Path) -> dict[str, str]:
    hashes: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        user, separator, stored = line.strip().partition(":")
        if not separator or not user or not stored.startswith(("$argon2", *_BCRYPT)):
            raise SettingsError("auth.htpasswd: not user:hash by argon2 or bcrypt", path=str(path), line=number)
        if stored.startswith(_BCRYPT):
            _need_bcrypt(path, number)
        hashes[user] = stored
    return hashes


def _need_bcrypt(path: Path, number: int) -> None:
    try:
        import bcrypt  # noqa: F401
    except ModuleNotFoundError as error:
        raise SettingsError(
            "auth.htpasswd has a bcrypt hash, for which the package `bcrypt` must be installed",
            path=str(path),
            line=number,
        ) from error


def _matches(stored: str, password: str) -> bool:
    if stored.startswith(_BCRYPT):
        import bcrypt

        # bcrypt ignores what follows 72 bytes; newer versions of the package refuse to be given more
        return bool(bcrypt.checkpw(password.encode()[:72], stored.encode()))
    try:
        return PasswordHasher().verify(stored, password)
    except (VerificationError, InvalidHashError):
        return False


def token_hash(token: str) -> str:
    """How static tokens are stored: they are random, so a plain sha256 does."""
    return hashlib.sha256(token.encode()).hexdigest()
