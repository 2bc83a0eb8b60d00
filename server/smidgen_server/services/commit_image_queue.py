"""When commits become images, and images commits: what is queued once one of them was published.

A link of the settings (`[[ostree.images]]`) has one direction, and links may not form a circle. Its task runs in the
lane of what it publishes, as other tasks do that change the same repository.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from smidgen_server.services.container import Services

EXPORT: Final = "commit-to-image"
IMPORT: Final = "image-to-commit"


def commits_published(services: Services, repo: str, refs: Iterable[str]) -> None:
    """Queue the images of these refs."""
    named = set(refs)
    for link in services.settings.ostree.images:
        if link.source == "commit" and link.repo == repo and link.ref in named:
            services.tasks.submit(EXPORT, f"oci/{link.image}", link.model_dump())


def image_published(services: Services, image: str, tag: str) -> None:
    """Queue the commits in this image."""
    for link in services.settings.ostree.images:
        if link.source == "image" and (link.image, link.tag) == (image, tag):
            services.tasks.submit(IMPORT, f"ostree/{link.repo}", link.model_dump())
