"""What people may do about builds and policies. Callers have checked that they may."""

from __future__ import annotations

import time
from typing import Final

from sqlalchemy.orm import Session

from smidgen_deltas.errors import Conflict, NotFound, UsageError
from smidgen_server.index import delta_policies, deltas, jobs, repos
from smidgen_server.index.delta_policies import PolicyRow
from smidgen_server.services import delta_formats, delta_plan, jobs_view
from smidgen_server.services.delta_policy import policy_for
from smidgen_server.settings import DeltaPolicy, DeltaRule, DeltaSettings

BY_HAND: Final = "cancelled by hand"


class JobState(Conflict):
    """A job is not in a state in which this can be done."""


def cancel(session: Session, number: int) -> None:
    """Stop a build, or keep it from beginning; `retry` takes it back. Raises JobUnknown, JobState."""
    shown = jobs_view.find(session, number)
    if not jobs.cancel(session, number, BY_HAND, now=int(time.time())):
        raise JobState("only what waits or is built can be cancelled", job=number, state=shown.state)


def retry(session: Session, number: int) -> None:
    """Build what was set aside, cancelled or evicted, first of all. Raises JobUnknown, JobState."""
    shown = jobs_view.find(session, number)
    if not jobs.retry(session, number, now=int(time.time()), priority=delta_plan.ORDERED):
        raise JobState("this job needs no other attempt", job=number, state=shown.state)


def order(session: Session, settings: DeltaSettings, repo: str, source: str, target: str) -> list[int]:
    """Want a delta that no policy asks for; the ids of its jobs, new or not.

    Args:
        repo: "kind/name".
        source: as delta_plan.named; "" for a delta from nothing.
        target: a ref (whose policy says in which formats) or a digest.
    Raises:
        NotFound: a repository or revision that is not there; UsageError: no format fits.
    """
    kind, _, name = repo.partition("/")
    repo_id = repos.find_repo(session, "oci" if kind == "oci" else "ostree", name)
    if repo_id is None:
        raise NotFound("no such repository", repo=repo[:300])
    (target_id, *more) = delta_plan.named(session, repo_id, target)
    sources = delta_plan.named(session, repo_id, source) if source else ()
    if more or target_id in sources:
        raise UsageError("a delta goes from other revisions to one revision", target=target[:200])
    policy = policy_for(session, settings, repo, target)
    wishes = list(delta_plan.wishes(policy, kind, repo_id, sources, target_id, priority=delta_plan.ORDERED))
    if not wishes:
        raise UsageError("no format of the policy fits", formats=", ".join(policy.formats))
    numbers = []
    for wish in wishes:
        number = deltas.want(session, wish, now=int(time.time()))
        known = deltas.find_wish(session, wish) if number is None else None
        numbers.append(known.id if known else number or 0)
    return numbers


def set_policy(session: Session, settings: DeltaSettings, policy: DeltaPolicy) -> None:
    """Set the rule for these patterns, and want what it asks for. Raises FormatUnknown."""
    delta_formats.check(policy.formats or ())
    rule = DeltaRule(**{name: getattr(policy, name) for name in DeltaRule.model_fields})
    delta_policies.put(session, PolicyRow(policy.repos, policy.refs, rule.model_dump_json(exclude_none=True)))
    delta_plan.queue_all(session, settings, now=int(time.time()))


def remove_policy(session: Session, repos_pattern: str, refs_pattern: str) -> None:
    """Raises NotFound. What was asked for already stays."""
    if not delta_policies.remove(session, repos_pattern, refs_pattern):
        raise NotFound("no policy has these patterns", repos=repos_pattern[:300], refs=refs_pattern[:300])
