"""How each layer of an image comes to the device. Pure.

A layer can be rebuilt from contents as an uncompressed tar (the image id stays, since it covers the tar; the manifest
names the tar instead of the compressed form), sometimes also in its compressed form, or it can be fetched whole as it
was pushed.

 * `exact`: the manifest must stay as it is: rebuilt where that gives the very same bytes, else whole
 * `tar`: uncompressed wherever there is a recipe
 * `auto`: whichever has the lower price, in bytes or in seconds; a tie goes to the exact form
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from smidgen_client.plan.costs import BUILD_RATE, PER_CONTENT, STORE_RATE, UNPACK_RATE, Bill, Prices
from smidgen_deltas.native.packmap import FOREIGN, PackMap

How = Literal["tar", "rebuilt", "whole"]
Mode = Literal["auto", "exact", "tar"]


@dataclass(frozen=True, slots=True)
class LayerNeed:
    """A layer that is not there yet.

    Args:
        contents: indexes of the tree's contents that its tar is made of.
        whole: bytes to fetch for the stored form (less than its size when a part is here).
        tar: bytes of its tar.
        plain: the stored form is the tar itself.
        recompress: the stored form can be made from the tar.
    """

    contents: frozenset[int]
    whole: int
    tar: int
    plain: bool
    recompress: bool

    @property
    def whole_bill(self) -> Bill:
        return Bill(self.whole, 1, self.whole / STORE_RATE)

    @property
    def build_work(self) -> float:
        """Seconds of one core for putting the tar together, contents included."""
        return self.tar / UNPACK_RATE + self.tar / BUILD_RATE + len(self.contents) * PER_CONTENT


def choose_layers(
    needs: Sequence[LayerNeed], packmap: PackMap, remote: Sequence[int] | bytearray, mode: Mode, prices: Prices
) -> list[How]:
    """Decide for each need.

    Args:
        remote: flag per content: it would have to be fetched.
    """
    choice: list[How] = [_built(need, mode) for need in needs]
    if mode != "auto":
        return choice
    for number in sorted(range(len(needs)), key=lambda at: -needs[at].whole):
        exclusive = _exclusive(number, needs, choice, packmap, remote)
        building = Bill(exclusive, 1 if exclusive and prices.cpu else 0, needs[number].build_work)
        if prices.of(needs[number].whole_bill) <= prices.of(building):
            choice[number] = "whole"
    return choice


def _built(need: LayerNeed, mode: Mode) -> How:
    """The form that a layer gets when it is made from contents; whole where `exact` leaves nothing else."""
    if need.plain:
        return "tar"
    if mode == "exact":
        return "rebuilt" if need.recompress else "whole"
    return "tar"


def _exclusive(
    number: int, needs: Sequence[LayerNeed], choice: Sequence[How], packmap: PackMap, remote: Sequence[int] | bytearray
) -> int:
    """Bytes of frames that only this layer needs, given how the others are made."""
    others: set[int] = set()
    for at, need in enumerate(needs):
        if at != number and choice[at] != "whole":
            others |= need.contents
    own = needs[number].contents
    total = 0
    for frame in packmap.frames:
        wanted = [one.content for one in frame.members if one.content != FOREIGN and remote[one.content]]
        if any(content in own for content in wanted) and not any(content in others for content in wanted):
            total += frame.size
    return total
