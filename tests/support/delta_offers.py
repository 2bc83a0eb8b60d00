"""Deltas between revisions that are held in memory, as a surface offers them."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from smidgen_deltas.digest import Digest
from smidgen_deltas.engine.make import make
from smidgen_deltas.engine.sources import Tree
from smidgen_deltas.native.delta import LEAD, Header, decode_header, decode_lead
from smidgen_deltas.native.refdoc import DeltaOffer, Piece
from smidgen_deltas.native.tree import ContentRef, OstreeTree, encode_tree
from support.device_trees import Made
from support.surface_simulator import Surface


@dataclass(frozen=True)
class Offered:
    """A delta as it is served; `start`: offset of its first frame."""

    offer: DeltaOffer
    header: Header
    start: int

    def frame(self, number: int) -> int:
        """Offset of a frame."""
        return self.start + sum(frame.size for frame in self.header.frames[:number])


class _Bodies:
    def __init__(self, made: Made) -> None:
        self._made = made

    def open(self, content: ContentRef) -> bytes:
        return self._made.bodies[content.sha256]


def revision_of(made: Made) -> Digest:
    return Digest.of(made.tree.commit) if isinstance(made.tree, OstreeTree) else made.tree.manifests[0].digest


def engine_tree(made: Made) -> Tree:
    """Contents are paired by their place in the tree."""
    paths = tuple(f"file{number}" for number in range(len(made.tree.contents)))
    return Tree(encode_tree(made.tree), made.tree.contents, paths, _Bodies(made))


def offer_delta(surface: Surface, old: Made, new: Made) -> Offered:
    """Make a delta and serve it; the caller names the offer in the ref document."""
    out = io.BytesIO()
    with ThreadPoolExecutor(1) as executor:
        make([engine_tree(old)], engine_tree(new), out, "fast", executor)
    data = out.getvalue()
    lead = decode_lead(data[:LEAD])
    header = decode_header(lead, data[lead.start : lead.start + lead.size])
    piece = Piece(surface.blob(data), len(data), header.output)
    features = tuple(f"{one.name}-{one.version}" for one in header.transforms)
    digest = Digest.from_raw(lead.sha256)
    offer = DeltaOffer((revision_of(old),), piece, header.memory, 0, 0, features, digest)
    return Offered(offer, header, lead.start + lead.size)
