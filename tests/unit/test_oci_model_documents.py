"""Manifests, indexes and configs: what is read, what is kept, and what is refused because readers would disagree."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from smidgen_deltas.digest import Digest, DigestInvalid
from smidgen_deltas.errors import DigestMismatch, LimitExceeded, SizeMismatch, SmidgenError, UnsupportedFeature
from smidgen_deltas.oci import media
from smidgen_deltas.oci.build import descriptor_json, encode_index, encode_manifest
from smidgen_deltas.oci.fields import ManifestInvalid
from smidgen_deltas.oci.model import Descriptor, Index, Manifest, Platform, parse_config, parse_manifest
from smidgen_deltas.oci.strictjson import JsonInvalid

Json = dict[str, Any]
D1, D2 = "sha256:" + "1" * 64, "sha256:" + "2" * 64


def descriptor(digest: str = D1, media_type: str = media.OCI_CONFIG, **more: Any) -> Json:
    return {"mediaType": media_type, "digest": digest, "size": 7, **more}


def manifest(**more: Any) -> Json:
    return {"schemaVersion": 2, "config": descriptor(), "layers": [descriptor(D2, media.OCI_LAYER)], **more}


def index(**more: Any) -> Json:
    return {"schemaVersion": 2, "manifests": [descriptor(D2, media.OCI_MANIFEST)], **more}


def dump(document: Any) -> bytes:
    return json.dumps(document).encode()


def test_an_image_manifest() -> None:
    body = dump(
        manifest(
            mediaType=media.OCI_MANIFEST,
            artifactType="application/x",
            annotations={"a": "b"},
            subject=descriptor(D2, media.OCI_MANIFEST),
            unknown={"kept": [1.5, None]},
        )
    )
    found = parse_manifest(body, media.OCI_MANIFEST)
    assert isinstance(found, Manifest)
    assert (found.body, found.digest) == (body, Digest.of(body))
    assert (found.media_type, found.artifact_type, found.annotations) == (
        media.OCI_MANIFEST,
        "application/x",
        {"a": "b"},
    )
    assert found.config == Descriptor(media.OCI_CONFIG, Digest.parse(D1), 7, {})
    assert [layer.digest for layer in found.layers] == [Digest.parse(D2)]
    assert found.subject is not None
    assert found.subject.digest == Digest.parse(D2)


@pytest.mark.parametrize("media_type", [media.OCI_INDEX, media.DOCKER_LIST])
def test_indexes_and_manifest_lists(media_type: str) -> None:
    platform = {"architecture": "arm64", "os": "linux", "variant": "v8", "os.version": "1", "os.features": ["x"]}
    entries = [descriptor(D1, media.OCI_MANIFEST, platform=platform), descriptor(D2, media.OCI_INDEX)]
    found = parse_manifest(dump(index(manifests=entries, mediaType=media_type)))
    assert isinstance(found, Index)
    assert found.media_type == media_type
    assert found.manifests[0].platform == Platform("arm64", "linux", "1", ("x",), "v8")
    assert found.manifests[1].media_type == media.OCI_INDEX


def test_docker_schema_2() -> None:
    found = parse_manifest(dump(manifest(mediaType=media.DOCKER_MANIFEST)))
    assert found.media_type == media.DOCKER_MANIFEST


def test_the_kind_is_found_without_a_media_type() -> None:
    assert parse_manifest(dump(manifest())).media_type == media.OCI_MANIFEST
    assert parse_manifest(dump(index())).media_type == media.OCI_INDEX
    assert parse_manifest(dump(index()), media.DOCKER_LIST).media_type == media.DOCKER_LIST


def test_members_that_are_null_are_absent() -> None:
    """Go's encoders write null for empty slices and maps."""
    found = parse_manifest(dump(manifest(layers=None, annotations=None, subject=None, mediaType=media.OCI_MANIFEST)))
    assert isinstance(found, Manifest)
    assert (found.layers, found.annotations, found.subject) == ((), {}, None)


def test_embedded_data_is_checked() -> None:
    good = {"digest": str(Digest.of(b"{}")), "size": 2, "mediaType": media.OCI_EMPTY}
    found = parse_manifest(dump(manifest(config={**good, "data": base64.b64encode(b"{}").decode()})))
    assert isinstance(found, Manifest)
    assert found.config.data == b"{}"
    for data, error in (
        ("e30K", SizeMismatch),
        ("e10=", DigestMismatch),
        ("e3 0=", ManifestInvalid),
        ("é", ManifestInvalid),
    ):
        with pytest.raises(error):
            parse_manifest(dump(manifest(config={**good, "data": data})))


REFUSED: list[tuple[str, bytes, str | None, type[SmidgenError]]] = [
    ("nothing", b"", None, JsonInvalid),
    ("no JSON", b"{", None, JsonInvalid),
    ("two documents", dump(manifest()) * 2, None, JsonInvalid),
    ("byte order mark", b"\xef\xbb\xbf" + dump(manifest()), None, JsonInvalid),
    ("not UTF-8", b'{"schemaVersion":2,"x":"\xff"}', None, JsonInvalid),
    ("a list", b"[]", None, ManifestInvalid),
    ("NaN", b'{"schemaVersion":NaN}', None, JsonInvalid),
    ("infinity", b'{"schemaVersion":-Infinity}', None, JsonInvalid),
    ("endless number", b'{"schemaVersion":' + b"1" * 5000 + b"}", None, JsonInvalid),
    ("a key twice", b'{"schemaVersion":2,"schemaVersion":2,"manifests":[]}', None, JsonInvalid),
    ("a key twice, escaped", b'{"schemaVersion":2,"manifests":[],"manifest\\u0073":[]}', None, JsonInvalid),
    ("a key twice, deep", b'{"schemaVersion":2,"manifests":[],"x":[{"a":1,"a":1}]}', None, JsonInvalid),
    ("too deep", b"[" * 10_000 + b"]" * 10_000, None, LimitExceeded),
    ("too deep, in objects", b'{"a":' * 100 + b"1" + b"}" * 100, None, LimitExceeded),
    ("too large", b" " * (4 << 20) + dump(manifest()), None, LimitExceeded),
    ("manifest and index", dump({**manifest(), **index()}), None, ManifestInvalid),
    ("index with layers", dump(index(layers=[])), None, ManifestInvalid),
    ("manifest with manifests", dump(manifest(manifests=[])), media.OCI_MANIFEST, ManifestInvalid),
    ("schema 1 within", dump(manifest(fsLayers=[])), None, ManifestInvalid),
    ("told otherwise", dump(manifest(mediaType=media.OCI_MANIFEST)), media.OCI_INDEX, ManifestInvalid),
    ("told OCI, says Docker", dump(manifest(mediaType=media.DOCKER_MANIFEST)), media.OCI_MANIFEST, ManifestInvalid),
    ("neither", dump({"schemaVersion": 2}), None, ManifestInvalid),
    ("schema 1", dump({"schemaVersion": 1}), next(iter(media.DOCKER_SCHEMA1)), UnsupportedFeature),
    ("schema version 1", dump(manifest(schemaVersion=1)), None, ManifestInvalid),
    ("schema version true", dump(manifest(schemaVersion=True)), None, ManifestInvalid),
    ("foreign media type", dump(manifest()), "application/json", UnsupportedFeature),
    ("without config", dump({"schemaVersion": 2, "layers": []}), media.OCI_MANIFEST, ManifestInvalid),
    ("layers no list", dump(manifest(layers={})), None, ManifestInvalid),
    ("layer no object", dump(manifest(layers=["x"])), None, ManifestInvalid),
    ("digest of nonsense", dump(manifest(config=descriptor("sha256:../../etc"))), None, DigestInvalid),
    ("digest upper-case", dump(manifest(config=descriptor("sha256:" + "A" * 64))), None, DigestInvalid),
    ("digest with newline", dump(manifest(config=descriptor(D1 + "\n"))), None, DigestInvalid),
    ("size negative", dump(manifest(config={**descriptor(), "size": -1})), None, ManifestInvalid),
    ("size fractional", dump(manifest(config={**descriptor(), "size": 1.0})), None, ManifestInvalid),
    ("size text", dump(manifest(config={**descriptor(), "size": "1"})), None, ManifestInvalid),
    ("size huge", dump(manifest(config={**descriptor(), "size": 1 << 63})), None, ManifestInvalid),
    ("media type missing", dump(manifest(config={"digest": D1, "size": 1})), None, ManifestInvalid),
    ("annotation no text", dump(manifest(annotations={"a": 1})), None, ManifestInvalid),
    ("annotations a list", dump(manifest(annotations=[])), None, ManifestInvalid),
    ("half a character", b'{"schemaVersion":2,"manifests":[],"annotations":{"a":"\\ud800"}}', None, ManifestInvalid),
    ("urls no list", dump(manifest(config=descriptor(urls="x"))), None, ManifestInvalid),
    ("platform no object", dump(index(manifests=[descriptor(platform="x")])), None, ManifestInvalid),
]


@pytest.mark.parametrize(("body", "told", "error"), [one[1:] for one in REFUSED], ids=[one[0] for one in REFUSED])
def test_is_refused(body: bytes, told: str | None, error: type[SmidgenError]) -> None:
    with pytest.raises(error) as caught:
        parse_manifest(body, told)
    assert type(caught.value) is error
    json.dumps(caught.value.detail)


def test_many_quotes_take_no_time() -> None:
    with pytest.raises(JsonInvalid):
        parse_manifest(b'{"' + b'\\"' * 1_000_000)


def test_documents_that_are_built_read_back() -> None:
    config = Descriptor(media.OCI_EMPTY, Digest.of(b"{}"), 2, {}, data=b"{}")
    layer = Descriptor(
        media.OCI_LAYER, Digest.parse(D2), 9, {"k": "ü"}, "application/y", ("https://x",), None, Platform("a", "b", "c")
    )
    body = encode_manifest(
        config, [layer], annotations={"b": "2", "a": "1"}, subject=layer, artifact_type="application/x"
    )
    found = parse_manifest(body)
    assert isinstance(found, Manifest)
    assert (found.config, found.layers, found.subject) == (config, (layer,), layer)
    assert (found.annotations, found.artifact_type) == ({"a": "1", "b": "2"}, "application/x")
    listed = parse_manifest(encode_index([layer], artifact_type="application/z"))
    assert isinstance(listed, Index)
    assert (listed.manifests, listed.artifact_type) == ((layer,), "application/z")


def test_absent_members_stay_absent() -> None:
    assert descriptor_json(Descriptor("a/b", Digest.parse(D1), 1, {})) == {"mediaType": "a/b", "digest": D1, "size": 1}


CONFIG: Json = {
    "architecture": "amd64",
    "os": "linux",
    "created": "2024-01-01T00:00:00Z",
    "config": {"Labels": {"ostree.commit": "x"}},
    "rootfs": {"type": "layers", "diff_ids": [D1, D2]},
    "history": [{"created_by": "RUN", "empty_layer": True}, {"comment": "c"}],
}


def test_an_image_config() -> None:
    found = parse_config(dump(CONFIG))
    assert (found.architecture, found.os, found.labels) == ("amd64", "linux", {"ostree.commit": "x"})
    assert found.diff_ids == (Digest.parse(D1), Digest.parse(D2))
    assert [step.empty_layer for step in found.history] == [True, False]
    assert found.digest == Digest.of(found.body)


@pytest.mark.parametrize(
    "change",
    [
        {"rootfs": None},
        {"rootfs": {"type": "other", "diff_ids": []}},
        {"rootfs": {"type": "layers", "diff_ids": ["x"]}},
        {"config": {"Labels": {"a": None}}},
        {"history": [{"empty_layer": "no"}]},
    ],
)
def test_odd_configs_are_refused(change: Json) -> None:
    with pytest.raises((ManifestInvalid, DigestInvalid)):
        parse_config(dump({**CONFIG, **change}))


def test_what_layer_types_promise() -> None:
    assert media.layer_compression(media.OCI_LAYER_ZSTD) is media.Compression.ZSTD
    assert media.layer_compression(media.DOCKER_LAYER_GZIP) is media.Compression.GZIP
    assert media.layer_compression(media.OCI_CONFIG) is None
