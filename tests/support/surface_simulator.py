"""An update surface in memory, served over real HTTP on loopback, with faults as rows of a table.

    surface = Surface()
    surface.publish(tree, name="os", ref="stable", bodies={...})
    with serve(surface, Fault("truncate", match="u/blobs/", times=1, at=1000)) as running:
        ... running.url, running.log ...

The server speaks plain HTTP/1.1 the way static file servers do; what it gets wrong is what faults say. It is not the
server of this project, so a misunderstanding of the surface by one side shows.
"""

from __future__ import annotations

import hashlib
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from smidgen_deltas import zstd
from smidgen_deltas.digest import Digest
from smidgen_deltas.native.pack import BuiltPack, PackBuilder, pack_digest
from smidgen_deltas.native.packmap import FOREIGN, Frame, Member, PackMap, PackRef, encode_packmap
from smidgen_deltas.native.refdoc import Piece, RefDocument, encode_keys, key_id, sign
from smidgen_deltas.native.tree import OciTree, OstreeTree, encode_tree

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
DAY = 86_400

FaultKind = Literal[
    "truncate",  # close the connection after `at` bytes of the body
    "short",  # announce and send only `at` bytes, correctly framed
    "status",  # answer with `status` (and Retry-After, where given)
    "ignore-range",  # 200 with everything
    "wrong-range",  # 206 with Content-Range and bytes of another place
    "mislabel",  # 206 with a Content-Range that is not what the body is
    "multipart",  # 206 multipart/byteranges
    "flip",  # right length, one byte at `at` of the blob changed
    "stall",  # stop sending after `at` bytes until the client goes away
    "gone",  # refuse every connection from now on
    "encode",  # Content-Encoding: gzip although nobody asked
    "flood",  # a 200 that never ends
]


@dataclass
class Fault:
    """What goes wrong: for requests whose path matches, after `skip` of them, `times` times (-1: always)."""

    kind: FaultKind
    match: str = "u/blobs/"
    times: int = 1
    skip: int = 0
    at: int = 0
    status: int = 503
    retry_after: str | None = None
    ranged_only: bool = False


@dataclass
class Request:
    """A request as it was answered; `sent` counts body bytes handed to the socket."""

    path: str
    range: str | None
    headers: Mapping[str, str]
    status: int = 0
    sent: int = 0


@dataclass
class Surface:
    """Files by path, and what is needed to sign and to pack."""

    key: Ed25519PrivateKey = KEY
    files: dict[str, bytes] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    packed: dict[bytes, list[tuple[Digest, int, Frame, int, int]]] = field(default_factory=dict)
    level: int = 3

    def __post_init__(self) -> None:
        public = self.key.public_key()
        self.files["u/keys.json"] = encode_keys({key_id(public): public})

    def blob(self, data: bytes) -> Digest:
        digest = Digest.of(data)
        self.files[f"u/blobs/{digest.hex}"] = data
        return digest

    def piece(self, raw: bytes) -> Piece:
        stored = zstd.compress(raw, 3)
        return Piece(self.blob(stored), len(stored), len(raw))

    def publish(
        self,
        tree: OstreeTree | OciTree,
        bodies: Mapping[bytes, bytes],
        /,
        *,
        repo: str = "os",
        ref: str = "stable",
        **changes: Any,
    ) -> RefDocument:
        """Pack what is not packed yet, write tree, map and ref document. changes: fields of the document to falsify."""
        self.pack([ref.sha256 for ref in tree.contents], bodies)
        kind = "ostree" if isinstance(tree, OstreeTree) else "oci"
        revision = Digest.of(tree.commit) if isinstance(tree, OstreeTree) else tree.manifests[0].digest
        name = f"{kind}/{repo}{'/' if kind == 'ostree' else ':'}{ref}"
        self.versions[name] = self.versions.get(name, 0) + 1
        now = int(time.time())
        document = RefDocument(
            kind=kind,  # type: ignore[arg-type]
            repo=repo,
            ref=ref,
            version=self.versions[name],
            published=now,
            expires=now + DAY,
            revision=revision,
            tree=self.piece(encode_tree(tree)),
            packs=self.piece(encode_packmap(self.packmap(tree))) if tree.contents else None,
            count=len(tree.contents),
            bytes=sum(one.size for one in tree.contents),
        )
        document = replace(document, **changes)
        self.files[f"u/refs/{name}.json"] = sign(document, self.key)
        return document

    def pack(self, wanted: list[bytes], bodies: Mapping[bytes, bytes]) -> None:
        builder = PackBuilder(self.level)
        for sha256 in wanted:
            if sha256 not in self.packed:
                body = bodies[sha256]
                for pack in builder.add(sha256, len(body), [body]):
                    self._keep(pack)
        for pack in builder.finish():
            self._keep(pack)

    def _keep(self, pack: BuiltPack) -> None:
        digest = pack_digest(pack)
        self.files[f"u/blobs/{digest.hex}"] = pack.data
        for built in pack.frames:
            frame = Frame(0, built.offset, built.size, built.raw_size, built.check, ())
            at = 0
            for run in built.runs:
                self.packed.setdefault(run.sha256, []).append((digest, len(pack.data), frame, run.start, at))
                at += run.length

    def packmap(self, tree: OstreeTree | OciTree) -> PackMap:
        """Frames of all contents of the tree, with other members as foreign."""
        order = list(dict.fromkeys(place[0] for ref in tree.contents for place in self.packed[ref.sha256]))
        sizes = {place[0]: place[1] for places in self.packed.values() for place in places}
        numbers = {ref.sha256: at for at, ref in enumerate(tree.contents)}
        frames: dict[tuple[Digest, int], tuple[Frame, dict[int, tuple[bytes, int]]]] = {}
        for sha256, places in self.packed.items():
            for digest, _, frame, start, at in places:
                frames.setdefault((digest, frame.offset), (frame, {}))[1][at] = (sha256, start)
        found = []
        for (digest, offset), (frame, runs) in frames.items():
            if digest not in order or not any(sha256 in numbers for sha256, _ in runs.values()):
                continue
            starts = sorted(runs)
            ends = [*starts[1:], frame.raw_size]
            members = tuple(
                Member(numbers[runs[at][0]], runs[at][1], end - at)
                if runs[at][0] in numbers
                else Member(FOREIGN, 0, end - at)
                for at, end in zip(starts, ends, strict=True)
            )
            found.append(replace(frame, pack=order.index(digest), offset=offset, members=members))
        found.sort(key=lambda frame: (frame.pack, frame.offset))
        return PackMap(tuple(PackRef(digest, sizes[digest]) for digest in order), tuple(found))


@dataclass
class Running:
    """A simulator that listens."""

    url: str
    surface: Surface
    faults: list[Fault]
    log: list[Request] = field(default_factory=list)
    gone: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    delay: float = 0.0

    def sent(self, match: str = "") -> int:
        """Body bytes written for paths that match."""
        return sum(one.sent for one in self.log if re.search(match, one.path))

    def requests(self, match: str = "") -> int:
        return sum(bool(re.search(match, one.path)) for one in self.log)

    def fault(self, path: str, *, ranged: bool) -> Fault | None:
        """The fault that this request meets, counted down."""
        with self.lock:
            for one in self.faults:
                if not one.times or not re.search(one.match, path) or (one.ranged_only and not ranged):
                    continue
                if one.skip:
                    one.skip -= 1
                    continue
                one.times -= 1
                return one
        return None


@contextmanager
def serve(surface: Surface, *faults: Fault) -> Iterator[Running]:
    """Serve until the end of the block."""
    running = Running("", surface, list(faults))

    class Handler(_Handler):
        state = running

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    running.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        running.gone.set()
        server.shutdown()
        server.server_close()
        thread.join(10)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: Running

    def log_message(self, format: str, *args: object) -> None:
        pass

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def do_GET(self) -> None:
        state, path = self.state, self.path.lstrip("/")
        if state.gone.is_set():
            self._drop()
            return
        asked = self.headers.get("Range")
        request = Request(path, asked, dict(self.headers))
        with state.lock:
            state.log.append(request)
        fault = state.fault(path, ranged=asked is not None)
        body = state.surface.files.get(path)
        if body is None and fault is None:
            self._answer(request, 404, b"no such file", {})
            return
        self._serve(request, body or b"", fault)

    def _serve(self, request: Request, body: bytes, fault: Fault | None) -> None:
        kind = fault.kind if fault else ""
        etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        headers = {"ETag": etag, "Accept-Ranges": "bytes"}
        if kind == "gone":
            self.state.gone.set()
            self._drop()
            return
        if fault and kind == "status":
            extra = {"Retry-After": fault.retry_after} if fault.retry_after else {}
            self._answer(request, fault.status, b"{}", extra)
            return
        if self.headers.get("If-None-Match") == etag and not fault:
            self._answer(request, 304, b"", headers)
            return
        if fault and kind == "flip":
            changed = bytearray(body)
            changed[fault.at % len(changed)] ^= 0x55
            body = bytes(changed)
        span = _span(request.range, len(body))
        if span is None or kind == "ignore-range" or self.headers.get("If-Range", etag) != etag:
            self._faulty(request, 200, body, headers, fault)
            return
        start, end = span
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(body)}"
        part = body[start:end]
        if kind == "wrong-range":
            start, end = max(start - 7, 0), max(end - 7, 1)
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(body)}"
            part = body[start:end]
        elif kind == "mislabel":
            part = part[::-1]
        elif kind == "multipart":
            del headers["Content-Range"]
            headers["Content-Type"] = "multipart/byteranges; boundary=x"
        self._faulty(request, 206, part, headers, fault)

    def _faulty(self, request: Request, status: int, body: bytes, headers: dict[str, str], fault: Fault | None) -> None:
        kind, at = (fault.kind, fault.at) if fault else ("", 0)
        if kind == "short":
            body = body[:at]
        elif kind == "encode":
            headers = {**headers, "Content-Encoding": "gzip"}
        if kind == "flood":
            self._head(request, status, {"Connection": "close"})
            self.close_connection = True
            while not self.state.gone.is_set():
                self._write(request, bytes(1 << 16))
        elif kind in ("truncate", "stall"):
            self._head(request, status, {**headers, "Content-Length": str(len(body))})
            self._write(request, body[:at])
            if kind == "stall":
                self.connection.settimeout(60)
                self.connection.recv(1)  # returns when the client closes
            self._drop()
        else:
            self._answer(request, status, body, headers)

    def _answer(self, request: Request, status: int, body: bytes, headers: dict[str, str]) -> None:
        length = {} if status == 304 else {"Content-Length": str(len(body))}
        self._head(request, status, {**headers, **length})
        for at in range(0, len(body), 1 << 16):
            if self.state.gone.is_set():
                self._drop()
                return
            if self.state.delay:
                self.state.gone.wait(self.state.delay)
            self._write(request, body[at : at + (1 << 16)])

    def _head(self, request: Request, status: int, headers: dict[str, str]) -> None:
        request.status = status
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _write(self, request: Request, data: bytes) -> None:
        # Counted first: a client that has read the last byte may ask for the count before this thread runs again.
        request.sent += len(data)
        self.wfile.write(data)
        self.wfile.flush()

    def _drop(self) -> None:
        self.close_connection = True
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            self.close_connection = True


def _span(value: str | None, size: int) -> tuple[int, int] | None:
    match = re.fullmatch(r"bytes=(\d+)-(\d+)", value or "")
    if match is None:
        return None
    start, end = int(match[1]), min(int(match[2]) + 1, size)
    return (start, end) if start < end else None
