"""Ref documents, trees, packs and their maps."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from smidgen_deltas import zstd
from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import (
    DigestMismatch,
    LimitExceeded,
    RollbackRefused,
    SignatureInvalid,
    SizeMismatch,
    SmidgenError,
)
from smidgen_deltas.native.pack import GROUP, SEGMENT, BuiltPack, PackBuilder, open_frame, pack_digest
from smidgen_deltas.native.packmap import (
    FOREIGN,
    MAX_PACK,
    Frame,
    Member,
    PackMap,
    PackRef,
    decode_packmap,
    encode_packmap,
)
from smidgen_deltas.native.refdoc import (
    DeltaOffer,
    Piece,
    RefDocument,
    check_freshness,
    decode_keys,
    encode_keys,
    key_id,
    sign,
    verify,
)
from smidgen_deltas.native.tree import (
    ContentRef,
    Document,
    FileEntry,
    LayerEntry,
    OciTree,
    OpaqueBlob,
    OstreeTree,
    decode_tree,
    encode_tree,
)

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEYS = {key_id(KEY.public_key()): KEY.public_key()}
PIECE = Piece(Digest.of(b"tree"), 100, 900)
DOCUMENT = RefDocument(
    kind="ostree",
    repo="os",
    ref="debian/stable",
    version=7,
    published=1_700_000_000,
    expires=1_700_600_000,
    revision=Digest.of(b"commit"),
    tree=PIECE,
    packs=None,
    count=3,
    bytes=12345,
    deltas=(DeltaOffer((Digest.of(b"old"),), PIECE, 1 << 20, 0, 1, ("xz-1",), Digest.of(b"header")),),
)


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def test_ref_document_round_trips_and_stays_small() -> None:
    data = sign(DOCUMENT, KEY)
    assert verify(data, KEYS) == DOCUMENT
    assert len(data) < 2048


@pytest.mark.parametrize("at", range(0, 700, 7))
def test_altered_ref_document_is_refused(at: int) -> None:
    data = bytearray(sign(DOCUMENT, KEY))
    data[at] ^= 1
    try:
        found = verify(bytes(data), KEYS)
    except SmidgenError:
        return
    assert found == DOCUMENT  # the change hit the key id of nobody or an ignored field, not the payload


def test_untrusted_key_and_oversized_document_are_refused() -> None:
    with pytest.raises(SignatureInvalid):
        verify(sign(DOCUMENT, Ed25519PrivateKey.generate()), KEYS)
    with pytest.raises(LimitExceeded):
        verify(b" " * 70_000, KEYS)


def test_rollback_and_expiry_are_refused() -> None:
    check_freshness(DOCUMENT, seen_version=7, now=DOCUMENT.expires)
    with pytest.raises(RollbackRefused):
        check_freshness(DOCUMENT, seen_version=8, now=0)
    with pytest.raises(RollbackRefused):
        check_freshness(DOCUMENT, seen_version=0, now=DOCUMENT.expires + 1)


def test_key_list_round_trips_and_names_are_checked() -> None:
    data = encode_keys(KEYS)
    assert list(decode_keys(data)) == list(KEYS)
    name = next(iter(KEYS))
    with pytest.raises(SmidgenError):
        decode_keys(data.replace(name.encode(), b"0" * 16))


OSTREE_TREE = OstreeTree(
    commit=b"commit" * 9,
    commitmeta=b"",
    dirtrees=(b"root", b"usr"),
    dirmetas=(b"meta",),
    headers=(b"header-a", b"header-b"),
    files=(FileEntry(sha(b"1"), 0, 0), FileEntry(sha(b"2"), 1, -1)),
    contents=(ContentRef(sha(b"body"), 4),),
)
OCI_TREE = OciTree(
    manifests=(Document("application/vnd.oci.image.manifest.v1+json", Digest.of(b"{}"), b"{}"),),
    blobs=(Document("application/vnd.oci.image.config.v1+json", Digest.of(b"[]", "sha512"), b"[]"),),
    layers=(LayerEntry("t", Digest.of(b"gz"), 9, Digest.of(b"tar"), 10240, b"recipe", b"how"),),
    opaque=(OpaqueBlob(Digest.of(b"x"), 1),),
    contents=(ContentRef(sha(b"body"), 4), ContentRef(sha(b"more"), 1 << 40)),
)


@pytest.mark.parametrize("tree", [OSTREE_TREE, OCI_TREE])
def test_tree_round_trips(tree: OstreeTree | OciTree) -> None:
    assert decode_tree(encode_tree(tree)) == tree


@pytest.mark.parametrize("tree", [OSTREE_TREE, OCI_TREE])
def test_truncated_tree_is_refused_everywhere(tree: OstreeTree | OciTree) -> None:
    raw = encode_tree(tree)
    for end in range(len(raw)):
        with pytest.raises(SmidgenError):
            decode_tree(raw[:end])
    with pytest.raises(SmidgenError):
        decode_tree(raw + b"\0")


@given(st.data())
def test_altered_tree_is_read_or_refused(data: st.DataObject) -> None:
    raw = bytearray(encode_tree(data.draw(st.sampled_from([OSTREE_TREE, OCI_TREE]))))
    at = data.draw(st.integers(8, len(raw) - 1))
    raw[at] = data.draw(st.integers(0, 255))
    try:
        tree = decode_tree(bytes(raw))
    except SmidgenError:
        return
    assert encode_tree(tree) == raw


def build(contents: list[bytes]) -> list[BuiltPack]:
    builder = PackBuilder(level=1)
    packs = []
    for body in contents:
        packs += builder.add(sha(body), len(body), [body[:1000], body[1000:]])
    return packs + list(builder.finish())


def map_of(packs: list[BuiltPack], order: dict[bytes, int]) -> PackMap:
    frames = tuple(
        Frame(
            number,
            frame.offset,
            frame.size,
            frame.raw_size,
            frame.check,
            tuple(Member(order.get(run.sha256, FOREIGN), run.start, run.length) for run in frame.runs),
        )
        for number, pack in enumerate(packs)
        for frame in pack.frames
    )
    return PackMap(tuple(PackRef(pack_digest(pack), len(pack.data)) for pack in packs), frames)


def pattern(seed: int, size: int) -> bytes:
    return hashlib.shake_128(b"%d" % seed).digest(size)


def test_packs_give_back_every_content() -> None:
    contents = [
        pattern(at, size) for at, size in enumerate([1, GROUP, 70_000, 60_000, SEGMENT, 3 * SEGMENT + 5, 17, 9])
    ]
    contents += [pattern(99, 19 << 20)]
    packs = build(contents)
    assert len(packs) > 1
    assert all(len(pack.data) <= MAX_PACK for pack in packs)
    order = {sha(body): at for at, body in enumerate(contents)}
    packmap = decode_packmap(encode_packmap(map_of(packs, order)), len(contents))
    found = [bytearray(len(body)) for body in contents]
    for frame in packmap.frames:
        raw = open_frame(frame, packs[frame.pack].data[frame.offset : frame.offset + frame.size])
        at = 0
        for member in frame.members:
            found[member.content][member.start : member.start + member.length] = raw[at : at + member.length]
            at += member.length
    assert [bytes(body) for body in found] == contents


def test_small_files_share_a_frame() -> None:
    packs = build([pattern(at, 1000) for at in range(50)])
    assert len(packs) == 1
    assert len(packs[0].frames) == 1


def test_pack_is_plain_concatenated_zstd() -> None:
    contents = [pattern(at, 100_000) for at in range(4)]
    [pack] = build(contents)

    class Source:
        data = pack.data

        def read(self, size: int) -> bytes:
            out, self.data = self.data[:size], self.data[size:]
            return out

    assert b"".join(zstd.stream_decompress(Source(), 1 << 20, frames=True)) == b"".join(contents)


def test_builder_refuses_wrong_content() -> None:
    with pytest.raises(DigestMismatch):
        list(PackBuilder().add(sha(b"good"), 3, [b"bad"]))
    with pytest.raises(SizeMismatch):
        list(PackBuilder().add(sha(b"good"), 4, [b"good", b"more"]))
    with pytest.raises(SizeMismatch):
        list(PackBuilder().add(sha(b"good"), 4, [b"goo"]))


def test_frame_is_checked_before_it_is_decoded() -> None:
    body = b"text" * 1000
    [pack] = build([body])
    frame = map_of([pack], {sha(body): 0}).frames[0]
    damaged = bytearray(pack.data)
    damaged[-1] ^= 1
    with pytest.raises(DigestMismatch):
        open_frame(frame, damaged)
    with pytest.raises(SizeMismatch):
        open_frame(frame, pack.data[:-1])


def test_frame_that_decodes_to_more_is_refused() -> None:
    bomb = zstd.compress(bytes(1 << 20))
    check = hashlib.sha256(bomb).digest()[:16]
    with pytest.raises(LimitExceeded):
        open_frame(Frame(0, 0, len(bomb), 100, check, (Member(0, 0, 100),)), bomb)


PACKMAP = PackMap(
    (PackRef(Digest.of(b"a"), 1000), PackRef(Digest.of(b"b"), 500)),
    (
        Frame(0, 10, 90, 300, b"c" * 16, (Member(2, 0, 100), Member(FOREIGN, 0, 150), Member(0, 7, 50))),
        Frame(0, 100, 900, 30, b"d" * 16, (Member(1, 0, 30),)),
        Frame(1, 0, 500, 1, b"e" * 16, (Member(2, 100, 1),)),
    ),
)


def test_packmap_round_trips() -> None:
    assert decode_packmap(encode_packmap(PACKMAP), 3) == PACKMAP


def test_packmap_is_refused_when_cut_or_out_of_range() -> None:
    raw = encode_packmap(PACKMAP)
    for end in range(len(raw)):
        with pytest.raises(SmidgenError):
            decode_packmap(raw[:end], 3)
    with pytest.raises(SmidgenError):
        decode_packmap(raw, 2)


@given(st.binary(max_size=60))
def test_any_packmap_bytes_are_read_or_refused(tail: bytes) -> None:
    try:
        packmap = decode_packmap(b"smpmap1\n" + tail, 5)
    except SmidgenError:
        return
    assert encode_packmap(packmap) == b"smpmap1\n" + tail
