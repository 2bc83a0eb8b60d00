"""Seeds for ostree's formats, most of them made by stock ostree (tests/data/ostree)."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator

from fuzz.ostree_targets import OBJECTS, SIGNATURES
from fuzz.target import part
from smidgen_deltas.ostree import gvariant
from smidgen_deltas.ostree.commitmeta import ED25519, with_signature
from smidgen_deltas.ostree.deltaindex import deltas_variant, encode_index
from smidgen_deltas.ostree.deltaname import DeltaName
from smidgen_deltas.ostree.filez import FileHeader, write_filez
from smidgen_deltas.ostree.gvariant import Variant
from smidgen_deltas.ostree.objects import COMMIT, DIRTREE, HEADER, DirMeta, swap32
from smidgen_deltas.ostree.static.bsdiff import make_bsdiff
from smidgen_deltas.ostree.static.operations import (
    Close,
    Metadata,
    Open,
    Source,
    Whole,
    Write,
    encode_operations,
)
from smidgen_deltas.ostree.static.part import PAYLOAD
from smidgen_deltas.ostree.static.superblock import decode_superblock
from smidgen_deltas.ostree.summary import STATIC_DELTAS, SUMMARY, Summary, SummaryRef, time_variant
from support.ostree import VECTORS

SHA = bytes(range(32))
MOST = 9500


def ostree_seeds() -> Iterator[tuple[str, str, bytes]]:
    yield from _stock()
    header = FileHeader(0, 5, 0o100755, ((b"user.a\0", b"value"), (b"user.b\0", b"")))
    link = FileHeader(1, 1, 0o120777, (), "target")
    yield "ostree-object", "file", bytes((0,)) + header.encode()
    yield "ostree-object", "link", bytes((0,)) + link.encode()
    yield "ostree-object", "dirmeta", bytes((1,)) + DirMeta(0, 0, 0o40755, header.xattrs).encode()
    yield "ostree-gvariant", "header", bytes((SIGNATURES.index(HEADER),)) + header.encode()
    yield "ostree-filez", "file", b"".join(write_filez(header, 300, [bytes(300)]))
    yield "ostree-filez", "link", b"".join(write_filez(link, 0, []))
    delta = {DeltaName(None, SHA): SHA, DeltaName(SHA[::-1], SHA): SHA}
    metadata = {"ostree.summary.last-modified": time_variant(7), STATIC_DELTAS: deltas_variant(delta)}
    yield "ostree-summary", "ours", Summary((SummaryRef("a/b", SHA, 9, {}),), metadata).encode()
    yield "ostree-deltaindex", "two", SHA + encode_index(delta)
    yield "ostree-commitmeta", "ed25519", with_signature(b"", ED25519, bytes(64))
    for number, name in enumerate(delta):
        yield "ostree-deltaname", f"name-{number}", str(name).encode()
        yield "ostree-deltaname", f"folder-{number}", name.folder.encode()
    yield "ostree-types", "nested", part(b"a{sv}") + gvariant.encode("a{sv}", {"k": Variant("(bay)", (True, b"x"))})
    yield from _static()


def _static() -> Iterator[tuple[str, str, bytes]]:
    """For the objects of static_targets: a commit, a dirtree, files."""
    files = [Whole(1, 1, 20, 64)] * 5
    operations = encode_operations(
        [Metadata(30, 0), Metadata(20, 30), Open(0, 0, 10), Source(32), Write(10, 0), Close(), *files]
    )
    yield "static-operations", "each", operations
    modes = tuple((0, 0, swap32(mode)) for mode in (0o100644, 0o120777))
    payload = gvariant.encode(PAYLOAD, (modes, ((), ((b"user.a\0", b"value"),)), bytes(100), operations))
    yield "static-part", "plain", (1 << 19).to_bytes(3, "little") + b"\0" + payload
    stream = b"".join(make_bsdiff(bytes(50), bytes(30), ((5, 3, 20),)))
    yield "static-bsdiff", "two", (30).to_bytes(2, "little") + part(bytes(50)) + stream


def _stock() -> Iterator[tuple[str, str, bytes]]:
    """Objects, summary and deltas that stock ostree wrote."""
    kinds = {".dirtree": (2, DIRTREE), ".commit": (3, COMMIT)}
    with tarfile.open(VECTORS / "archive-repo.tar.gz") as archive:
        for entry in archive.getmembers():
            suffix = entry.name[entry.name.rfind(".") :]
            file = archive.extractfile(entry) if entry.isfile() and entry.size < 2000 else None
            if file is None:
                continue
            data = file.read()
            if suffix in kinds:
                number, signature = kinds.pop(suffix)
                assert OBJECTS[number]
                yield "ostree-object", f"stock{suffix}", bytes((number,)) + data
                yield "ostree-gvariant", f"stock{suffix}", bytes((SIGNATURES.index(signature),)) + data
                if suffix == ".dirtree":
                    yield "ostree-listing", "stock", data
            elif entry.name.endswith("/summary"):
                yield "ostree-summary", "stock", data
                yield "ostree-gvariant", "summary", bytes((SIGNATURES.index(SUMMARY),)) + data
            elif suffix == ".commitmeta" or entry.name.endswith("/summary.sig"):
                yield "ostree-commitmeta", f"stock{suffix if suffix == '.commitmeta' else ''}", data
            elif entry.name.endswith("/config"):
                yield "ostree-config", "stock", data
    yield "ostree-armor", "key", (VECTORS / "toy-gpg-public.asc").read_bytes()
    inline = (VECTORS / "inline.delta").read_bytes()
    yield "static-superblock", "inline", inline
    yield "static-superblock", "big-endian", (VECTORS / "inline-bigendian.delta").read_bytes()
    yield "static-signed", "ed25519", (VECTORS / "inline-signed-ed25519.delta").read_bytes()
    found = decode_superblock(inline).inline_part(0)
    if found and len(found) < MOST:
        yield "static-part", "inline", (1 << 19).to_bytes(3, "little") + found
