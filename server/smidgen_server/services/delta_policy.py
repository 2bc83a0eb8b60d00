"""Which deltas a revision gets: rules of the settings file and of the index, by patterns of repository and ref.

One rule counts for a ref: the one whose patterns have the most plain characters; between equals the one in the index,
which was set through the API. What a rule leaves open is as in the section `deltas` of the settings.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from sqlalchemy.orm import Session

from smidgen_server.index import delta_policies
from smidgen_server.settings import DeltaPolicy, DeltaRule, DeltaSettings


@dataclass(frozen=True, slots=True)
class Policy:
    """A rule with nothing left open; see settings.DeltaSettings."""

    from_last: int
    from_named: tuple[str, ...]
    from_nothing: bool
    on_demand: bool
    formats: tuple[str, ...]
    keep_share: float


def stored(session: Session) -> list[DeltaPolicy]:
    """The rules that were set through the API."""
    return [
        DeltaPolicy(repos=row.repos, refs=row.refs, **DeltaRule.model_validate_json(row.body).model_dump())
        for row in delta_policies.listing(session)
    ]


def policy_for(session: Session, settings: DeltaSettings, repo: str, ref: str) -> Policy:
    """What counts for a ref of `repo` ("kind/name")."""
    return settle(settings, [*stored(session), *settings.policies], repo, ref)


def settle(settings: DeltaSettings, rules: Iterable[DeltaPolicy], repo: str, ref: str) -> Policy:
    """The best match among `rules`, filled up from `settings`; of equals the first."""
    matching = [one for one in rules if fnmatchcase(repo, one.repos) and fnmatchcase(ref, one.refs)]
    best = max(matching, key=_weight, default=DeltaPolicy())
    values = {name: getattr(best, name) for name in DeltaRule.model_fields}
    return Policy(**{name: getattr(settings, name) if value is None else value for name, value in values.items()})


def _weight(rule: DeltaPolicy) -> int:
    return sum(letter not in "*?[]" for letter in rule.repos + rule.refs)
