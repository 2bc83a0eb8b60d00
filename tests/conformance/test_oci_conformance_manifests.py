"""Every kind of content: pushed, listed, pulled by tag and digest, found as a referrer, deleted, gone."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import pytest

from support.oci_client import Repo, error_codes
from support.oci_content import INDEX, LAYER, MANIFEST, NONDISTRIBUTABLE, Content, digest_of

TYPE1, TYPE2 = "application/vnd.example.one", "application/vnd.example.two"
NOTES = {"org.opencontainers.conformance": "hello", "org.example.unique": os.urandom(6).hex()}


def image() -> Content:
    content = Content()
    content.image()
    return content.tag("image")


def uncompressed_image() -> Content:
    content = Content()
    content.image(compressed=False)
    return content.tag("uncompressed")


def large_manifest() -> Content:
    """Just below the 4 MiB that a registry must take."""
    content = Content()
    content.image(annotations={f"large-{number}": "A" * 10000 for number in range(390)})
    assert 3_900_000 < len(content.documents[-1].body) < 4 << 20
    return content.tag("large")


def index() -> Content:
    content = Content()
    content.platforms()
    return content.tag("index")


def nested_index() -> Content:
    content = Content()
    inner = [content.platforms().descriptor(), content.platforms().descriptor()]
    content.index(inner)
    return content.tag("index-of-index")


def empty_index() -> Content:
    content = Content()
    content.index([], annotations={"unique": os.urandom(6).hex()})
    return content.tag("empty-index")


def artifact() -> Content:
    content = Content()
    content.artifact(TYPE1)
    return content.tag("artifact")


def artifact_index() -> Content:
    content = Content()
    content.index([content.artifact(TYPE1).descriptor(), content.artifact(TYPE1).descriptor()], artifactType=TYPE1)
    return content.tag("artifact-index")


def artifact_without_layers() -> Content:
    content = Content()
    content.artifact(TYPE1, empty=True, annotations=NOTES)
    return content.tag("artifact-without-layers")


def artifacts_with_subject() -> Content:
    content = Content()
    subject = content.image()
    content.tag("image")
    content.image(subject=subject.descriptor())
    content.artifact(TYPE1, subject=subject.descriptor(), annotations=NOTES)
    content.tag("artifact1")
    content.artifact(TYPE2, subject=subject.descriptor(), annotations=NOTES)
    return content.tag("artifact2")


def index_with_subject() -> Content:
    content = Content()
    subject = content.platforms()
    content.tag("index")
    content.index([content.artifact(TYPE1).descriptor()], artifactType=TYPE1, subject=subject.descriptor())
    content.tag("tagged-artifact")
    content.index([content.image().descriptor()], subject=subject.descriptor(), annotations=NOTES)
    return content


def missing_subject() -> Content:
    content = Content()
    subject = {"mediaType": MANIFEST, "digest": digest_of(os.urandom(8)), "size": 123}
    content.artifact(TYPE1, subject=subject, annotations=NOTES)
    return content.tag("tagged-artifact")


def embedded_data() -> Content:
    content = Content()
    content.image(embed=True)
    return content.tag("data-field")


def nondistributable_layers() -> Content:
    content = Content()
    url = "https://store.example.com/layer"
    layers = [
        {"mediaType": kind, "digest": digest_of(os.urandom(8)), "size": 123456, "urls": [url]}
        for kind in (NONDISTRIBUTABLE + "+gzip", NONDISTRIBUTABLE)
    ]
    ordinary, diff_id = content.layer()
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff_id] * 3}}
    described = content.blob(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json")
    content.manifest(described, [*layers, ordinary])
    return content.tag("non-distributable")


def custom_fields() -> Content:
    content = Content()
    images = [content.image(config_extra={"org.example": [1]}, **{"org.example": {"a": None}}) for _ in range(2)]
    content.index([one.descriptor(**{"org.example.entry": True}) for one in images], **{"org.example": "x"})
    return content.tag("custom-fields")


def no_layers() -> Content:
    content = Content()
    content.image(layers=0, annotations={"unique": os.urandom(6).hex()})
    return content.tag("no-layers")


def sha512() -> Content:
    """By digest only: a push by tag leaves the algorithm to the registry."""
    content = Content(algorithm="sha512")
    subject = content.platforms()
    content.artifact(TYPE1, subject=subject.descriptor(), annotations=NOTES)
    return content


KINDS: list[Callable[[], Content]] = [
    image,
    uncompressed_image,
    large_manifest,
    index,
    nested_index,
    empty_index,
    artifact,
    artifact_index,
    artifact_without_layers,
    artifacts_with_subject,
    index_with_subject,
    missing_subject,
    embedded_data,
    nondistributable_layers,
    custom_fields,
    no_layers,
    sha512,
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_content(repo: Repo, kind: Callable[[], Content]) -> None:
    content = kind()
    repo.push_blobs(content)
    check_push(repo, content)
    check_tags(repo, content)
    check_pull(repo, content)
    check_referrers(repo, content)
    check_delete(repo, content)


def check_push(repo: Repo, content: Content) -> None:
    pushes = [(document, document.digest) for document in content.documents]
    pushes += [(document, tag) for tag, document in content.tags.items()]
    for document, reference in pushes:
        response = repo.put_manifest(document, reference)
        assert response.status_code == 201, response.text
        assert response.headers["Docker-Content-Digest"] == document.digest
        subject = json.loads(document.body).get("subject")
        assert response.headers.get("OCI-Subject") == (subject and subject["digest"])
        back = repo.client.get(repo.location(response))
        assert back.content == document.body
        assert back.headers["Content-Type"] == document.media_type


def check_tags(repo: Repo, content: Content) -> None:
    if content.tags:
        assert repo.get("tags/list").json() == {"name": repo.name, "tags": sorted(content.tags)}
        first = sorted(content.tags)[0]
        assert repo.get("tags/list", params={"last": first}).json()["tags"] == sorted(content.tags)[1:]


def check_pull(repo: Repo, content: Content) -> None:
    wanted = [(document.digest, document) for document in content.documents] + list(content.tags.items())
    for reference, document in wanted:
        for method in ("HEAD", "GET"):
            accept = {"Accept": f"{MANIFEST}, {INDEX}", "Accept-Encoding": "identity"}
            response = repo.request(method, f"manifests/{reference}", headers=accept)
            assert response.status_code == 200
            assert response.headers["Content-Type"] == document.media_type
            assert response.headers["Content-Length"] == str(len(document.body))
            assert response.headers["Docker-Content-Digest"] == document.digest
            assert response.content == (document.body if method == "GET" else b"")
    for digest, data in content.blobs.items():
        assert repo.get(f"blobs/{digest}").content == data


def check_referrers(repo: Repo, content: Content) -> None:
    for subject, expected in content.referrers.items():
        shown = listed(repo, subject)
        assert sorted(shown, key=_digest) == sorted(expected, key=_digest)
        for artifact_type in {one["artifactType"] for one in expected if "artifactType" in one}:
            chosen = [one for one in expected if one.get("artifactType") == artifact_type]
            shown = listed(repo, subject, artifactType=artifact_type)
            assert sorted(shown, key=_digest) == sorted(chosen, key=_digest)


def listed(repo: Repo, subject: str, **filters: str) -> list[dict[str, object]]:
    """The descriptors of a referrers listing, without members that say nothing."""
    response = repo.get(f"referrers/{subject}", params=filters)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == INDEX
    assert response.headers.get("OCI-Filters-Applied", "") == ",".join(filters)
    body = response.json()
    assert (body["schemaVersion"], body["mediaType"]) == (2, INDEX)
    return [{name: value for name, value in one.items() if value} for one in body["manifests"]]


def _digest(descriptor: dict[str, object]) -> str:
    return str(descriptor["digest"])


def check_delete(repo: Repo, content: Content) -> None:
    for tag, document in content.tags.items():
        assert repo.delete(f"manifests/{tag}").status_code == 202
        assert repo.head(f"manifests/{tag}").status_code == 404
        assert repo.head(f"manifests/{document.digest}").status_code == 200, "deleting a tag must leave the manifest"
    for document in reversed(content.documents):
        assert repo.delete(f"manifests/{document.digest}").status_code == 202
        assert repo.head(f"manifests/{document.digest}").status_code == 404
    for digest in content.blobs:
        assert repo.delete(f"blobs/{digest}").status_code == 202
        assert repo.head(f"blobs/{digest}").status_code == 404
    for subject in content.referrers:
        assert listed(repo, subject) == []


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_tags_come_with_a_push_by_digest(repo: Repo, algorithm: str) -> None:
    content = Content(algorithm)
    document = content.image()
    repo.push_blobs(content)
    tags = [f"tag-{number}" for number in range(12)]
    response = repo.put_manifest(document, params=[("tag", tag) for tag in tags])
    assert response.status_code == 201
    given = [tag.strip() for value in response.headers.get_list("OCI-Tag") for tag in value.split(",")]
    assert sorted(given) == sorted(tags)
    for tag in tags:
        assert repo.head(f"manifests/{tag}").headers["Docker-Content-Digest"] == document.digest


def test_deleting_a_manifest_takes_its_tags_along(repo: Repo) -> None:
    content = image()
    repo.push(content)
    assert repo.delete(f"manifests/{content.documents[0].digest}").status_code == 202
    assert repo.get("manifests/image").status_code == 404
    assert repo.get("tags/list").json()["tags"] == []


def test_tag_moves(repo: Repo) -> None:
    content = Content()
    first, second = content.image(), content.image()
    repo.push(content)
    for document in (first, second):
        repo.put_manifest(document, "latest")
        assert repo.get("manifests/latest").content == document.body
    assert repo.get(f"manifests/{first.digest}").content == first.body


def test_missing_blobs_are_named(repo: Repo) -> None:
    content = image()
    response = repo.put_manifest(content.documents[0])
    assert response.status_code in (400, 404)
    assert "MANIFEST_BLOB_UNKNOWN" in error_codes(response)
    assert repo.get(f"manifests/{content.documents[0].digest}").status_code == 404


def test_index_of_missing_manifests_is_refused(repo: Repo) -> None:
    """The specification leaves it open; a sparse index can be pulled by nobody who wants all of it."""
    content = Content()
    content.index([{"mediaType": MANIFEST, "digest": digest_of(b"nowhere"), "size": 5}])
    assert "MANIFEST_BLOB_UNKNOWN" in error_codes(repo.put_manifest(content.documents[0]))


def test_blob_of_another_repository_is_missing(repo: Repo, other: Repo) -> None:
    content = image()
    other.push(content)
    assert "MANIFEST_BLOB_UNKNOWN" in error_codes(repo.put_manifest(content.documents[0]))


def test_wrong_digest_is_refused(repo: Repo) -> None:
    content = image()
    repo.push_blobs(content)
    for wrong in (digest_of(b"else"), "sha256:baddigeststring", digest_of(b"else", "sha512")):
        response = repo.put_manifest(content.documents[0], wrong)
        assert response.status_code == 400
        assert error_codes(response) == ["DIGEST_INVALID"]
    assert repo.get("manifests/sha256:baddigeststring").status_code in (400, 404)


def test_missing_manifest_is_unknown(repo: Repo) -> None:
    repo.push(image())
    for reference in (digest_of(b"nothing"), "no-such-tag", ".INVALID_MANIFEST_NAME"):
        for method in ("GET", "HEAD", "DELETE"):
            response = repo.request(method, f"manifests/{reference}")
            assert response.status_code in ((400, 404) if method == "DELETE" else (404,))
        assert error_codes(repo.get(f"manifests/{reference}")) == ["MANIFEST_UNKNOWN"]


def test_manifest_over_the_limit_is_too_large(repo: Repo) -> None:
    content = Content()
    document = content.image(annotations={"large": "A" * (64 << 20)})
    repo.push_blobs(content)
    assert repo.put_manifest(document).status_code == 413


def test_referrers_of_nobody_are_an_empty_index(repo: Repo) -> None:
    assert listed(repo, digest_of(os.urandom(9))) == []
    assert repo.get("referrers/sha256:nonsense").status_code == 400


def test_manifests_under_the_fallback_tag_are_referrers(repo: Repo) -> None:
    """distribution-spec, "Enabling the Referrers API": clients that knew no API left them in an index so tagged."""
    content = Content()
    subject = content.image()
    first = content.artifact(TYPE1, subject=subject.descriptor())
    content.tag(subject.digest.replace(":", "-"), content.index([first.descriptor(artifactType=TYPE1)]))
    repo.push(content)
    assert [one["digest"] for one in listed(repo, subject.digest)] == [first.digest]


def test_layer_media_types_are_free(repo: Repo) -> None:
    content = Content()
    content.manifest(content.blob(b"{}", "text/plain"), [content.blob(b"anything", LAYER + "+unheard-of")])
    repo.push(content.tag("odd"))
    assert repo.get("manifests/odd").status_code == 200
