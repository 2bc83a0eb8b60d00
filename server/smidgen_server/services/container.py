"""The parts of a running server, built once from the settings and handed to every request and command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from smidgen_server.blobs.base import BlobStore
from smidgen_server.blobs.choose import open_store
from smidgen_server.blobs.counted import CountedStore
from smidgen_server.blobs.staging import storage_errors
from smidgen_server.blobs.uploads import Uploads
from smidgen_server.index.base import Index
from smidgen_server.metrics import Metrics
from smidgen_server.services.auth import Auth
from smidgen_server.services.events import Events
from smidgen_server.services.flatpak_index import FlatpakIndex
from smidgen_server.services.jobs import Jobs
from smidgen_server.services.keys import SigningKeys
from smidgen_server.services.ostree_read import OstreeReader
from smidgen_server.services.tasks import Tasks
from smidgen_server.settings import Settings


@dataclass(frozen=True, slots=True)
class Services:
    """See the classes. `tasks` and `jobs` run only between their `start` and `stop`."""

    settings: Settings
    index: Index
    blobs: BlobStore
    uploads: Uploads
    auth: Auth
    keys: SigningKeys
    metrics: Metrics
    tasks: Tasks
    ostree: OstreeReader
    jobs: Jobs = field(default_factory=Jobs)
    events: Events = field(default_factory=Events)
    flatpak: FlatpakIndex = field(default_factory=FlatpakIndex)


@contextmanager
def open_services(settings: Settings) -> Iterator[Services]:
    """Make the data directory where needed, bring the schema up to date, open everything; close it at the end."""
    with storage_errors():
        settings.data.mkdir(parents=True, exist_ok=True)
    index = Index(settings.database_url, pool_size=settings.pool_size)
    try:
        index.upgrade()
        metrics = Metrics()
        blobs = CountedStore(open_store(settings), metrics)
        services = Services(
            settings=settings,
            index=index,
            blobs=blobs,
            uploads=Uploads(settings.upload_dir, blobs, settings.limits.upload_seconds, settings.limits.blob_bytes),
            auth=Auth(settings, index),
            keys=SigningKeys(settings.key_dir),
            metrics=metrics,
            tasks=Tasks(index),
            ostree=OstreeReader(index),
        )
        yield services
    finally:
        index.close()
