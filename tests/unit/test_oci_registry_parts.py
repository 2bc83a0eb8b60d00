"""Small parts of the registry: grammar, what is read from a manifest, events."""

from __future__ import annotations

import json
from typing import Any

import pytest

from smidgen_deltas.digest import Digest, DigestInvalid
from smidgen_deltas.errors import FormatError
from smidgen_server.api.oci_paths import name_in
from smidgen_server.index.oci import NewManifest
from smidgen_server.services.events import Events
from smidgen_server.services.oci_documents import describe
from smidgen_server.services.oci_errors import ManifestRefused, NameInvalid, TagInvalid
from smidgen_server.services.oci_names import check_name, parse_reference
from support.oci_content import DOCKER_CONFIG, DOCKER_LAYER, DOCKER_MANIFEST, INDEX, MANIFEST, Content

LEGAL = ["a", "a/b", "a.b/c_d/e__f/g-h/i---j", "0", "library/ubuntu", "a" * 255]
ILLEGAL = ["", "A", "a//b", "/a", "a/", "a..b", "a___b", "a._b", "-a", "a-", "a b", "ä", "a" * 256, "a\n"]


@pytest.mark.parametrize("name", LEGAL)
def test_legal_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ILLEGAL)
def test_illegal_names(name: str) -> None:
    with pytest.raises(NameInvalid):
        check_name(name)


def test_name_that_makes_a_naive_expression_backtrack_is_refused_at_once() -> None:
    with pytest.raises(NameInvalid):
        check_name("a-" * 120 + "!")
    assert name_in("/v2/" + "a-" * 20000 + "!/tags/list") == "a-" * 20000 + "!"


def test_references_are_digests_or_tags() -> None:
    assert parse_reference("v1.0") == "v1.0"
    assert parse_reference("sha256:" + "0" * 64) == Digest("sha256", "0" * 64)
    assert parse_reference("a" * 128) == "a" * 128
    for text in ("a" * 129, ".a", "-a", "a/b", "", "ä", "a\n"):
        with pytest.raises(TagInvalid):
            parse_reference(text)
    for text in ("sha256:0", "sha1:" + "0" * 40, ":", "sha256:" + "G" * 64):
        with pytest.raises(DigestInvalid):
            parse_reference(text)


def described(value: dict[str, Any], media_type: str | None = None, **options: bool) -> NewManifest:
    body = json.dumps(value).encode()
    return describe(body, Digest.of(body), media_type, **options)


def test_image_needs_config_and_layers() -> None:
    content = Content()
    document = content.image(layers=2, annotations={"k": "v"})
    new = describe(document.body, Digest.parse(document.digest), MANIFEST)
    assert set(new.references) == set(new.needed) == set(content.blobs)
    assert (new.size, new.media_type, new.annotations) == (len(document.body), MANIFEST, {"k": "v"})
    assert new.artifact_type == "application/vnd.oci.image.config.v1+json"


def test_index_needs_manifests_unless_it_may_be_sparse() -> None:
    content = Content()
    content.index([content.image().descriptor()])
    value = json.loads(content.documents[-1].body)
    new = described(value, INDEX)
    assert new.references == new.needed == (content.documents[0].digest,)
    assert new.artifact_type is None
    assert described(value, INDEX, sparse=True).needed == ()
    assert described(value, INDEX, sparse=True).references == new.references


@pytest.mark.parametrize(
    "layer",
    [
        {"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"},
        {"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"},
        {"mediaType": "application/vnd.oci.image.layer.v1.tar", "urls": ["https://example.com/layer"]},
    ],
)
def test_layers_from_elsewhere_are_not_needed(layer: dict[str, Any]) -> None:
    content = Content()
    config = content.blob(b"{}", "application/vnd.oci.image.config.v1+json")
    foreign = {"digest": str(Digest.of(b"foreign")), "size": 7, **layer}
    content.manifest(config, [foreign])
    new = described(json.loads(content.documents[-1].body))
    assert new.needed == (config["digest"],)
    assert new.references == (config["digest"], foreign["digest"])


def test_docker_manifest() -> None:
    content = Content()
    config, layer = content.blob(b"{}", DOCKER_CONFIG), content.blob(b"x", DOCKER_LAYER)
    value = {"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": config, "layers": [layer]}
    assert described(value, DOCKER_MANIFEST).media_type == DOCKER_MANIFEST


@pytest.mark.parametrize("declared", [None, "application/octet-stream", "application/json", "text/plain"])
def test_undeclared_type_is_read_from_the_document(declared: str | None) -> None:
    content = Content()
    content.image()
    assert described(json.loads(content.documents[-1].body), declared).media_type == MANIFEST


def test_lies_about_the_type_are_refused() -> None:
    content = Content()
    content.image()
    with pytest.raises(FormatError):
        described(json.loads(content.documents[-1].body), INDEX)


@pytest.mark.parametrize("kind", ["x" * 256, "a b", "a\u0000b", "ä/b"])
def test_odd_artifact_types_are_refused(kind: str) -> None:
    content = Content()
    content.artifact(kind)
    with pytest.raises(ManifestRefused):
        described(json.loads(content.documents[-1].body))


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{}", b"\xff", b'{"schemaVersion": 2}', b"{" * 5000])
def test_what_is_no_manifest_is_refused(body: bytes) -> None:
    with pytest.raises(FormatError):
        describe(body, Digest.of(body), MANIFEST)


def test_events_reach_everyone_in_order() -> None:
    events, heard = Events(), list[tuple[object, ...]]()
    events.on_tag_pushed.append(lambda *what: heard.append(("first", *what)))
    events.on_tag_pushed.append(lambda *what: heard.append(("then", *what)))
    events.on_tag_deleted.append(lambda *what: heard.append(("deleted", *what)))
    events.tag_pushed("a", "v1", Digest.of(b""))
    events.tag_deleted("a", "v1")
    assert heard == [("first", "a", "v1", Digest.of(b"")), ("then", "a", "v1", Digest.of(b"")), ("deleted", "a", "v1")]
