"""Walking a commit: which objects it needs, in one order, and whether it boots.

The order is depth first: files of a directory by name, then its subdirectories by name. Each object comes once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from smidgen_deltas.errors import LimitExceeded
from smidgen_deltas.ostree.objects import Commit, DirTree, ObjectName, ObjectType

MetadataReader = Callable[[ObjectName], bytes]

MAX_DEPTH: Final = 512
_MODULES: Final = re.compile(r"usr/lib/modules/([^/]+)/(vmlinuz|initramfs\.img|initrd(?:\.img)?)\Z")
_WORDS: Final = re.compile(r"[0-9]{1,18}|[A-Za-z]+|~")
_BOOT: Final = re.compile(r"(?:usr/lib/ostree-boot|boot)/(vmlinuz|initramfs|initrd)[^/]*?-?(\d[^/]*?)?(?:\.img)?\Z")


@dataclass(frozen=True, slots=True)
class Visited:
    """An object on the way. path: where it was met first, "" for the root; data: metadata objects' bytes, else None."""

    name: ObjectName
    path: str
    data: bytes | None


@dataclass(frozen=True, slots=True)
class Bootable:
    """The kernel that a tree would boot; paths inside the tree, initramfs None where there is none."""

    version: str
    kernel: str
    initramfs: str | None


def closure(read: MetadataReader, commit: bytes) -> Iterator[Visited]:
    """Every object that `commit` needs, the commit first, each once.

    Args:
        read: gives the bytes of a metadata object, verified; raises what it likes for missing ones.
        commit: raw checksum.
    Raises NotNormal, ObjectInvalid, LimitExceeded (directories nested too deep).
    """
    name = ObjectName(ObjectType.COMMIT, commit)
    data = read(name)
    parsed = Commit.decode(data)
    yield Visited(name, "", data)
    seen: set[ObjectName] = set()
    meta = ObjectName(ObjectType.DIRMETA, parsed.root_meta)
    yield from _once(read, meta, "", seen)
    stack = [(parsed.root_tree, "", 0)]
    while stack:
        checksum, path, depth = stack.pop()
        tree = ObjectName(ObjectType.DIRTREE, checksum)
        if tree in seen:
            continue
        if depth > MAX_DEPTH:
            raise LimitExceeded("directories are nested too deep", path=path[:200], limit=MAX_DEPTH)
        seen.add(tree)
        data = read(tree)
        yield Visited(tree, path, data)
        listing = DirTree.decode(data)
        prefix = f"{path}/" if path else ""
        for entry, target in listing.files:
            file = ObjectName(ObjectType.FILE, target)
            if file not in seen:
                seen.add(file)
                yield Visited(file, prefix + entry, None)
        for entry, _, target in listing.dirs:
            yield from _once(read, ObjectName(ObjectType.DIRMETA, target), prefix + entry, seen)
        stack.extend((target, prefix + entry, depth + 1) for entry, target, _ in reversed(listing.dirs))


def paths(read: MetadataReader, commit: bytes) -> Iterator[tuple[str, ObjectName, bytes | None]]:
    """Every path of the tree: (path, file or dirtree object, dirmeta checksum of directories), repeated objects too."""
    parsed = Commit.decode(read(ObjectName(ObjectType.COMMIT, commit)))
    stack = [(parsed.root_tree, parsed.root_meta, "", 0)]
    while stack:
        checksum, meta, path, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise LimitExceeded("directories are nested too deep", path=path[:200], limit=MAX_DEPTH)
        tree = ObjectName(ObjectType.DIRTREE, checksum)
        yield path, tree, meta
        listing = DirTree.decode(read(tree))
        prefix = f"{path}/" if path else ""
        for entry, target in listing.files:
            yield prefix + entry, ObjectName(ObjectType.FILE, target), None
        stack.extend(
            (target, target_meta, prefix + entry, depth + 1) for entry, target, target_meta in reversed(listing.dirs)
        )


def bootable(found: list[str]) -> Bootable | None:
    """The kernel among `found` (paths of files), where ostree looks for it; of several the newest version."""
    kernels: dict[str, dict[str, str]] = {}
    for path in found:
        modules, boot = _MODULES.match(path), _BOOT.match(path)
        if modules:
            kernels.setdefault(modules[1], {})["kernel" if modules[2] == "vmlinuz" else "initramfs"] = path
        elif boot:
            kernels.setdefault(boot[2] or "", {}).setdefault("kernel" if boot[1] == "vmlinuz" else "initramfs", path)
    complete = {version: parts for version, parts in kernels.items() if "kernel" in parts}
    if not complete:
        return None
    version = max(complete, key=kernel_order)
    parts = complete[version]
    return Bootable(version, parts["kernel"], parts.get("initramfs"))


def kernel_order(version: str) -> tuple[tuple[int, int, str], ...]:
    """A key that orders kernel releases by age: numbers by value, and `-rc` before the release that it leads to."""
    parts: list[tuple[int, int, str]] = []
    for word in _WORDS.findall(version):
        if word.isdigit():
            parts.append((3, int(word), ""))
        else:
            parts.append((0 if word in ("rc", "~") else 2, 0, word))
    return (*parts, (1, 0, ""), (1, 0, version))


def _once(read: MetadataReader, name: ObjectName, path: str, seen: set[ObjectName]) -> Iterator[Visited]:
    if name not in seen:
        seen.add(name)
        yield Visited(name, path, read(name))
