"""The index by which flatpak finds applications in a registry (flatpak-oci-specs, "registry-index").

A registry has no search, so flatpak asks an index beside it which images have a label of theirs. Here the index is read
from the images themselves, under the tag that is asked for; what an image says never changes, so it is remembered.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import FormatError, LimitExceeded, NotFound
from smidgen_deltas.oci.config import MAX_CONFIG, parse_config
from smidgen_deltas.oci.media import INDEXES
from smidgen_deltas.oci.model import MAX_DOCUMENT, Index, Manifest, parse_manifest
from smidgen_server.blobs.base import BlobReader
from smidgen_server.index import oci
from smidgen_server.services.auth import Principal
from smidgen_server.services.cache import BoundedCache

if TYPE_CHECKING:
    from smidgen_server.services.container import Services

KEPT: Final = 64 << 20  # bytes of images read before
KEPT_SECONDS: Final = 600.0  # an index of images may gain one that was not pushed yet
MAX_WORDS: Final = 1 << 20  # characters of labels and annotations; an image that says more is not listed
MAX_CHILDREN: Final = 64  # images looked at in one index of images
_CONDITION: Final = re.compile(r"(label|annotation):(.+?)(:exists)?")


@dataclass(frozen=True, slots=True)
class Entry:
    """An image as the index shows it."""

    digest: str
    media_type: str
    os: str
    architecture: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    @property
    def size(self) -> int:
        """Characters of labels and annotations."""
        return sum(len(name) + len(value) for words in (self.labels, self.annotations) for name, value in words.items())

    def fits(self, conditions: Mapping[str, Sequence[str]]) -> bool:
        """Whether it is what is asked for: of several values of one parameter any will do."""
        return all(self._fits(name, values) for name, values in conditions.items())

    def shown(self, tags: Sequence[str]) -> dict[str, Any]:
        return {
            "Tags": list(tags),
            "Digest": self.digest,
            "MediaType": self.media_type,
            "OS": self.os,
            "Architecture": self.architecture,
            "Annotations": dict(self.annotations),
            "Labels": dict(self.labels),
        }

    def _fits(self, name: str, values: Sequence[str]) -> bool:
        if name == "architecture":
            return self.architecture in values
        if name == "os":
            return self.os in values
        condition = _CONDITION.fullmatch(name)
        if condition is None:
            return True  # not for images, or of a later version of the specification
        known = self.labels if condition[1] == "label" else self.annotations
        return condition[2] in known if condition[3] else known.get(condition[2]) in values


class FlatpakIndex:
    """Images by repository and digest of what a tag names, as they were read. Thread-safe."""

    def __init__(self) -> None:
        self._entries: BoundedCache[tuple[str, str], tuple[Entry, ...]] = BoundedCache(KEPT, KEPT_SECONDS)

    def results(
        self, services: Services, principal: Principal, tag: str, conditions: Mapping[str, Sequence[str]]
    ) -> list[dict[str, Any]]:
        """The "Results" of the answer: repositories that the asker may pull from, with the images that fit.

        Args:
            conditions: parameters of the request with their values; see Entry.fits, and "repository".
        """
        with services.index.read() as session:
            tagged = oci.tagged(session, tag)
        wanted = conditions.get("repository")
        found = []
        for one in tagged:
            if (wanted is None or one.repo in wanted) and (one.public or principal.may(f"oci/{one.repo}", "pull")):
                shown = _repository(one, tag, [entry for entry in self._read(services, one) if entry.fits(conditions)])
                found += [shown] if shown else []
        return found

    def _read(self, services: Services, tagged: oci.Tagged) -> tuple[Entry, ...]:
        key = (tagged.repo, tagged.digest)
        known = self._entries.get(key)
        if known is None:
            known = tuple(_entries(services, tagged.repo, tagged.digest, tagged.media_type))
            self._entries.put(key, known, 500 + sum(4 * one.size + 500 for one in known))
        return known


def _repository(tagged: oci.Tagged, tag: str, entries: Sequence[Entry]) -> dict[str, Any] | None:
    """An image stands for itself, those of an index of images in a list."""
    if not entries:
        return None
    if entries[0].digest == tagged.digest:
        return {"Name": tagged.repo, "Images": [one.shown([tag]) for one in entries], "Lists": []}
    images = [one.shown([]) for one in entries]
    one_list = {"Tags": [tag], "Digest": tagged.digest, "MediaType": tagged.media_type, "Images": images}
    return {"Name": tagged.repo, "Images": [], "Lists": [one_list]}


def _entries(services: Services, repo: str, digest: str, media_type: str) -> Iterator[Entry]:
    """The images that a manifest stands for; none where it is an artifact, or something is missing."""
    try:
        document = parse_manifest(_bytes(services.blobs, Digest.parse(digest)), media_type)
        if isinstance(document, Manifest):
            entry = _entry(services.blobs, digest, document)
            if entry.size <= MAX_WORDS:
                yield entry
            return
        children = _children(services, repo, document)
    except (FormatError, NotFound):
        return
    for child, child_type in children:
        yield from _entries(services, repo, child, child_type)


def _children(services: Services, repo: str, index: Index) -> list[tuple[str, str]]:
    """The images of an index that the repository has, without indexes in it."""
    named = [str(one.digest) for one in index.manifests[:MAX_CHILDREN]]
    with services.index.read() as session:
        found = [oci.manifest_by_digest(session, repo, digest) for digest in named]
    types = [(one.digest, one.media_type) for one in found if one is not None]
    return [(digest, media_type) for digest, media_type in types if media_type not in INDEXES]


def _entry(blobs: BlobReader, digest: str, manifest: Manifest) -> Entry:
    """Raises FormatError, BlobUnknown."""
    config = parse_config(_bytes(blobs, manifest.config.digest, limit=MAX_CONFIG))
    return Entry(digest, manifest.media_type, config.os, config.architecture, config.labels, manifest.annotations)


def _bytes(blobs: BlobReader, digest: Digest, limit: int = MAX_DOCUMENT) -> bytes:
    size = blobs.stat(digest).size
    if size > limit:
        raise LimitExceeded("a document is too large", digest=str(digest), size=size, limit=limit)
    with blobs.open(digest) as blocks:
        return b"".join(blocks)
