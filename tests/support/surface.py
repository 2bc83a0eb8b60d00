"""An independent reader of the update surface: from the signed ref document to every content, all of it checked."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import httpx2

from smidgen_deltas import zstd
from smidgen_deltas.digest import Digest
from smidgen_deltas.native.pack import open_frame
from smidgen_deltas.native.packmap import FOREIGN, PackMap, decode_packmap
from smidgen_deltas.native.refdoc import Piece, RefDocument, decode_keys, verify
from smidgen_deltas.native.tree import OciTree, OstreeTree, decode_tree
from smidgen_deltas.ostree.objects import FileHeader, checksum_file
from smidgen_deltas.tar.recipe import Content, decode, rebuild


@dataclass(frozen=True)
class Fetched:
    """Everything of one ref; contents by sha256."""

    document: RefDocument
    tree: OstreeTree | OciTree
    packs: PackMap
    contents: dict[bytes, bytes]

    @property
    def ostree(self) -> OstreeTree:
        assert isinstance(self.tree, OstreeTree)
        return self.tree

    @property
    def oci(self) -> OciTree:
        assert isinstance(self.tree, OciTree)
        return self.tree


def fetch_document(client: httpx2.Client, path: str) -> RefDocument:
    """`path`: `ostree/<repo>/<ref>` or `oci/<name>:<tag>`."""
    keys = decode_keys(client.get("/u/keys.json").raise_for_status().content)
    return verify(client.get(f"/u/refs/{path}.json").raise_for_status().content, keys)


def fetch(client: httpx2.Client, path: str) -> Fetched:
    """Read and check all of a ref's surface."""
    document = fetch_document(client, path)
    tree = decode_tree(fetch_piece(client, document.tree))
    assert len(tree.contents) == document.count
    assert sum(one.size for one in tree.contents) == document.bytes
    packs, contents = PackMap((), ()), dict[bytes, bytes]()
    if document.packs is not None:
        packs = decode_packmap(fetch_piece(client, document.packs), len(tree.contents))
        contents = _read_contents(client, tree, packs)
    found = Fetched(document, tree, packs, contents)
    check_ostree(found) if isinstance(tree, OstreeTree) else check_oci(found)
    return found


def fetch_piece(client: httpx2.Client, piece: Piece) -> bytes:
    stored = fetch_blob(client, piece.digest)
    assert len(stored) == piece.size
    return zstd.decompress(stored, piece.raw_size)


def fetch_blob(client: httpx2.Client, digest: Digest) -> bytes:
    answer = client.get(f"/u/blobs/{digest.hex}").raise_for_status()
    assert "immutable" in answer.headers["cache-control"]
    digest.check(answer.content)
    return answer.content


def _read_contents(client: httpx2.Client, tree: OstreeTree | OciTree, packs: PackMap) -> dict[bytes, bytes]:
    bodies = [bytearray(one.size) for one in tree.contents]
    filled = [0] * len(bodies)
    for frame in packs.frames:
        pack = packs.packs[frame.pack]
        headers = {"Range": f"bytes={frame.offset}-{frame.offset + frame.size - 1}"}
        answer = client.get(f"/u/blobs/{pack.digest.hex}", headers=headers)
        assert answer.status_code == 206
        raw, at = open_frame(frame, answer.content), 0
        for member in frame.members:
            if member.content != FOREIGN:
                bodies[member.content][member.start : member.start + member.length] = raw[at : at + member.length]
                filled[member.content] += member.length
            at += member.length
    assert filled == [one.size for one in tree.contents]
    contents = {one.sha256: bytes(body) for one, body in zip(tree.contents, bodies, strict=True)}
    assert all(hashlib.sha256(body).digest() == sha256 for sha256, body in contents.items())
    return contents


def check_ostree(found: Fetched) -> None:
    """The commit is the revision, and every file object hashes to its name."""
    tree = found.ostree
    assert hashlib.sha256(tree.commit).digest() == found.document.revision.raw
    for file in tree.files:
        body = b"" if file.content == -1 else found.contents[tree.contents[file.content].sha256]
        assert checksum_file(FileHeader.decode(tree.headers[file.header]), [body]) == file.checksum


def check_oci(found: Fetched) -> None:
    """The first document is the revision, and every layer's tar comes out right."""
    tree = found.oci
    assert tree.manifests[0].digest == found.document.revision
    for document in (*tree.manifests, *tree.blobs):
        document.digest.check(document.body)
    for layer in tree.layers:

        def body(content: Content) -> list[bytes]:
            return [found.contents[content.sha256]]

        tar = b"".join(rebuild(decode(layer.recipe, tree.contents), body, layer.diff_id))
        assert len(tar) == layer.tar_size
