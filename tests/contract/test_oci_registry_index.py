"""The registry's rows, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from smidgen_deltas.digest import Digest
from smidgen_server.index import oci
from smidgen_server.index.base import Index
from smidgen_server.index.repos import ensure_repo, find_repo
from smidgen_server.index.tables.oci import oci_reference, oci_tag

PAGE = oci.Page(entries=100, bytes=1 << 20)


@pytest.fixture
def index(database_url: str) -> Iterator[Index]:
    index = Index(database_url)
    index.upgrade()
    yield index
    index.close()


def digest(text: str) -> str:
    return str(Digest.of(text.encode()))


def add_blob(session: Session, repo: str, text: str, now: int = 100) -> int:
    blob_id = oci.ensure_blob(session, digest(text), len(text), now)
    oci.link_blob(session, ensure_repo(session, "oci", repo, public=True), blob_id, now)
    return blob_id


def add_manifest(session: Session, repo: str, text: str, *references: str, **fields: object) -> int:
    new = oci.NewManifest(
        digest=digest(text),
        size=len(text),
        media_type=str(fields.get("media_type", "application/vnd.oci.image.manifest.v1+json")),
        artifact_type=fields.get("artifact_type"),  # type: ignore[arg-type]
        subject=fields.get("subject"),  # type: ignore[arg-type]
        annotations=fields.get("annotations", {}),  # type: ignore[arg-type]
        references=tuple(map(digest, references)),
        needed=(),
    )
    repo_id = ensure_repo(session, "oci", repo, public=True)
    return oci.put_manifest(session, repo_id, oci.ensure_blob(session, new.digest, new.size, 100), new, 100)


def test_blob_is_shown_per_repository(index: Index) -> None:
    with index.session() as session:
        first, second = add_blob(session, "a/b", "x"), add_blob(session, "c", "x", now=200)
    assert first == second
    with index.read() as session:
        found = oci.find_blob(session, "a/b", digest("x"))
        assert found is not None
        assert (found.blob_id, found.size, found.touched) == (first, 1, 100)
        assert oci.find_blob(session, "a", digest("x")) is None
        assert oci.repos_showing(session, digest("x"), 10) == ["a/b", "c"]
        assert oci.repos_showing(session, digest("x"), 1) == ["a/b"]
    with index.session() as session:
        oci.unlink_blob(session, found)
    with index.read() as session:
        assert oci.find_blob(session, "a/b", digest("x")) is None
        assert oci.find_blob(session, "c", digest("x")) is not None


def test_linking_again_renews_the_mark(index: Index) -> None:
    with index.session() as session:
        add_blob(session, "a", "x", now=100)
        add_blob(session, "a", "x", now=300)
        found = oci.find_blob(session, "a", digest("x"))
    assert found is not None
    assert found.touched == 300


def test_repository_of_another_kind_is_not_ours(index: Index) -> None:
    with index.session() as session:
        ensure_repo(session, "ostree", "a", public=True)
        assert oci.list_repos(session, "", 10) == []
        assert find_repo(session, "oci", "a") is None


def test_manifest_by_digest_and_tag(index: Index) -> None:
    with index.session() as session:
        number = add_manifest(session, "a", "m", "config", "layer", annotations={"k": "\u0000ü"}, artifact_type="t/x")
        oci.set_tags(session, ensure_repo(session, "oci", "a", public=True), number, ["v1", "latest"], 100)
    with index.read() as session:
        found = oci.manifest_by_digest(session, "a", digest("m"))
        assert found is not None
        assert (found.id, found.size, found.artifact_type, found.annotations) == (number, 1, "t/x", {"k": "\u0000ü"})
        assert oci.manifest_by_tag(session, "a", "v1") == found
        assert oci.manifest_by_tag(session, "a", "V1") is None
        assert oci.manifest_by_tag(session, "b", "v1") is None
        assert sorted(oci.tags_of(session, number)) == ["latest", "v1"]


def test_pushing_again_keeps_the_row_and_changes_the_type(index: Index) -> None:
    with index.session() as session:
        first = add_manifest(session, "a", "m", "l", media_type="x/one")
        second = add_manifest(session, "a", "m", "l", media_type="x/two")
        found = oci.manifest_by_digest(session, "a", digest("m"))
        references = session.scalar(select(func.count()).select_from(oci_reference))
    assert first == second
    assert found is not None
    assert (found.media_type, references) == ("x/two", 1)


def test_deleting_a_manifest_takes_tags_and_references_along(index: Index) -> None:
    with index.session() as session:
        number = add_manifest(session, "a", "m", "l1", "l2")
        other = add_manifest(session, "b", "m", "l1")
        oci.set_tags(session, ensure_repo(session, "oci", "a", public=True), number, ["v1"], 100)
        oci.delete_manifest(session, number)
        assert session.scalar(select(func.count()).select_from(oci_tag)) == 0
        assert list(session.scalars(select(oci_reference.c.manifest_id))) == [other]
        assert oci.manifest_by_digest(session, "b", digest("m")) is not None


def test_tags_sort_by_bytes_and_page(index: Index) -> None:
    names = ["B", "a", "_", "1.10", "1.2", "Z", "z", "a-b", "a.b", "a_b"]
    with index.session() as session:
        repo_id = ensure_repo(session, "oci", "a", public=True)
        oci.set_tags(session, repo_id, add_manifest(session, "a", "m"), names, 100)
        assert oci.list_tags(session, repo_id, "", 100) == sorted(names)
        assert oci.list_tags(session, repo_id, "Z", 2) == ["_", "a"]
        assert oci.list_tags(session, repo_id, "", 0) == []
        assert oci.delete_tag(session, repo_id, "B")
        assert not oci.delete_tag(session, repo_id, "B")
        assert "B" not in oci.list_tags(session, repo_id, "", 100)


def test_tag_moves(index: Index) -> None:
    with index.session() as session:
        repo_id = ensure_repo(session, "oci", "a", public=True)
        for text in ("m1", "m2"):
            oci.set_tags(session, repo_id, add_manifest(session, "a", text), ["v1"], 100)
        found = oci.manifest_by_tag(session, "a", "v1")
    assert found is not None
    assert found.digest == digest("m2")


def test_shown_digests_are_blobs_and_manifests_of_the_repository(index: Index) -> None:
    with index.session() as session:
        add_blob(session, "a", "blob")
        add_blob(session, "b", "foreign")
        add_manifest(session, "a", "manifest")
        repo_id = ensure_repo(session, "oci", "a", public=True)
        asked = [digest(text) for text in ("blob", "foreign", "manifest", "unknown")]
        many = [digest(str(number)) for number in range(2500)]
        assert oci.shown_digests(session, repo_id, [*asked, *many]) == {digest("blob"), digest("manifest")}


def test_touching_marks_only_links_of_the_repository(index: Index) -> None:
    with index.session() as session:
        add_blob(session, "a", "x")
        add_blob(session, "b", "x")
        oci.touch_blobs(session, ensure_repo(session, "oci", "a", public=True), [digest("x"), digest("unknown")], 900)
        marks = [oci.find_blob(session, name, digest("x")) for name in ("a", "b")]
    assert [mark and mark.touched for mark in marks] == [900, 100]


def test_referrers_are_filtered_and_paged(index: Index) -> None:
    subject = digest("subject")
    with index.session() as session:
        for number in range(7):
            kind = f"t/{number % 2}"
            notes = {"n": "x" * 100}
            add_manifest(session, "a", f"m{number}", subject=subject, artifact_type=kind, annotations=notes)
        add_manifest(session, "b", "elsewhere", subject=subject)
        add_manifest(session, "a", "nothing to do with it")
    expected = sorted(digest(f"m{number}") for number in range(7))
    with index.read() as session:
        everything, more = oci.list_referrers(session, "a", subject, None, "", PAGE)
        assert ([one.digest for one in everything], more) == (expected, False)
        assert everything[0].annotations == {"n": "x" * 100}
        odd, _ = oci.list_referrers(session, "a", subject, "t/1", "", PAGE)
        assert [one.digest for one in odd] == sorted(digest(f"m{number}") for number in (1, 3, 5))
        assert oci.list_referrers(session, "a", digest("other"), None, "", PAGE) == ([], False)
        for page in (oci.Page(3, 1 << 20), oci.Page(100, 350)):
            first, more = oci.list_referrers(session, "a", subject, None, "", page)
            assert ([one.digest for one in first], more) == (expected[:3], True)
            rest, _ = oci.list_referrers(session, "a", subject, None, expected[2], PAGE)
            assert [one.digest for one in rest] == expected[3:]


@pytest.mark.parametrize(
    ("entries", "sizes", "fits"), [(3, [1, 1, 1, 1], 3), (9, [60, 60], 1), (9, [500], 1), (9, [50, 50], 2), (9, [], 0)]
)
def test_page_holds_at_least_one(entries: int, sizes: list[int], fits: int) -> None:
    assert oci.Page(entries, 100).fitting(sizes) == fits
