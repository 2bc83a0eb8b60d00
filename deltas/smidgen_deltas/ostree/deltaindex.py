"""Lists of static deltas: `delta-indexes/XX/….index` files, and the older list inside the summary.

Both are a dictionary from the delta's name to the sha256 of its superblock, under the key `ostree.static-deltas`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from smidgen_deltas.errors import FormatError, LimitExceeded
from smidgen_deltas.ostree import gvariant
from smidgen_deltas.ostree.deltaname import DeltaName
from smidgen_deltas.ostree.gvariant import Variant
from smidgen_deltas.ostree.objects import CHECKSUM_SIZE, MAX_METADATA

KEY: Final = "ostree.static-deltas"
VARDICT: Final = "a{sv}"


class DeltaIndexInvalid(FormatError):
    """A list of deltas is well-formed GVariant but not what ostree allows."""


def decode_index(data: bytes, target: bytes) -> dict[DeltaName, bytes]:
    """The deltas that lead to `target`, with the digests of their superblocks.

    Raises LimitExceeded, NotNormal, DeltaNameInvalid, DeltaIndexInvalid (also when a delta leads elsewhere).
    """
    if len(data) > MAX_METADATA:
        raise LimitExceeded("delta index is too large", size=len(data), limit=MAX_METADATA)
    found = listed_deltas(gvariant.decode(VARDICT, data))
    for name in found:
        if name.target != target:
            raise DeltaIndexInvalid("delta index lists a delta to another commit", delta=str(name), index=target.hex())
    return found


def encode_index(deltas: Mapping[DeltaName, bytes]) -> bytes:
    """An index file, sorted as stock ostree does: by source, from nothing first."""
    return gvariant.encode(VARDICT, {KEY: deltas_variant(deltas)})


def listed_deltas(metadata: Mapping[str, Variant]) -> dict[DeltaName, bytes]:
    """What is listed in an index or in a summary's metadata. Raises DeltaNameInvalid, DeltaIndexInvalid."""
    listed = metadata.get(KEY)
    if listed is None:
        return {}
    if listed.signature != VARDICT:
        raise DeltaIndexInvalid("list of deltas has another type", type=listed.signature)
    found = {}
    for text, digest in listed.value.items():
        if digest.signature != "ay" or len(digest.value) != CHECKSUM_SIZE:
            raise DeltaIndexInvalid("delta is listed without a sha256 digest", delta=text[:200])
        found[DeltaName.parse(text)] = digest.value
    return found


def deltas_variant(deltas: Mapping[DeltaName, bytes]) -> Variant:
    """The dictionary as it stands in both places."""
    ordered = sorted(deltas.items(), key=lambda item: (item[0].source or b"", item[0].target))
    return Variant(VARDICT, {str(name): Variant("ay", digest) for name, digest in ordered})
