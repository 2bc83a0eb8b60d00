"""What a pull is asked for, and what it tells at the end."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from smidgen_client.names import Address, RefName
from smidgen_client.plan.ways import Limits, Plan, Prefer
from smidgen_client.state.trust import Keys

Layers = Literal["auto", "exact", "tar"]


@dataclass(frozen=True, slots=True)
class DeltaReport:
    """What became of the offered deltas, for people and programs.

    Args:
        used: the update came (or would come) from a delta.
        reason: why, or why not.
        source: revision that the delta starts from; size: of the delta in bytes; both of the one that was considered.
    """

    used: bool
    reason: str
    source: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True)
class PullRequest:
    """One pull.

    Args:
        keys: pinned by the user; empty for those kept, or first use.
        mode, remote: of an ostree target, see OstreeTarget.
        layers: of an OCI target, see plan.layers.
        dry_run: stop before the first content is fetched.
        metered: never fetch noticeably more than was announced, and prefer fewer bytes to fewer requests.
        wait: wait for another pull into the same store instead of refusing.
        delta: update with a delta where one fits.
        request_cost: bytes that a request is worth; None to measure.
        prefer, limits: see plan.ways; the budget of bytes is the transport's.
        link: bytes per second; None to measure.
    """

    name: RefName
    target: Address
    keys: Keys = field(default_factory=dict)
    mode: str = ""
    remote: str = ""
    layers: Layers = "auto"
    dry_run: bool = False
    metered: bool = False
    wait: bool = False
    connections: int = 4
    delta: bool = True
    request_cost: int | None = None
    prefer: Prefer = "auto"
    link: float | None = None
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True)
class PullResult:
    """What happened, or would happen (`dry_run`). Sizes in bytes, `seconds` of wall time.

    Args:
        stored: name of the revision in the store; differs from `revision` for images with rewritten layers.
        unchanged: the store had the revision already.
        files: of the revision. contents_*: distinct bodies of files: all, in the store already, from seeds, fetched.
        bytes_full: what a device without anything would fetch; bytes_planned: what was announced for this one;
            bytes_fetched: what was really fetched, metadata and repetitions included.
        requests: made, those for metadata included; requests_planned: announced for contents.
        layers: for images, how each layer came: `kept`, `tar`, `rebuilt` or `whole`.
        delta: whether a delta was used, and why or why not. Where no pack map was read, bytes_full is the plain size.
        plan: all ways that were considered, and the rule that decided; None when nothing had to be done.
        notes: each step down the ladder, with its reason.
    """

    ref: str
    target: str
    revision: str
    version: int
    stored: str = ""
    unchanged: bool = False
    dry_run: bool = False
    files: int = 0
    contents_total: int = 0
    contents_present: int = 0
    contents_seeded: int = 0
    contents_fetched: int = 0
    bytes_full: int = 0
    bytes_planned: int = 0
    bytes_fetched: int = 0
    requests_planned: int = 0
    requests: int = 0
    seconds: float = 0.0
    layers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    delta: DeltaReport | None = None
    plan: Plan | None = None

    def as_json(self) -> dict[str, Any]:
        return {"event": "result", **asdict(self)}
