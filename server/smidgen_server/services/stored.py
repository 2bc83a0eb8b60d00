"""Rows for blobs that were just stored, safe beside garbage collection."""

from __future__ import annotations

import time

from sqlalchemy.orm import Session

from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import BlobUnknown, Conflict
from smidgen_server.blobs.base import BlobReader
from smidgen_server.index import content


def record_blob(session: Session, blobs: BlobReader, digest: Digest, size: int) -> int:
    """The id of the row of a blob whose bytes the caller has stored.

    Garbage collection may have taken equal bytes between storing and now; with the row written (and locked) it cannot
    any more, so this is the moment to look. Raises Conflict; storing again helps.
    """
    number = content.add_blob(session, digest, size, now=int(time.time()))
    try:
        blobs.stat(digest)
    except BlobUnknown:
        raise Conflict("a blob was collected while it was stored; run again", digest=str(digest)) from None
    return number
