"""`smidgen why FILE [URL REF --into STORE]`."""

from __future__ import annotations

from pathlib import Path

import click

from smidgen_client.commands.options import (
    REF,
    STORE,
    emit,
    json_option,
    link_option,
    plain,
    prefer_option,
    state_option,
    token_option,
)
from smidgen_client.commands.pull import describe_plan
from smidgen_client.names import Address, RefName
from smidgen_client.plan.ways import Prefer
from smidgen_client.progress import Silent, human
from smidgen_client.pull.account import Account, Accounts
from smidgen_client.pull.explain import Explanation, explain
from smidgen_client.pull.request import PullRequest
from smidgen_client.pull.run import Pull
from smidgen_client.settings import read_environment
from smidgen_client.state.state import State, open_state
from smidgen_client.targets.base import Tree, known_tree
from smidgen_client.transport.client import Options, Transport
from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import NotFound, UsageError
from smidgen_deltas.login import shown
from smidgen_deltas.native.tree import decode_tree


@click.command()
@click.argument("file")
@click.argument("url", required=False)
@click.argument("ref", type=REF, required=False)
@click.option("--into", "target", type=STORE, help="The store; without it, that of the last pull.")
@link_option
@prefer_option
@token_option
@state_option
@json_option
def why(
    *,
    file: str,
    url: str | None,
    ref: RefName | None,
    target: Address | None,
    link: float | None,
    prefer: Prefer | None,
    token_file: Path | None,
    state: Path | None,
    as_json: bool,
) -> None:
    """Explain how FILE came to this device with the last pull, or how it would come with URL and REF.

    FILE is a path of the revision, like usr/bin/true. Says what was chosen, what else was considered with its bytes
    and seconds, and why it was not taken.
    """
    environment = read_environment(state=state, token_file=token_file)
    with open_state(environment.state) as opened:
        if url is None:
            found = _last(opened, str(target) if target else "")
        elif ref is None or target is None:
            raise UsageError("a pull to come is named by URL, REF and --into", given=shown(url))
        else:
            wish = PullRequest(
                name=ref,
                target=target,
                dry_run=True,
                link=link or environment.link,
                prefer=prefer or environment.prefer,
            )
            with Transport(url, Options(token=environment.token)) as transport:
                found = _planned(opened, transport, wish)
    explanation = explain(file, *found)
    emit({"event": "why", **plain(explanation)}, as_json=as_json, text=describe(explanation))


def _last(state: State, target: str) -> tuple[Tree, Account]:
    """The last pull (into a store). Raises NotFound."""
    account = Accounts(state.accounts).find(target)
    raw = state.trees.load(Digest.parse(account.revision)) if account else None
    if account is None or raw is None:
        raise NotFound("no pull is known here that could be explained", store=target or "any")
    return known_tree(decode_tree(raw)), account


def _planned(state: State, transport: Transport, wish: PullRequest) -> tuple[Tree, Account]:
    """A pull to come; the last one where there is nothing to be done."""
    pull = Pull(state, transport, wish, Silent())
    pull.run()
    if pull.tree is None or pull.account is None:
        return _last(state, str(wish.target))
    return pull.tree, pull.account


def describe(found: Explanation) -> str:
    """For people."""
    size = f" ({human(found.size)}, sha256:{found.sha256})" if found.sha256 else ""
    lines = [f"{found.path}{size}: {found.how}"]
    for source in found.sources:
        cost = f", {human(source.bytes)}" if source.bytes else ""
        lines.append(f"{'->' if source.chosen else '  '} {source.name}{cost}: {source.why}")
    lines.append(f"{found.ref} into {found.target}, {found.revision}:")
    return "\n".join([*lines, *describe_plan(found.plan)])
