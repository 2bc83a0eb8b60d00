"""Seeds for parsers: small documents of every format."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fuzz.ostree_seeds import ostree_seeds
from fuzz.tar_targets import CONTENTS
from smidgen_deltas import zstd
from smidgen_deltas.digest import Digest
from smidgen_deltas.engine import coding
from smidgen_deltas.native import bundle, delta, delta_ops, packmap, refdoc, tree
from smidgen_deltas.oci import media
from smidgen_deltas.tar.recipe import split
from smidgen_deltas.tar.recipewire import encode
from support import tars
from support.oci_content import layer_tar
from support.small_delta import DELTA, FRAMES, HEADER
from support.tar_bodies import Bodies

DIGEST = Digest("sha256", "1" * 64)
SHA = bytes(range(32))
SIZES = [content.size for content in CONTENTS]
BODY = {"schemaVersion": 2, "config": {"mediaType": media.OCI_CONFIG, "digest": str(DIGEST), "size": 7}}


def format_seeds() -> Iterator[tuple[str, str, bytes]]:
    yield from ostree_seeds()
    yield from native_seeds()
    yield from oci_seeds()
    yield from tar_seeds()


def native_seeds() -> Iterator[tuple[str, str, bytes]]:
    piece = refdoc.Piece(DIGEST, 5, 9)
    offer = refdoc.DeltaOffer((DIGEST,), piece, 1, 2, 0, ("xz:1",), DIGEST)
    document = refdoc.RefDocument("ostree", "repo", "a/b", 3, 100, 200, DIGEST, piece, piece, 4, 5, (offer,))
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    sealed = refdoc.sign(document, key)
    yield "native-refdoc", "delta", base64.b64decode(json.loads(sealed)["payload"])
    yield "native-envelope", "signed", sealed
    yield "native-envelope", "keys", refdoc.encode_keys({refdoc.key_id(key.public_key()): key.public_key()})
    head = bundle.encode_head([bundle.Entry("u/keys.json", 7, SHA), bundle.Entry("u/blobs/1", 0, SHA)], 1, 2, [key])
    yield "native-bundle", "head", head
    yield "native-bundle", "index", b"\1" + b"\x0bu/keys.json" + b"\7" + SHA
    contents = (tree.ContentRef(SHA, 5), tree.ContentRef(SHA[::-1], 7))
    yield "native-tree", "tar", tree.encode_tree(tree.TarTree(SHA, 2048, b"recipe", contents))
    blob = tree.Document(media.OCI_MANIFEST, DIGEST, b"{}")
    layer = tree.LayerEntry(media.OCI_LAYER, DIGEST, 9, DIGEST, 2048, b"recipe", b"packed")
    opaque = tree.OpaqueBlob(DIGEST, 12)
    yield "native-tree", "oci", tree.encode_tree(tree.OciTree((blob,), (blob,), (layer,), (opaque,), contents))
    frames = (packmap.Frame(0, 0, 50, 12, SHA[:16], (packmap.Member(0, 0, 5), packmap.Member(packmap.FOREIGN, 0, 7))),)
    yield "native-packmap", "one", packmap.encode_packmap(packmap.PackMap((packmap.PackRef(DIGEST, 99),), frames))
    yield "native-pack-frame", "zstd", (300).to_bytes(3, "little") + zstd.compress(bytes(300), 3)
    lead = delta.decode_lead(DELTA[: delta.LEAD])
    header = zstd.decompress(DELTA[lead.start : lead.start + lead.size], lead.raw)
    yield "native-delta-header", "trees", DELTA[: delta.LEAD].ljust(delta.LEAD, b"\0") + header
    yield "native-delta-op", "frame", coding.unpack(FRAMES[0], HEADER.frames[0].raw).parts()[0]
    yield "native-delta-op", "each", _operations()
    yield "native-delta-frame", "first", FRAMES[0]
    yield "native-delta-apply", "edit", bytes((0, 1, 0, 3, 1, 1, 1))


def _operations() -> bytes:
    xz = delta.Transform("xz", 1)
    ref = delta_ops.Ref(delta_ops.Space.SOURCE, 1, ((xz, 0),))
    copy = delta_ops.Copy(ref)
    patched = delta_ops.Patched((ref, delta_ops.Ref(delta_ops.Space.TARGET, 2)), 1, 5, 6, 7)
    repacked = delta_ops.Repacked(xz, 9, (delta_ops.Inner(40, copy), delta_ops.Inner(50, delta_ops.Whole())))
    out = bytearray()
    for operation in (delta_ops.Whole(), copy, patched, repacked, delta_ops.Part(3, copy)):
        delta_ops.encode_op(out, operation, {xz: 0})
    return bytes(out)


def oci_seeds() -> Iterator[tuple[str, str, bytes]]:
    layers = [{"mediaType": media.OCI_LAYER, "digest": str(DIGEST), "size": 7, "annotations": {"a": "b"}}]
    image = json.dumps(BODY | {"layers": layers}).encode()
    platform = {"architecture": "arm64", "os": "linux", "variant": "v8"}
    entry = {"mediaType": media.OCI_MANIFEST, "digest": str(DIGEST), "size": 7, "platform": platform}
    index = json.dumps({"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": [entry]}).encode()
    rootfs = {"type": "layers", "diff_ids": [str(DIGEST)]}
    history = [{"created": "2026-01-01T00:00:00Z", "created_by": "x", "empty_layer": True}]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": rootfs,
        "history": history,
        "config": {"Labels": {"a": "b"}},
    }
    yield "oci-manifest", "image", image
    yield "oci-manifest", "index", index
    yield "oci-config", "image", json.dumps(config).encode()
    yield "oci-json", "any", b'{"a": [1, -2.5e3, "\\u00e9", true, null, {}]}'
    plain = layer_tar({"file": b"text"})
    yield "oci-layer", "zstd", b"\2" + zstd.compress(plain, 3)
    yield "oci-layer", "plain", b"\0" + plain[:1024]
    yield "oci-archive", "layout", _layout(image)


def _layout(image: bytes) -> bytes:
    digest = hashlib.sha256(image).hexdigest()
    annotations = {"org.opencontainers.image.ref.name": "latest"}
    entry = {
        "mediaType": media.OCI_MANIFEST,
        "digest": f"sha256:{digest}",
        "size": len(image),
        "annotations": annotations,
    }
    files = {
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
        "index.json": json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode(),
        f"blobs/sha256/{digest}": image,
    }
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, body in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return out.getvalue()[:6144]


def tar_seeds() -> Iterator[tuple[str, str, bytes]]:
    sparse = ((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"99999"))
    old = bytes(41) + tars.octal(0, 12) + tars.octal(8, 12) + bytes(73) + tars.octal(100, 12)
    whole = {
        "files": tars.member(b"plain", b"x" * 700) + tars.header(b"link", typeflag=b"1", linkname=b"plain"),
        "pax": tars.pax((b"path", b"a/" * 60 + b"b"), (b"mtime", b"1.25")) + tars.member(b"short", b"y"),
        "gnu": tars.long_name(b"d/" * 80 + b"e") + tars.member(b"d", b"z", magic=tars.GNU),
        "sparse": tars.pax(*sparse) + tars.member(b"sparse", tars.padded(b"2\n0\n3\n5000\n2\n") + b"abcde"),
        "old-sparse": tars.member(b"old", b"12345678", b"S", magic=tars.GNU, prefix=old),
        "device": tars.header(b"null", typeflag=b"3", devmajor=1, devminor=3) + tars.header(b".wh.gone"),
    }
    for name, data in whole.items():
        yield "tar-reader", name, b"\0" + data + tars.END
        yield "tar-split", name, data + tars.END
    yield "tar-pax", "three", b"".join(tars.record(*pair) for pair in sparse)
    yield from _recipes(whole)


def _recipes(whole: dict[str, bytes]) -> Iterator[tuple[str, str, bytes]]:
    for name, data in whole.items():
        recipe = split((data + tars.END,), Bodies())
        yield "tar-recipe", name, encode(recipe.pieces, lambda content: SIZES.index(content.size))
