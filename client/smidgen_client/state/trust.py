"""Which keys a device trusts for which server, and which versions it has seen.

Rules
 * keys given on the command line are the only ones that count for that command, and are kept as pinned
 * without any, the first keys a server shows are kept ("first use"); later ones are not looked at again
 * a document that verifies raises the version seen at once, before anything is fetched for it
 * what was seen from one server counts for every other, and for bundles, by whose keys it verifies
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from smidgen_client.state.database import Database
from smidgen_deltas.errors import SettingsError
from smidgen_deltas.native.refdoc import RefDocument, decode_keys, key_id

Keys = Mapping[str, Ed25519PublicKey]


@dataclass(frozen=True, slots=True)
class SeenRef:
    """The newest document accepted for a ref: its version, the ETag it came with, its bytes."""

    version: int
    etag: str
    document: bytes


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A key and how it came to be trusted: `pinned` or `first use`."""

    server: str
    key_id: str
    how: str


class Trust:
    """The trust part of the state."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keys(self, server: str) -> dict[str, Ed25519PublicKey]:
        rows = self._database.rows("SELECT key_id, raw FROM server_key WHERE server = ?", server)
        return {name: Ed25519PublicKey.from_public_bytes(raw) for name, raw in rows}

    def listing(self) -> list[TrustedKey]:
        rows = self._database.rows("SELECT server, key_id, how FROM server_key ORDER BY server, key_id")
        return [TrustedKey(*row) for row in rows]

    def keep(self, server: str, keys: Keys, *, how: str, now: int) -> None:
        """Trust `keys` for `server` from now on, and no others."""
        with self._database.transaction():
            self._database.change("DELETE FROM server_key WHERE server = ?", server)
            for name, key in keys.items():
                raw = key.public_bytes_raw()
                self._database.change("INSERT INTO server_key VALUES (?, ?, ?, ?, ?)", server, name, raw, how, now)

    def seen(self, server: str, ref: str) -> SeenRef | None:
        row = self._database.row(
            "SELECT version, etag, document FROM seen_ref WHERE server = ? AND ref = ?", server, ref
        )
        return SeenRef(*row) if row else None

    def seen_anywhere(self, ref: str) -> list[SeenRef]:
        """The newest documents of a ref, one of each server that it was had from."""
        rows = self._database.rows("SELECT version, etag, document FROM seen_ref WHERE ref = ?", ref)
        return [SeenRef(*row) for row in rows]

    def servers(self, ref: str) -> list[str]:
        """Those with known keys: which a document of `ref` came from, or all of them where it came from none."""
        known = "SELECT DISTINCT server FROM server_key"
        rows = self._database.rows(
            f"{known} WHERE server IN (SELECT server FROM seen_ref WHERE ref = ?) ORDER BY 1", ref
        )
        return [server for (server,) in rows or self._database.rows(f"{known} ORDER BY 1")]

    def forget(self, server: str, ref: str) -> None:
        """Forget what was seen of a ref at a server."""
        self._database.change("DELETE FROM seen_ref WHERE server = ? AND ref = ?", server, ref)

    def accept(self, server: str, ref: str, document: RefDocument, etag: str, body: bytes) -> None:
        """Remember a verified document; an older one never replaces a newer."""
        self._database.change(
            "INSERT INTO seen_ref VALUES (?, ?, ?, ?, ?) ON CONFLICT (server, ref) DO UPDATE SET"
            " version = excluded.version, etag = excluded.etag, document = excluded.document"
            " WHERE excluded.version >= seen_ref.version",
            server,
            ref,
            document.version,
            etag,
            body,
        )


def parse_keys(texts: Iterable[str], files: Iterable[Path]) -> dict[str, Ed25519PublicKey]:
    """Keys from `--key` (base64 of 32 raw bytes) and `--trust-file` (a copy of keys.json). Raises SettingsError."""
    found: dict[str, Ed25519PublicKey] = {}
    for text in texts:
        try:
            raw = base64.b64decode(text, validate=True)
        except ValueError as error:
            raise SettingsError("a key is the base64 of 32 bytes", given=text[:100]) from error
        if len(raw) != 32:
            raise SettingsError("a key is the base64 of 32 bytes", given=text[:100])
        key = Ed25519PublicKey.from_public_bytes(raw)
        found[key_id(key)] = key
    for path in files:
        try:
            found |= decode_keys(path.read_bytes())
        except OSError as error:
            raise SettingsError("the trust file cannot be read", path=str(path), reason=str(error)) from error
    return found
