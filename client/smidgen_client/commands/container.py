"""`smidgen container`: ostree commits as container images, and back."""

from __future__ import annotations

import platform
from typing import Final

import click

from smidgen_client.commands.options import STORE, emit, json_option
from smidgen_client.deltas.commits import KIND, Revision
from smidgen_client.names import Address
from smidgen_client.targets.ostree import default_mode
from smidgen_deltas.errors import UsageError
from smidgen_deltas.oci.layout import Layout
from smidgen_deltas.oci.layout_writer import LayoutWriter
from smidgen_deltas.ostree.container.contents import MAX_CHUNKS
from smidgen_deltas.ostree.container.export import export_commit
from smidgen_deltas.ostree.container.image_reader import import_image
from smidgen_deltas.ostree.repo_writer import RepositoryWriter

ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64", "i686": "386", "armv7l": "arm"}


@click.group()
def container() -> None:
    """Turn ostree commits into container images, and back."""


@container.command("export")
@click.argument("commit")
@click.argument("image", type=STORE)
@click.option(
    "--chunks",
    type=click.IntRange(0, MAX_CHUNKS),
    default=0,
    show_default=True,
    help="So many layers for the largest folders, beside the first layer.",
)
@click.option("--arch", help="The architecture that the image names, like amd64; that of this machine by default.")
@json_option
def export(*, commit: str, image: Address, chunks: int, arch: str | None, as_json: bool) -> None:
    """Write COMMIT, ostree:REPO@REV, as IMAGE, oci:DIR:TAG, in the layout of ostree-ext and bootc.

    The same commit always gives the same image.
    """
    _check_image(image)
    machine = platform.machine()
    revision = Revision.parse(commit)
    writer = LayoutWriter.open_or_create(image.path)
    architecture = arch or ARCHITECTURES.get(machine, machine)
    made = export_commit(revision.repo, revision.commit, writer, image.tag, chunks, architecture)
    value = {"image": str(image), "digest": str(made.digest), "commit": made.commit.hex(), "layers": made.layers}
    emit(value, as_json=as_json, text=f"{image} is {made.digest}, {made.layers} layers of commit {made.commit.hex()}")


@container.command("import")
@click.argument("image", type=STORE)
@click.argument("repo")
@json_option
def import_(*, image: Address, repo: str, as_json: bool) -> None:
    """Put the commit in IMAGE, oci:DIR:TAG, into ostree:REPO@REF; without @REF the tag is the ref.

    Every layer and object is checked; the commit is the one that was exported, bit for bit. Layers that a container
    build put on top give a commit of everything together.
    """
    _check_image(image)
    path, _, ref = repo.removeprefix(KIND).rpartition("@") if "@" in repo else (repo.removeprefix(KIND), "", "")
    if not repo.startswith(KIND) or not path:
        raise UsageError("a place for a commit is named ostree:REPO or ostree:REPO@REF", given=repo[:200])
    layout = Layout.open(image.path)
    layout.resolve(image.tag)  # before a repository is made for it
    found = import_image(layout, image.tag, RepositoryWriter.open_or_create(path, default_mode()), ref or None)
    name = ref or image.tag
    value = {
        "repo": path,
        "ref": name,
        "commit": found.commit.hex(),
        "base": found.base.hex(),
        "digest": str(found.image),
        "layers": found.layers,
    }
    emit(value, as_json=as_json, text=f"{name} of {path} is {found.commit.hex()}, verified")


def _check_image(image: Address) -> None:
    if image.kind != "oci":
        raise UsageError("an image is named oci:DIR:TAG", given=str(image))
