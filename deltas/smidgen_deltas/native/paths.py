"""Where the contents of a tree document lie in the tree: one path for each, by which the engine pairs files."""

from __future__ import annotations

from collections.abc import Iterator

from smidgen_deltas.digest import Digest
from smidgen_deltas.native.tree import ContentRef, OciTree, OstreeTree, TarTree
from smidgen_deltas.ostree.objects import ObjectName, ObjectType
from smidgen_deltas.ostree.walk import paths
from smidgen_deltas.tar.entries import entries
from smidgen_deltas.tar.recipe import EncodedRecipe


def content_paths(tree: OstreeTree | OciTree | TarTree) -> tuple[str, ...]:
    """For each content of the document the first path that has it; "" for what has none.

    Raises FormatError when the document contradicts itself.
    """
    first: dict[int, str] = {}
    for number, path in _commit(tree) if isinstance(tree, OstreeTree) else _tars(tree):
        first.setdefault(number, path)
    return tuple(first.get(number, "") for number in range(len(tree.contents)))


def _commit(tree: OstreeTree) -> Iterator[tuple[int, str]]:
    commit = Digest.of(tree.commit).raw
    known = {ObjectName(ObjectType.COMMIT, commit): tree.commit}
    known |= {ObjectName(ObjectType.DIRTREE, Digest.of(body).raw): body for body in tree.dirtrees}
    files = {file.checksum: file.content for file in tree.files}
    for path, name, meta in paths(known.__getitem__, commit):
        if meta is None and files[name.checksum] >= 0:
            yield files[name.checksum], path


def _tars(tree: OciTree | TarTree) -> Iterator[tuple[int, str]]:
    numbers: dict[ContentRef, int] = {one: number for number, one in enumerate(tree.contents)}
    recipes = (tree.recipe,) if isinstance(tree, TarTree) else (layer.recipe for layer in tree.layers)
    for recipe in recipes:
        for entry in entries(EncodedRecipe(recipe, tree.contents)):
            if entry.content is not None:
                number = numbers[ContentRef(entry.content.sha256, entry.content.size)]
                yield number, entry.path.decode(errors="replace").removeprefix("./")
