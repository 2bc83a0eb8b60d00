"""A small delta of two trees, whose frames can be exchanged, and a store that has the older tree."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace

from smidgen_deltas.native.delta import encode_header
from support.delta_trees import Memory, delta_of, split_delta, tree_of

_RANDOM = random.Random(11)
BASE = _RANDOM.randbytes(4000)
OLD = {"a": BASE, "b": b"text " * 300, "c": _RANDOM.randbytes(500)}
NEW = {"a": BASE[:2000] + b"new" + BASE[2100:], "b": b"text " * 310, "d": BASE[:1000]}
OLD_TREE, _OLD_STORE = tree_of(OLD)
NEW_TREE, _ = tree_of(NEW)
DELTA, _ = delta_of([OLD_TREE], NEW_TREE)
HEADER, FRAMES = split_delta(DELTA)


def new_store() -> Memory:
    """With the older tree, and nothing finished."""
    memory = Memory()
    memory.bodies = dict(_OLD_STORE.bodies)
    return memory


def verify_finished(memory: Memory) -> None:
    """Whatever was finished is what its name says."""
    for digest in memory.finished:
        assert hashlib.sha256(memory.bodies[digest]).digest() == digest


def forged(number: int, frame: bytes, raw: int) -> bytes:
    """The delta with one frame replaced and all digests made to fit: what a liar with our tools would send."""
    infos = list(HEADER.frames)
    infos[number] = replace(infos[number], size=len(frame), raw=raw, sha256=hashlib.sha256(frame).digest())
    header = replace(HEADER, frames=tuple(infos))
    return encode_header(header) + b"".join((*FRAMES[:number], frame, *FRAMES[number + 1 :]))
