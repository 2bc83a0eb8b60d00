"""Where an export goes: a folder, or a bucket (S3, GCS, Azure).

A file appears at once and whole. `settle` returns when all files before it outlive a power cut, so that what names
them may follow.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from smidgen_deltas.errors import MissingExtra, UsageError
from smidgen_server.blobs.base import StorageFailed
from smidgen_server.blobs.staging import storage_errors

TEMPORARY: Final = ".smidgen-export-"
BLOCK: Final = 1 << 20
FOREVER: Final = "public, max-age=31536000, immutable"
BRIEFLY: Final = "public, max-age=30, must-revalidate"


class Target(Protocol):
    """A place for files with names like `u/refs/ostree/os/stable.json`."""

    def sizes(self) -> dict[str, int]:
        """All files that are there, with their sizes in bytes."""
        ...

    def read(self, name: str) -> bytes | None:
        """A small file, or None."""
        ...

    def blocks(self, name: str) -> Iterator[bytes]:
        """A file that is there, in pieces. Raises StorageFailed."""
        ...

    def put(self, name: str, blocks: Iterable[bytes], *, immutable: bool) -> None:
        """Raises StorageFull, StorageFailed; then there is what was there before."""

    def remove(self, name: str) -> None:
        """Nothing happens where there is none."""

    def settle(self) -> None:
        """Wait until what was put is durable."""


def open_target(text: str, options: dict[str, str]) -> Target:
    """A folder (made if need be), or a bucket by URL. Raises UsageError, SettingsError, MissingExtra, StorageFailed."""
    if "://" not in text:
        return Folder(Path(text))
    try:
        from smidgen_server.blobs.objectstore import connect
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "exports to a bucket need the extra `s3`: in the sources of smidgen, pip install '.[server,s3]'"
        ) from error
    return Bucket(connect(text, options, "the bucket or an --option"))


class Folder:
    """A folder that a web server serves."""

    def __init__(self, root: Path) -> None:
        if root.exists() and not root.is_dir():
            raise UsageError("an export goes to a folder or a bucket", given=str(root))
        with storage_errors():
            root.mkdir(parents=True, exist_ok=True)
            for left in root.rglob(f"{TEMPORARY}*"):  # by an export that was killed
                left.unlink(missing_ok=True)
        self._root = root

    def sizes(self) -> dict[str, int]:
        with storage_errors():
            return {
                str(path.relative_to(self._root)): path.stat().st_size
                for path in self._root.rglob("*")
                if path.is_file() and not path.is_symlink()
            }

    def read(self, name: str) -> bytes | None:
        try:
            return (self._root / name).read_bytes()
        except FileNotFoundError:
            return None

    def blocks(self, name: str) -> Iterator[bytes]:
        with storage_errors(), (self._root / name).open("rb") as file:
            while block := file.read(BLOCK):
                yield block

    def put(self, name: str, blocks: Iterable[bytes], *, immutable: bool) -> None:  # noqa: ARG002 - the web server says
        path = self._root / name
        with storage_errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=TEMPORARY, delete=False) as file:
                try:
                    for block in blocks:
                        file.write(block)
                    file.flush()
                    os.fchmod(file.fileno(), 0o644)
                    Path(file.name).replace(path)
                except BaseException:
                    Path(file.name).unlink()
                    raise

    def remove(self, name: str) -> None:
        with storage_errors():
            (self._root / name).unlink(missing_ok=True)

    def settle(self) -> None:
        os.sync()


class Bucket:
    """A bucket, and perhaps a prefix in it; objects say how long caches may keep them."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def sizes(self) -> dict[str, int]:
        import obstore

        with _bucket_errors():
            return {one["path"]: int(one["size"]) for page in obstore.list(self._store) for one in page}

    def read(self, name: str) -> bytes | None:
        import obstore

        try:
            with _bucket_errors():
                return bytes(obstore.get(self._store, name).bytes())
        except FileNotFoundError:
            return None

    def blocks(self, name: str) -> Iterator[bytes]:
        import obstore

        with _bucket_errors():
            for block in obstore.get(self._store, name):
                yield bytes(block)

    def put(self, name: str, blocks: Iterable[bytes], *, immutable: bool) -> None:
        import obstore

        kind = "application/json" if name.endswith(".json") else "application/octet-stream"
        attributes = {"Content-Type": kind, "Cache-Control": FOREVER if immutable else BRIEFLY}
        with _bucket_errors(), tempfile.TemporaryFile() as file:
            for block in blocks:
                file.write(block)
            file.seek(0)
            obstore.put(self._store, name, file, attributes=attributes)

    def remove(self, name: str) -> None:
        import obstore

        with _bucket_errors():
            obstore.delete(self._store, name)

    def settle(self) -> None:
        """A bucket has what it confirmed."""


@contextmanager
def _bucket_errors() -> Iterator[None]:
    from obstore.exceptions import BaseError

    try:
        yield
    except FileNotFoundError:
        raise
    except BaseError as error:
        raise StorageFailed("the bucket refused", reason=str(error).strip().splitlines()[0][:300]) from error
