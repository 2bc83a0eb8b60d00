"""Image configurations (image-spec 1.1, config.md; Docker's are the same in what is read here).

Only what smidgen acts upon is read; the exact bytes are kept. Rules enforced here: at most MAX_CONFIG bytes, strict
JSON, `rootfs` of type "layers" with well-formed diff_ids. History is told, not checked: real images get it wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from smidgen_deltas.digest import Digest
from smidgen_deltas.oci import strictjson
from smidgen_deltas.oci.fields import Fields, ManifestInvalid

MAX_CONFIG: Final = 8 << 20


@dataclass(frozen=True, slots=True)
class History:
    """One step of the image's making; an `empty_layer` made no layer."""

    created: str
    created_by: str
    comment: str
    empty_layer: bool


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """Of the config's bytes: platform, labels, and the digests of the uncompressed layers in order."""

    body: bytes
    architecture: str
    os: str
    variant: str
    created: str
    diff_ids: tuple[Digest, ...]
    labels: Mapping[str, str]
    history: tuple[History, ...]

    @property
    def digest(self) -> Digest:
        return Digest.of(self.body)


def parse_config(body: bytes) -> ImageConfig:
    """Read an image configuration. Raises LimitExceeded, JsonInvalid, ManifestInvalid, DigestInvalid."""
    fields = Fields(strictjson.parse(body, MAX_CONFIG, "image config"), "")
    rootfs = fields.object("rootfs")
    if rootfs is None or rootfs.text("type") != "layers":
        raise ManifestInvalid("image config without layers", member="rootfs.type")
    diff_ids = tuple(Digest.parse(text) for text in rootfs.texts("diff_ids"))
    settings = fields.object("config")
    history = tuple(_history(one) for one in fields.objects("history"))
    return ImageConfig(
        body=body,
        architecture=fields.text("architecture"),
        os=fields.text("os"),
        variant=fields.text("variant"),
        created=fields.text("created"),
        diff_ids=diff_ids,
        labels=settings.mapping("Labels") if settings else {},
        history=history,
    )


def _history(fields: Fields) -> History:
    return History(
        created=fields.text("created"),
        created_by=fields.text("created_by"),
        comment=fields.text("comment"),
        empty_layer=fields.flag("empty_layer"),
    )
