"""How each content of a revision came to a store: what `smidgen why` explains.

One small file per store, written by every pull: the plan, a letter for each content, and what packs and delta would
have cost for it, as far as that was known. Losing it only means that the last pull cannot be explained any more.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from array import array
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from smidgen_client.plan.ways import Considered, Plan
from smidgen_deltas import zstd
from smidgen_deltas.errors import SmidgenError
from smidgen_deltas.native.packmap import FOREIGN, PackMap

HERE: Final = b"h"  # in the store already
LOCAL: Final = b"l"  # from another store or a seed of this device
DELTA: Final = b"d"
PACK: Final = b"p"
WHOLE: Final = b"w"  # inside a layer that comes whole
if TYPE_CHECKING:
    from smidgen_client.pull.delta_source import DeltaSource
    from smidgen_client.pull.route import Route

MAX_FILE: Final = 64 << 20
SUFFIX: Final = ".why"


@dataclass(frozen=True, slots=True)
class Account:
    """One pull. packs, delta: bytes of the frames that hold each content, 0 where unknown; sizes of tree order."""

    ref: str
    target: str
    revision: str
    plan: Plan
    how: bytes
    packs: tuple[int, ...]
    delta: tuple[int, ...]


def take_account(
    names: tuple[str, str, str],
    plan: Plan,
    route: Route,
    missing: bytearray,
    packmap: PackMap | None,
    source: DeltaSource | None,
) -> Account:
    """names: ref, target, revision; missing: what the store lacked."""
    far = DELTA if route.delta is not None else PACK
    how = b"".join(
        (HERE if not lacked else far if fetched else LOCAL if wanted else WHOLE)
        for lacked, wanted, fetched in zip(missing, route.decision.wanted, route.fetched, strict=True)
    )
    packs = _pack_costs(packmap, len(missing))
    delta = source.costs(len(missing)) if source is not None else [0] * len(missing)
    return Account(*names, plan, how, tuple(packs), tuple(delta))


def _pack_costs(packmap: PackMap | None, count: int) -> list[int]:
    costs = [0] * count
    for frame in packmap.frames if packmap is not None else ():
        for number in {member.content for member in frame.members if member.content != FOREIGN}:
            costs[number] += frame.size
    return costs


@dataclass(frozen=True, slots=True)
class Accounts:
    """The accounts in one folder, one per store."""

    folder: Path

    def keep(self, account: Account) -> None:
        """What cannot be written is left out: a pull does not fail for its explanation."""
        document: dict[str, Any] = {name: getattr(account, name) for name in ("ref", "target", "revision")}
        document |= {"plan": asdict(account.plan), "how": account.how.decode("ascii")}
        document |= {name: _packed(getattr(account, name)) for name in ("packs", "delta")}
        path = self._path(account.target)
        part = path.with_suffix(f".{os.getpid()}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            part.write_bytes(zstd.compress(json.dumps(document).encode(), 3))
            part.replace(path)
        except OSError:
            part.unlink(missing_ok=True)

    def find(self, target: str = "") -> Account | None:
        """The account of the last pull into a store, or of the last pull at all; None when there is none."""
        paths = [self._path(target)] if target else sorted(self.folder.glob(f"*{SUFFIX}"), key=_written, reverse=True)
        return next((found for path in paths if (found := _load(path)) is not None), None)

    def _path(self, target: str) -> Path:
        return self.folder / f"{hashlib.sha256(target.encode()).hexdigest()[:32]}{SUFFIX}"


def _load(path: Path) -> Account | None:
    try:
        with path.open("rb") as file:
            found = json.loads(b"".join(zstd.stream_decompress(file, MAX_FILE)))
        plan = found["plan"]
        considered = tuple(Considered(**one) for one in plan["considered"])
        return Account(
            ref=found["ref"],
            target=found["target"],
            revision=found["revision"],
            plan=Plan(plan["chosen"], considered, plan["rule"], tuple(plan["order"])),
            how=found["how"].encode("ascii"),
            packs=_unpacked(found["packs"]),
            delta=_unpacked(found["delta"]),
        )
    except (OSError, SmidgenError, ValueError, KeyError, TypeError):
        return None


def _written(path: Path) -> float:
    return path.stat().st_mtime


def _packed(numbers: Iterable[int]) -> str:
    return base64.b64encode(array("Q", numbers).tobytes()).decode()


def _unpacked(text: Any) -> tuple[int, ...]:
    numbers = array("Q")
    numbers.frombytes(base64.b64decode(text))
    return tuple(numbers)
