"""Deltas that devices ask for: one build for any number of askers, where the policy of the ref allows it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy.orm import Session

from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import NotFound
from smidgen_server.index import deltas, jobs, repos, surface
from smidgen_server.services.delta_plan import DEMANDED
from smidgen_server.services.delta_policy import policy_for
from smidgen_server.services.refs import RefName, RefUnknown

if TYPE_CHECKING:
    from smidgen_server.services.container import Services

SOON: Final = 5  # seconds after which to ask again: it is being built
LATER: Final = 15  # it waits


class DeltaUnknown(NotFound):
    """There is no such delta and none will be made."""

    code = "BLOB_UNKNOWN"
    hint = "Update by packs. Deltas on demand are allowed per ref by a policy of the server."


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether the delta is ready; if not, after how many seconds to ask again. done, total: bytes, of the build."""

    ready: bool
    state: str
    seconds: int = 0
    done: int = 0
    total: int = 0


def ask(services: Services, name: RefName, source: Digest) -> Answer:
    """Ask for the delta from a revision to what a ref points at. Raises RefUnknown, DeltaUnknown."""
    with services.index.read() as session:
        wish, allowed = _wish(services, session, name, source)
        row = deltas.find_wish(session, wish)
    if row is None or row.state == deltas.EVICTED:
        if not allowed:
            raise DeltaUnknown("there is no such delta, and none is made on demand", ref=str(name), source=str(source))
        row = _queue(services, wish)
        if row is None:
            return Answer(ready=False, state="full", seconds=LATER)
    elif row.state == deltas.WAITING and row.priority < DEMANDED and allowed:
        with services.index.session() as session:
            jobs.hurry(session, row.id, DEMANDED)
    if row.state == deltas.READY:
        return Answer(ready=True, state=row.state)
    if row.state not in deltas.ACTIVE:
        raise DeltaUnknown("this delta was not made", state=row.state, reason=row.reason or "")
    seconds = SOON if row.state == deltas.BUILDING else LATER
    return Answer(ready=False, state=row.state, seconds=seconds, done=row.done, total=row.total)


def _wish(services: Services, session: Session, name: RefName, source: Digest) -> tuple[deltas.Wish, bool]:
    """The delta that is meant, and whether the policy lets devices ask for it."""
    repo_id = repos.find_repo(session, name.kind, name.repo)
    ref = surface.find_ref(session, repo_id, name.ref) if repo_id is not None else None
    if repo_id is None or ref is None or ref.revision_id is None:
        raise RefUnknown("no such ref", ref=str(name))
    found = surface.find_revision(session, repo_id, source)
    if found is None or found.id == ref.revision_id:
        raise DeltaUnknown("the source is no other revision of this repository", source=str(source))
    policy = policy_for(session, services.settings.deltas, f"{name.kind}/{name.repo}", name.ref)
    wish = deltas.Wish(
        repo_id, ref.revision_id, (found.id,), deltas.SMIDGEN, priority=DEMANDED, keep_share=policy.keep_share
    )
    return wish, policy.on_demand and deltas.SMIDGEN in policy.formats


def _queue(services: Services, wish: deltas.Wish) -> deltas.DeltaRow | None:
    """Want it, unless devices have asked for too many already."""
    now = int(time.time())
    with services.index.session() as session:
        if jobs.waiting(session, priority=DEMANDED) >= services.settings.deltas.demand_queue:
            return None
        if deltas.want(session, wish, now=now) is None:
            known = deltas.find_wish(session, wish)
            if known is not None and known.state == deltas.EVICTED:
                jobs.retry(session, known.id, now=now, priority=DEMANDED)
        row = deltas.find_wish(session, wish)
    services.jobs.wake()
    return row
