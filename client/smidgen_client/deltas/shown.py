"""What is in a delta of smidgen's own, for people and programs; with the old files at hand also by their names."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from smidgen_client.deltas.inputs import Input, open_regular
from smidgen_client.deltas.outputs import read_header
from smidgen_client.deltas.workspace import Workspace
from smidgen_deltas.digest import Digest
from smidgen_deltas.engine import coding
from smidgen_deltas.engine.apply import Applier
from smidgen_deltas.engine.describe import Described, describe, reason, refs_of
from smidgen_deltas.native.delta import Header, Root, check_frame
from smidgen_deltas.native.delta_ops import Bounds, Ref, Space, Whole, decode_op
from smidgen_deltas.native.paths import content_paths
from smidgen_deltas.native.tree import decode_any_tree
from smidgen_deltas.wire import WireReader


def show_delta(delta: Path, inputs: Sequence[Input] = ()) -> dict[str, Any]:
    """Facts of the header, and of each target: name, size, method, sources, bytes in the delta, why.

    Without its old files a delta has no names, unless it brings the whole tree document.
    Raises FormatError, IntegrityError, NotFound.
    """
    with open_regular(delta) as file:
        header = read_header(file)
        start = file.tell()
        names = _Names(header, inputs, _document(header, file, inputs))
        file.seek(start)
        frames = (file.read(frame.size) for frame in header.frames)
        files = [_line(header, names, one) for one in describe(header, frames)]
    return {
        "format": "smidgen",
        "rebuilds": header.root.name.lower(),
        "size": delta.stat().st_size,
        "targets": len(header.targets),
        "output": header.output,
        "memory": header.memory,
        "scratch": header.scratch,
        "cpu": header.cpu.name.lower(),
        "frames": len(header.frames),
        "sources": [entry.sha256.hex() for entry in header.sources if entry.sha256],
        "transforms": [f"{transform.name}-{transform.version}" for transform in header.transforms],
        "files": files,
    }


def _line(header: Header, names: _Names, one: Described) -> dict[str, Any]:
    method, why = reason(one.operations)
    refs = dict.fromkeys(ref for op in one.operations for ref in refs_of(op))
    return {
        "path": names.target(one.number),
        "size": header.targets[one.number].size,
        "method": method,
        "sources": list(dict.fromkeys(names.source(ref) for ref in refs)),
        "bytes": round(one.bytes),
        "why": why,
    }


def _document(header: Header, file: BinaryIO, inputs: Sequence[Input]) -> bytes | None:
    """The new tree document, if there is one and it can be had."""
    if header.root is Root.FILE:
        return None
    info = header.frames[0]
    stored = file.read(info.size)
    if inputs:
        with tempfile.TemporaryFile() as spool:
            workspace = Workspace(inputs, spool)
            applier = Applier(header, workspace)
            applier.frame(stored)
            return bytes(workspace.open(applier.root))
    check_frame(info, stored)
    parts = coding.unpack(stored, info.raw)
    reader = WireReader(parts.ops, "delta operations")
    op = decode_op(reader, header.transforms, Bounds(len(header.sources), 0, 0))
    return bytes(parts.literal[: header.targets[0].size]) if op == Whole() else None


class _Names:
    """Names of targets and sources, as far as they are known."""

    def __init__(self, header: Header, inputs: Sequence[Input], document: bytes | None) -> None:
        self._header = header
        self._new = content_paths(decode_any_tree(document)) if document is not None else ()
        self._old = list(_old_names(header, inputs)) if inputs else []

    def target(self, number: int) -> str:
        entry = self._header.targets[number]
        if entry.sha256 is not None:
            return "(tree document)" if self._header.root is Root.TREE else "(the file)"
        return self._new[entry.index] if self._new else f"content {entry.index}"

    def source(self, ref: Ref) -> str:
        inside = "".join(f", inside its {transform.name}" for transform, _ in ref.path)
        if ref.space is Space.TARGET:
            return f"new {self.target(ref.number)}{inside}"
        if ref.space is Space.SOURCE:
            return f"old file {ref.number + 1}{inside}"
        return f"{self._old[ref.number] if ref.number < len(self._old) else f'old content {ref.number}'}{inside}"


def _old_names(header: Header, inputs: Sequence[Input]) -> Iterator[str]:
    """Paths of the contents of all source documents, one document after the other."""
    by_document = {Digest.of(one.tree.document).raw: one.tree for one in inputs if one.tree.document is not None}
    for entry in header.sources:
        tree = by_document.get(entry.sha256 or b"")
        if tree is not None:
            yield from tree.paths
