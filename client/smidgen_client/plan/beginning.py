"""What to read first: the tree document, or a delta, which brings the tree with it. Pure.

With a delta the tree document need not be fetched, so a device that takes the fewest bytes begins with the delta. One
that takes the fewest seconds knows more with tree and map at hand (packs and whole layers may be quicker), and reads
them first where that is cheap beside the delta itself.
"""

from __future__ import annotations

from typing import Final

from smidgen_client.plan.costs import Bill
from smidgen_client.plan.ways import Situation

SHARE: Final = 0.2  # of the delta's seconds that tree and map may cost


def delta_first(situation: Situation, delta: Bill, metadata: int) -> bool:
    """Whether to begin with the delta. metadata: bytes of tree and map.

    An unknown link is measured on the delta's beginning; tree and map can still be read then.
    """
    if situation.counts_bytes:
        return True
    return situation.seconds(Bill(metadata, 2)) > SHARE * situation.seconds(delta)


def map_may_help(situation: Situation, delta: Bill, metadata: int, work: float, *, spare: bool) -> bool:
    """Whether, with a delta begun, the pack map should be read to compare.

    Args:
        delta: what the rest of it costs; metadata: bytes of the map.
        work: seconds of one core for the missing contents, were they to come from packs.
        spare: the delta brings contents that are not missing, so that packs may even be fewer bytes.
    """
    if spare and delta.bytes > metadata:
        return True
    if situation.counts_bytes:
        return False
    return situation.seconds(Bill(metadata, 2, work)) < situation.seconds(delta)
