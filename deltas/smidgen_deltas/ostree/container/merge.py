"""A commit of everything: that of an image with the layers that a container build put on top of it.

It says what ostree-ext's merge commits say (store.rs): manifest and configuration of the image as metadata, the time of
the image, no parent. So machines that ostree-ext updates and those that take the commit from here have the same tree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import UnsupportedFeature
from smidgen_deltas.oci.config import ImageConfig
from smidgen_deltas.oci.model import Manifest
from smidgen_deltas.ostree.container.derived_reader import DerivedReader
from smidgen_deltas.ostree.container.folders import read_folder
from smidgen_deltas.ostree.gvariant import Variant
from smidgen_deltas.ostree.objects import Commit, ObjectName, ObjectType
from smidgen_deltas.ostree.repo_writer import Transaction

IMPORTER: Final = "smidgen 1"  # grows when the same image gives another commit
_CREATED: Final = "org.opencontainers.image.created"
_POLICY: Final = "usr/etc/selinux"


class Merging:
    """Layers upon the commit `base`, whose objects are all in the transaction or its repository."""

    def __init__(self, transaction: Transaction, base: bytes) -> None:
        self._transaction = transaction
        self._base = Commit.decode(transaction.metadata(ObjectName(ObjectType.COMMIT, base)))
        self._root = read_folder(transaction.metadata, self._base.root_tree, self._base.root_meta)
        self._left_out: dict[str, dict[str, int]] = {}

    def add(self, layer: Digest, blocks: Iterable[bytes]) -> None:
        """Lay the tar of a layer over all before it. Raises as DerivedReader.read; UnsupportedFeature, see `_check`."""
        reader = DerivedReader(self._transaction.put_file)
        self._root.lay(reader.read(blocks))
        self._check()
        if reader.left_out:
            self._left_out[str(layer)] = reader.left_out

    def commit(self, manifest: Manifest, config: ImageConfig) -> bytes:
        """Stage the commit and its folders; its checksum."""
        tree, meta = self._root.write(self._transaction.put_metadata)
        metadata = {
            "ostree.manifest-digest": Variant("s", str(manifest.digest)),
            "ostree.manifest": Variant("s", manifest.body.decode()),
            "ostree.container.image-config": Variant("s", config.body.decode()),
            "ostree.importer.version": Variant("s", IMPORTER),
            "ostree.tar-filtered": Variant("a{sa{su}}", self._left_out),
        }
        time = _seconds(manifest.annotations.get(_CREATED, "") or config.created)
        data = Commit(metadata, None, (), "", "", self._base.timestamp if time is None else time, tree, meta).encode()
        checksum = hashlib.sha256(data).digest()
        self._transaction.put_metadata(ObjectName(ObjectType.COMMIT, checksum), data)
        return checksum

    def _check(self) -> None:
        """Raise UnsupportedFeature where the stock tool would label files by a policy inside of the tree."""
        policy = self._root.find(_POLICY)
        if policy is not None and "config" in policy.files:
            raise UnsupportedFeature("layers on top of a commit with an SELinux policy need its labels", policy=_POLICY)


def _seconds(text: str) -> int | None:
    """An RFC 3339 time as UTC seconds; None for anything else and for times before 1970."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    seconds = int(found.replace(tzinfo=found.tzinfo or UTC).timestamp())
    return seconds if seconds >= 0 else None
