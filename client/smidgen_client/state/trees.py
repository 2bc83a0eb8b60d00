"""Tree documents of revisions that were pulled: deltas are made from them, and a store does not keep them.

One file per revision, one zstd frame each. Losing one only means that the next update comes from packs.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from smidgen_deltas import zstd
from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import SmidgenError, StorageError

LEVEL: Final = 3
MAX_DOCUMENT: Final = 256 << 20
SUFFIX: Final = ".tree"


@dataclass(frozen=True, slots=True)
class KnownTrees:
    """The documents in one folder."""

    folder: Path

    def has(self, revision: Digest) -> bool:
        """Whether there is a document, readable or not."""
        return self._path(revision).is_file()

    def load(self, revision: Digest) -> bytes | None:
        """The raw document; None when there is none, or it cannot be read."""
        try:
            with self._path(revision).open("rb") as file:
                return b"".join(zstd.stream_decompress(file, MAX_DOCUMENT))
        except (OSError, SmidgenError):
            return None

    def keep(self, revision: Digest, raw: bytes) -> None:
        """Raises StorageError."""
        path = self._path(revision)
        part = path.with_suffix(f".{os.getpid()}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            part.write_bytes(zstd.compress(raw, LEVEL))
            part.replace(path)
        except OSError as error:
            raise StorageError("a tree document cannot be kept", path=str(path), reason=error.strerror) from error
        finally:
            part.unlink(missing_ok=True)

    def prune(self, keep: Collection[str]) -> None:
        """Remove all but those of the named revisions (digest texts)."""
        names = {self._path(Digest.parse(text)).name for text in keep}
        for path in self.folder.glob(f"*{SUFFIX}"):
            if path.name not in names:
                path.unlink(missing_ok=True)

    def _path(self, revision: Digest) -> Path:
        return self.folder / f"{revision.algorithm}-{revision.hex}{SUFFIX}"
