"""A second reader of tar-diffs, written from the format's description alone; it trusts its input and checks nothing
that the format does not say.

It unpacks with the `zstd` binding only because Python has no other; everything after that is its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from io import BytesIO

from smidgen_deltas.zstd import Decompressor

DATA, OPEN, COPY, ADD, SEEK = range(5)


class Wrong(Exception):
    """The delta is not what the format says."""


def operations(delta: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Kind, number and bytes of each operation of a version 1 delta."""
    if delta[:8] != bytes.fromhex("7461726466310a00"):
        raise Wrong("magic")
    decoder = Decompressor()  # the library's own limits: a window of 128 MiB
    stream = BytesIO(decoder.decompress(delta[8:]))
    if not decoder.eof or decoder.unused_data:
        raise Wrong("not one frame")
    while kind := stream.read(1):
        if kind[0] > SEEK:
            raise Wrong("kind")
        number = shift = 0
        while True:
            byte = stream.read(1)[0]
            number += (byte % 128) << shift
            shift += 7
            if byte < 128:
                break
        carried = stream.read(number) if kind[0] in (DATA, OPEN, ADD) else b""
        if kind[0] in (DATA, OPEN, ADD) and len(carried) != number:
            raise Wrong("short")
        yield kind[0], number, carried


def rebuild(delta: bytes, files: Mapping[str, bytes]) -> bytes:
    """The tar that a delta makes of old files by path."""
    out = bytearray()
    source = None
    at = 0
    for kind, number, carried in operations(delta):
        if kind == DATA:
            out += carried
        elif kind == OPEN:
            source, at = files[carried.decode()], 0
        elif source is None:
            raise Wrong("nothing is open")
        elif kind == SEEK:
            at = number
        else:
            piece = source[at : at + number]
            if len(piece) != number:
                raise Wrong("end of source")
            out += piece if kind == COPY else bytes((a + b) % 256 for a, b in zip(piece, carried, strict=True))
            at += number
    return bytes(out)
