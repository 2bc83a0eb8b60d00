"""Who does which kind of background work, and what begins it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from smidgen_deltas.digest import Digest
from smidgen_server.services import collect, commit_image_queue, commit_images, mirror, publish_oci, publish_ostree
from smidgen_server.services.container import Services
from smidgen_server.services.tasks import Handler

HANDLERS: Final[Mapping[str, Handler]] = {
    publish_ostree.TASK: publish_ostree.run_task,
    publish_oci.TASK: publish_oci.run_task,
    mirror.TASK: mirror.run_task,
    collect.TASK: collect.run_task,
    commit_image_queue.EXPORT: commit_images.export_task,
    commit_image_queue.IMPORT: commit_images.import_task,
}


def subscribe(services: Services) -> None:
    """Build the surface of every tag that is pushed."""

    def pushed(name: str, tag: str, _digest: Digest) -> None:
        publish_oci.submit_tag(services, name, tag)

    services.events.on_tag_pushed.append(pushed)
    services.events.on_tag_deleted.append(partial(publish_oci.forget_tag, services))
