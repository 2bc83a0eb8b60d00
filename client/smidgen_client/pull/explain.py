"""Why one file of an update came as it did: from the account of a pull and the revision's tree. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from smidgen_client.plan.ways import Plan
from smidgen_client.pull.account import DELTA, HERE, LOCAL, PACK, WHOLE, Account
from smidgen_client.targets.base import Tree
from smidgen_client.targets.tree_entries import entries_of
from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import NotFound
from smidgen_deltas.native.tree import OciTree
from smidgen_deltas.tar.recipe import EncodedRecipe

_WORDS: Final = {
    HERE: "was in the store already",
    LOCAL: "from another store or a seed of this device",
    DELTA: "from the delta",
    PACK: "from the packs",
    WHOLE: "inside a layer that comes whole",
}


class PathUnknown(NotFound):
    """The revision has no such path."""

    hint = "Paths are those of the revision, like usr/bin/true."


@dataclass(frozen=True, slots=True)
class Source:
    """Where a file could have come from. bytes: of what has to be fetched for it, shared with others; 0 if unknown."""

    name: str
    bytes: int
    chosen: bool
    why: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """size: of the file; how: in words; sources: what was chosen and what else there was; plan: of the whole pull."""

    path: str
    size: int
    sha256: str
    how: str
    sources: tuple[Source, ...]
    ref: str
    target: str
    revision: str
    plan: Plan


def explain(path: str, tree: Tree, account: Account) -> Explanation:
    """Raises PathUnknown; NotFound when the account is of another tree."""
    wanted = path.strip("/").encode("utf-8", "surrogateescape")
    entry = next((one for one in entries_of(tree, Digest.parse(account.revision)) if one.path == wanted), None)
    if entry is None:
        raise PathUnknown("the revision has no such path", path=path[:500], revision=account.revision)
    if len(account.how) != len(tree.contents):
        raise NotFound("what is known about the pull is of another revision", revision=account.revision)
    pull = (account.ref, account.target, account.revision, account.plan)
    if entry.content is None:
        return Explanation(path, 0, "", "has no content of its own: it comes with the tree document", (), *pull)
    number = next(at for at, one in enumerate(tree.contents) if one.sha256 == entry.content.sha256)
    how = account.how[number : number + 1]
    sources = tuple(_sources(number, how, tree, account))
    return Explanation(path, entry.content.size, entry.content.sha256.hex(), _WORDS[how], sources, *pull)


def _sources(number: int, how: bytes, tree: Tree, account: Account) -> list[Source]:
    """The chosen one first."""
    best = account.plan.best
    found = []
    if how in (HERE, LOCAL):
        found.append(Source(_WORDS[how], 0, chosen=True, why="nothing has to be fetched"))
    reasons: dict[str, str] = {one.kind: one.why_not for one in reversed(account.plan.considered)}
    for kind, code, name, size in (
        ("delta", DELTA, "frame of the delta", account.delta[number]),
        ("packs", PACK, "frames of packs", account.packs[number]),
        ("whole", WHOLE, "whole layer", _layer(number, tree)),
    ):
        if code == how:
            found.append(Source(name, size, chosen=True, why=f"{best.name}: {account.plan.rule}"))
        elif kind in reasons or size:
            found.append(Source(name, size, chosen=False, why=_why_not(how, reasons.get(kind, ""), best.name)))
    return sorted(found, key=lambda one: not one.chosen)


def _why_not(how: bytes, reason: str, best: str) -> str:
    if how in (HERE, LOCAL):
        return "not needed"
    return reason or f"{best} was chosen for the whole update"


def _layer(number: int, tree: Tree) -> int:
    """Bytes of the smallest layer that has the content, as stored; 0 for commits."""
    layers = tree.layers if isinstance(tree, OciTree) else ()
    sizes = [one.size for one in layers if number in set(EncodedRecipe(one.recipe, tree.contents).indexes())]
    return min(sizes, default=0)
