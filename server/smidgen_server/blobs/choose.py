"""Which blob store the settings ask for."""

from __future__ import annotations

from smidgen_deltas.errors import MissingExtra
from smidgen_server.blobs.base import BlobStore
from smidgen_server.blobs.local import LocalStore
from smidgen_server.settings import Settings


def open_store(settings: Settings) -> BlobStore:
    """The local store unless `blobs.url` names a bucket. Raises MissingExtra where obstore is not installed."""
    if settings.blobs.url is None:
        return LocalStore(settings.blob_dir)
    try:
        from smidgen_server.blobs.objectstore import open_object_store
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "blobs in a bucket need the extra `s3`: in the sources of smidgen, pip install '.[server,s3]'"
        ) from error
    return open_object_store(settings)
