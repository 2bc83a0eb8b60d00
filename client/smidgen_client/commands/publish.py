"""`smidgen publish SOURCE NAME`, over the network or on the server's own machine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from smidgen_client.commands.options import emit, json_option, token_option
from smidgen_client.names import RefName
from smidgen_client.progress import Progress, human, open_progress
from smidgen_client.settings import read_environment
from smidgen_deltas.errors import MissingExtra, UsageError


@click.command()
@click.argument("source")
@click.argument("name")
@click.option("--server", help="Publish to the server at this URL.")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Publish into this server directory.")
@click.option("--no-wait", is_flag=True, help="Do not wait until devices can see it.")
@token_option
@json_option
def publish(
    *,
    source: str,
    name: str,
    server: str | None,
    data: Path | None,
    no_wait: bool,
    token_file: Path | None,
    as_json: bool,
) -> None:
    """Send a revision to a server.

    SOURCE is ostree:REPO[@REV] (a local repository of any mode; REV defaults to the ref's name) or oci:DIR:TAG (an OCI
    layout or archive). NAME is NAME/REF for a commit, NAME:TAG for an image.
    """
    if (server is None) == (data is None):
        raise UsageError("say where to publish: either --server URL or --data DIR")
    if data is not None:
        _publish_local(source, name, data, as_json=as_json)
        return
    assert server is not None
    token = read_environment(token_file=token_file).token
    with open_progress(as_json=as_json, quiet=False) as progress:
        result = _publish(source, name, server, token, progress, wait=not no_wait)
    text = f"{result['ref']} is {result['revision']}: {human(result['bytes_sent'])} sent"
    emit({"event": "result", **result}, as_json=as_json, text=text)


def _publish(
    source: str, name: str, server: str, token: str | None, progress: Progress, *, wait: bool
) -> dict[str, Any]:
    from smidgen_client.publish.api import Api

    kind, _, rest = source.partition(":")
    if kind not in ("ostree", "oci") or not rest:
        raise UsageError("a source is named ostree:REPO[@REV] or oci:DIR:TAG", given=source[:200])
    ref = _target(kind, name)
    with Api(server, token) as api:
        if kind == "ostree":
            from smidgen_client.publish.ostree import publish_ostree
            from smidgen_deltas.ostree.repo import Repository

            path, _, rev = rest.partition("@")
            done = publish_ostree(api, Repository.open(path), rev or ref.ref, ref, progress, wait=wait)
            return asdict(done)
        from smidgen_client.publish.oci import publish_oci, wait_for_surface
        from smidgen_deltas.oci.layout import Layout, split_address

        path, tag = split_address(rest)
        pushed = publish_oci(api, Layout.open(path), tag, ref, progress)
        if wait:
            wait_for_surface(api, ref, pushed.revision, progress)
        return asdict(pushed)


def _target(kind: str, name: str) -> RefName:
    """What NAME means for a source of this kind. Raises UsageError."""
    try:
        return RefName.parse(f"{kind}/{name}")
    except UsageError:
        form = "a commit is published as NAME/REF" if kind == "ostree" else "an image is published as NAME:TAG"
        raise UsageError(form, given=name[:200]) from None


def _publish_local(source: str, name: str, data: Path, *, as_json: bool) -> None:
    from smidgen_client.cli import find_foreign, load_foreign

    found = find_foreign("publish-local")
    if found is None:
        raise MissingExtra(
            "publishing into a directory needs the extra `server`: in the sources of smidgen, pip install '.[server]'",
            extra="server",
        )
    arguments = [source, name, "--data", str(data), *(["--json"] if as_json else [])]
    load_foreign(found).main(arguments, prog_name="smidgen publish", standalone_mode=False)
