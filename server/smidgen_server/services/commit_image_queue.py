"""When commits become images, and images commits: what is queued once one of them was published.

A link of the settings (`[[ostree.images]]`) has one direction, so nothing goes round in circles.
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
    for at, link in enumerate(services.settings.ostree.images):
        if link.source == "commit" and link.repo == repo and link.ref in named:
            services.tasks.submit(EXPORT, f"image/{link.image}", {"link": at, "ref": link.ref, "tag": link.tag})


def image_published(services: Services, image: str, tag: str) -> None:
    """Queue the commits in this image."""
    for at, link in enumerate(services.settings.ostree.images):
        if link.source == "image" and (link.image, link.tag) == (image, tag):
            services.tasks.submit(IMPORT, f"commit/{link.repo}", {"link": at, "ref": link.ref, "tag": link.tag})
