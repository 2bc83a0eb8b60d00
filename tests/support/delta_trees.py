"""Trees in memory for the delta engine, and a store that keeps everything in a dictionary."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from smidgen_deltas.engine.apply import Applier
from smidgen_deltas.engine.make import Report, make
from smidgen_deltas.engine.sources import Buffer, Tree
from smidgen_deltas.errors import NotFound
from smidgen_deltas.native.delta import LEAD, Header, decode_header, decode_lead
from smidgen_deltas.native.tree import ContentRef, TarTree, encode_tree


class Memory:
    """Contents by digest; also an engine store that remembers what was finished."""

    def __init__(self) -> None:
        self.bodies: dict[bytes, bytes] = {}
        self.finished: list[bytes] = []

    def add(self, body: bytes) -> ContentRef:
        digest = hashlib.sha256(body).digest()
        self.bodies[digest] = body
        return ContentRef(digest, len(body))

    def open(self, content: ContentRef) -> Buffer:
        if content.sha256 not in self.bodies:
            raise NotFound("not here", digest=content.sha256.hex())
        return self.bodies[content.sha256]

    @contextlib.contextmanager
    def create(self, content: ContentRef) -> Iterator[_Target]:
        yield _Target(self, content)


class _Target(io.BytesIO):
    def __init__(self, memory: Memory, content: ContentRef) -> None:
        super().__init__()
        self._memory = memory
        self._content = content

    def finish(self) -> None:
        self._memory.bodies[self._content.sha256] = self.getvalue()
        self._memory.finished.append(self._content.sha256)


def tree_of(files: Mapping[str, bytes]) -> tuple[Tree, Memory]:
    """A tree with a document; its recipe is a made-up one, which is all the same to the engine."""
    memory = Memory()
    contents: dict[ContentRef, str] = {}
    for path, body in files.items():
        if body:
            contents.setdefault(memory.add(body), path)
    recipe = "\n".join(files).encode()
    document = encode_tree(TarTree(hashlib.sha256(recipe).digest(), len(recipe), recipe, tuple(contents)))
    memory.add(document)
    return Tree(document, tuple(contents), tuple(contents.values()), memory), memory


def file_of(body: bytes, name: str = "file") -> tuple[Tree, Memory]:
    """A plain file."""
    memory = Memory()
    return Tree(None, (memory.add(body),), (name,), memory), memory


def delta_of(old: Sequence[Tree], new: Tree, effort: str = "default") -> tuple[bytes, Report]:
    out = io.BytesIO()
    with ThreadPoolExecutor(2) as executor:
        report = make(old, new, out, effort, executor)
    assert report.size == len(out.getvalue())
    return out.getvalue(), report


def split_delta(delta: bytes) -> tuple[Header, list[bytes]]:
    """The header and the stored frames."""
    lead = decode_lead(delta[:LEAD])
    end = lead.start + lead.size
    header = decode_header(lead, delta[lead.start : end])
    frames = []
    for frame in header.frames:
        frames.append(delta[end : end + frame.size])
        end += frame.size
    return header, frames


def apply_delta(delta: bytes, store: Memory, spare: int | None = None) -> Applier:
    """Apply a whole delta; by four threads when they may take `spare` bytes beside what the delta declares."""
    header, frames = split_delta(delta)
    applier = Applier(header, store)
    with contextlib.ExitStack() as stack:
        if spare is not None:
            executor = stack.enter_context(ThreadPoolExecutor(4))
            stack.enter_context(applier.threads(executor, header.memory + spare))
        for frame in frames:
            applier.frame(frame)
    assert applier.done
    return applier
