"""Formats of our own."""

from __future__ import annotations

import contextlib
import hashlib
import io

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fuzz.target import Choices, target
from smidgen_deltas import zstd
from smidgen_deltas.engine import coding
from smidgen_deltas.errors import SmidgenError
from smidgen_deltas.native import bundle, delta, delta_ops, pack, packmap, refdoc, tree
from smidgen_deltas.wire import WireReader, varint
from support.delta_trees import apply_delta
from support.small_delta import FRAMES, HEADER, forged, new_store, verify_finished

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
KEYS = {refdoc.key_id(KEY.public_key()): KEY.public_key()}
TRANSFORMS = (delta.Transform("xz", 1), delta.Transform("gzip", 1))
MOST = 1 << 20


@target("native-refdoc")
def ref_document(data: bytes) -> None:
    """A payload that is signed well is read, or refused, in any case."""
    document = refdoc.verify(refdoc.seal(refdoc.PAYLOAD_TYPE, data, KEY), KEYS)
    assert refdoc.verify(refdoc.sign(document, KEY), KEYS) == document


@target("native-envelope")
def envelope(data: bytes) -> None:
    with contextlib.suppress(SmidgenError):
        refdoc.decode_keys(data)
    refdoc.unseal(data, refdoc.PAYLOAD_TYPE, KEYS)


@target("native-bundle")
def bundle_index(data: bytes) -> None:
    """The raw index, well packed and signed, since any other change is found by the signature; and bytes as a head."""
    with contextlib.suppress(SmidgenError):
        bundle.read_head(io.BytesIO(data))
    signed = bundle.encode_head([], 0, 1, [KEY])
    envelope = bundle.read_head(io.BytesIO(signed)).envelope
    stored = zstd.compress(data, 1)
    sizes = varint(0) + varint(len(envelope)) + varint(len(stored)) + varint(len(data))
    found = bundle.read_head(io.BytesIO(bundle.MAGIC + sizes + envelope + stored))
    again = bundle.encode_head(found.entries, 0, 1, [KEY])
    assert bundle.read_head(io.BytesIO(again)).entries == found.entries


@target("native-tree")
def tree_document(data: bytes) -> None:
    with contextlib.suppress(SmidgenError):
        assert tree.encode_tree(tree.decode_any_tree(data)) == data
    assert tree.encode_tree(tree.decode_tree(data)) == data


@target("native-packmap")
def pack_map(data: bytes) -> None:
    assert packmap.encode_packmap(packmap.decode_packmap(data, 20)) == data


@target("native-pack-frame")
def pack_frame(data: bytes) -> None:
    choices = Choices(data)
    raw, stored = choices.number(1 << 22), choices.rest()
    members = (packmap.Member(0, 0, raw),)
    frame = packmap.Frame(0, 0, len(stored), raw, hashlib.sha256(stored).digest()[:16], members)
    assert len(pack.open_frame(frame, stored)) == raw


@target("native-delta-header")
def delta_header(data: bytes) -> None:
    """The header's content, since its stored form has a digest; and the bytes before it."""
    choices = Choices(data)
    with contextlib.suppress(SmidgenError):
        delta.decode_lead(choices.take(delta.LEAD))
    raw = choices.rest()
    stored = zstd.compress(raw, 1)
    found = delta.decode_header(delta.Lead(0, len(stored), len(raw), hashlib.sha256(stored).digest()), stored)
    lead = delta.decode_lead(delta.encode_header(found)[: delta.LEAD])
    assert delta.decode_header(lead, delta.encode_header(found)[lead.start :]) == found


@target("native-delta-op")
def operation(data: bytes) -> None:
    bounds = delta_ops.Bounds(3, 5, 7)
    reader = WireReader(data, "operations")
    while reader.left:
        start = reader.offset
        found = delta_ops.decode_op(reader, TRANSFORMS, bounds)
        again = bytearray()
        delta_ops.encode_op(again, found, {one: number for number, one in enumerate(TRANSFORMS)})
        assert again == data[start : reader.offset]


@target("native-delta-frame")
def delta_frame(data: bytes) -> None:
    assert sum(len(part) for part in coding.unpack(data, MOST).parts()) <= MOST


@target("native-delta-apply", share=0.5)
def forged_delta(data: bytes) -> None:
    """What a liar with our tools would send: streams of any content, digests that fit."""
    choices = Choices(data)
    number = choices.number(len(FRAMES) - 1)
    parts = [bytearray(part) for part in coding.unpack(FRAMES[number], HEADER.frames[number].raw).parts()]
    for _ in range(1 + choices.number(3)):
        stream = choices.pick(parts)
        at = choices.number(len(stream))
        stream[at : at + choices.number(4)] = choices.take(choices.number(8))
    frame = coding.pack(coding.Streams(*(bytes(part) for part in parts)), coding.Effort("fast"))
    memory = new_store()
    try:
        apply_delta(forged(number, frame, sum(len(part) for part in parts)), memory)
    finally:
        verify_finished(memory)
