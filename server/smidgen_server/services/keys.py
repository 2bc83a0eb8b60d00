"""The server's ed25519 signing keys: PKCS #8 files in one directory, mode 0600, and the name of the one that signs.

<directory>/<key id>.pem     private keys; the id is `native.refdoc.key_id`
<directory>/current          id of the key that signs new documents

Rotation: `new` adds a key that readers learn of, `rotate` lets it sign. Until the old key is removed, documents are
signed with both, so that devices which pinned either one go on.
"""

from __future__ import annotations

import fcntl
import os
import re
import threading
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from smidgen_deltas.errors import Conflict, NotFound, SettingsError
from smidgen_deltas.native.refdoc import key_id
from smidgen_server.blobs.staging import storage_errors, sync_directory

CURRENT: Final = "current"
LOCK: Final = ".lock"
_ID: Final = re.compile(r"[0-9a-f]{16}\Z")


class SigningKeys:
    """Keys are read from disk at each use, so that `smidgen keys rotate` needs no restart."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def signers(self) -> list[Ed25519PrivateKey]:
        """All keys, the current one first. The first key is made when there is none."""
        ids = self.ids() or self._first()
        current = self.current()
        return [self._load(identity) for identity in sorted(ids, key=lambda one: one != current)]

    def public(self) -> dict[str, Ed25519PublicKey]:
        """Key id -> public key, of all keys."""
        return {key_id(key.public_key()): key.public_key() for key in self.signers()}

    def ids(self) -> list[str]:
        return sorted(path.stem for path in self._directory.glob("*.pem") if _ID.match(path.stem))

    def current(self) -> str | None:
        path = self._directory / CURRENT
        return path.read_text().strip() if path.exists() else None

    def new(self) -> str:
        """Make a key; it becomes the current one when it is the first."""
        key = Ed25519PrivateKey.generate()
        identity = key_id(key.public_key())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with storage_errors():
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_private(self._directory / f"{identity}.pem", pem)
            if self.current() is None:
                self.rotate(identity)
        return identity

    def _first(self) -> list[str]:
        """Make the first key, once, however many threads and processes find none at the same moment."""
        with storage_errors():
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            with os.fdopen(os.open(self._directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                return self.ids() or [self.new()]

    def rotate(self, identity: str) -> None:
        """Let a key sign. Raises NotFound."""
        self._load(identity)
        with storage_errors():
            write_private(self._directory / CURRENT, identity.encode() + b"\n")

    def remove(self, identity: str) -> None:
        """Forget a key. Raises Conflict for the current one."""
        self._load(identity)
        if identity == self.current():
            raise Conflict("the current key cannot be removed; rotate to another one first", key=identity)
        with storage_errors():
            (self._directory / f"{identity}.pem").unlink()

    def export(self, identity: str) -> bytes:
        """The public key as PEM."""
        return self._load(identity).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def _load(self, identity: str) -> Ed25519PrivateKey:
        path = self._directory / f"{identity}.pem"
        if not _ID.match(identity) or not path.exists():
            raise NotFound("no such key", key=identity[:64])
        try:
            key = load_pem_private_key(path.read_bytes(), password=None)
        except ValueError as error:
            raise SettingsError("not a private key", path=str(path)) from error
        if not isinstance(key, Ed25519PrivateKey) or key_id(key.public_key()) != identity:
            raise SettingsError("not the ed25519 key that its name says", path=str(path))
        return key


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    staged = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident():x}")
    fd = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    staged.replace(path)
    sync_directory(path.parent)
