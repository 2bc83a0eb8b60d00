"""Rows of deltas promise the same on both databases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from smidgen_deltas.digest import Digest
from smidgen_server.index import content, delta_uses, deltas, jobs, repos, surface
from smidgen_server.index.base import Index
from smidgen_server.services import delta_plan
from smidgen_server.settings import DeltaSettings


@pytest.fixture
def index(database_url: str) -> Iterator[Index]:
    index = Index(database_url)
    index.upgrade()
    with index.session() as session:
        repos.ensure_repo(session, "ostree", "os", public=True)
    yield index
    index.close()


def part(index: Index, name: str) -> surface.Part:
    digest = Digest.of(name.encode())
    with index.session() as session:
        return surface.Part(content.add_blob(session, digest, 10, now=1), digest, 10, 20)


def publish(index: Index, name: str, *, tree: str = "", last: int = 3, formats: tuple[str, ...] = ("smidgen",)) -> int:
    """Point the ref `stable` at the revision `name`, as the service does."""
    stored = part(index, f"tree of {tree or name}")
    new = surface.NewRevision(
        digest=Digest.of(name.encode()),
        tree=stored,
        packs=None,
        files=0,
        bytes=0,
        version=None,
        boot=None,
        blobs=frozenset({stored.blob_id}),
    )
    with index.session() as session:
        number = surface.put_revision(session, 1, new, now=1)
        found = surface.find_ref(session, 1, "stable")
        version = found.version + 1 if found else 1
        surface.put_ref(session, 1, "stable", number, version, b"{}", now=1)
        settings = DeltaSettings(from_last=last, formats=formats)
        delta_plan.queue(session, settings, 1, "stable", number, version, now=1)
    return number


def sources(index: Index, target: int) -> list[int]:
    with index.read() as session:
        return [row.sources[0] for row in deltas.to_target(session, target)]


def make(index: Index, target: int) -> int:
    """Let the newest waiting delta to `target` be ready; its blob's id."""
    blob = part(index, f"delta to {target}")
    with index.session() as session:
        row = jobs.claim(session, "me", now=1)
        while row is not None and row.target_id != target:
            row = jobs.claim(session, "me", now=1)
        assert row is not None
        assert deltas.finish(session, row.id, "me", made(blob), now=1)
    return blob.blob_id


def made(blob: surface.Part) -> deltas.Made:
    return deltas.Made(
        files=((deltas.FILE, blob.blob_id),),
        cost=1000,
        size=blob.size,
        raw_size=99,
        memory=7,
        scratch=8,
        cpu=2,
        header=bytes(32),
        features=("xz-1", "gzip-1"),
    )


def readable(index: Index, target: int) -> bool:
    with index.read() as session:
        return bool(surface.readers(session, Digest.of(f"delta to {target}".encode())))


def test_from_the_last_revisions_of_the_ref_each_pair_once(index: Index) -> None:
    first, second, third = publish(index, "a"), publish(index, "b"), publish(index, "c", last=1)
    assert (sources(index, first), sources(index, second), sources(index, third)) == ([], [first], [second])
    fourth = publish(index, "d")
    assert sources(index, fourth) == [third, second, first]
    publish(index, "c")
    assert sources(index, third) == [fourth, second, first]
    with index.read() as session:
        found = jobs.listing(session, before=None, limit=100)
    assert [row.state for row in found] == [deltas.WAITING] * 7


def test_every_format_of_the_policy_is_asked_for_and_goes_with_the_revision(index: Index) -> None:
    """From the last three revisions, in the formats that there are for this kind of repository."""
    formats = ("smidgen", "ostree", "tardiff")
    first, second, third = (publish(index, name, last=0) for name in "abc")
    target = publish(index, "d", formats=formats)
    assert wanted(index, target) == {(form, one) for form in formats[:2] for one in (first, second, third)}
    with index.session() as session:
        assert surface.delete_revision(session, second)
    assert wanted(index, target) == {(form, one) for form in formats[:2] for one in (first, third)}
    publish(index, "c", last=0)
    with index.session() as session:
        assert surface.delete_revision(session, target)
    with index.read() as session:
        assert jobs.listing(session, before=None, limit=100) == []


def wanted(index: Index, target: int) -> set[tuple[str, int]]:
    with index.read() as session:
        return {(row.format, row.sources[0]) for row in deltas.to_target(session, target)}


def test_zero_switches_them_off(index: Index) -> None:
    publish(index, "a", last=0)
    assert sources(index, publish(index, "b", last=0)) == []
    with index.read() as session:
        assert jobs.listing(session, before=None, limit=100) == []


def test_a_ready_delta_is_offered_and_readable(index: Index) -> None:
    publish(index, "a")
    target = publish(index, "b")
    assert not readable(index, target)
    make(index, target)
    with index.read() as session:
        (offer,) = deltas.offers(session, target)
    assert offer.sources == (Digest.of(b"a"),)
    assert (offer.piece.size, offer.piece.raw_size, offer.features) == (10, 99, ("xz-1", "gzip-1"))
    assert (offer.memory, offer.scratch, offer.cpu) == (7, 8, 2)
    assert readable(index, target)


def test_deltas_go_with_either_revision(index: Index) -> None:
    first, second = publish(index, "a"), publish(index, "b")
    make(index, second)
    with index.session() as session:
        assert surface.delete_revision(session, first)
    assert sources(index, second) == []
    assert not readable(index, second)


def test_a_new_surface_of_a_revision_drops_its_deltas_the_same_one_keeps_them(index: Index) -> None:
    publish(index, "a")
    second = publish(index, "b")
    make(index, second)
    publish(index, "b")
    assert readable(index, second)
    publish(index, "b", tree="b with a signature")
    assert not readable(index, second)
    with index.read() as session:
        assert deltas.offers(session, second) == ()


def test_a_delta_from_several_revisions_names_them_all_and_goes_with_any(index: Index) -> None:
    first, second = publish(index, "a", last=0), publish(index, "b", last=0)
    target = publish(index, "c", last=0)
    wish = deltas.Wish(1, target, (second, first))
    with index.session() as session:
        number = deltas.want(session, wish, now=1)
        assert number is not None and deltas.want(session, wish, now=1) is None
        found = deltas.find_wish(session, wish)
        assert found is not None and (found.id, found.sources) == (number, (second, first))
    make(index, target)
    with index.session() as session:
        (offer,) = deltas.offers(session, target)
        assert offer.sources == (Digest.of(b"b"), Digest.of(b"a"))
        assert deltas.targets_from(session, first) == [(1, target)]
        assert surface.delete_revision(session, first)
        assert deltas.offers(session, target) == ()
    assert not readable(index, target)


def test_a_delta_from_nothing_is_one_more(index: Index) -> None:
    first = publish(index, "a", last=0)
    target = publish(index, "b")
    with index.session() as session:
        assert deltas.want(session, deltas.Wish(1, target, ()), now=1) is not None
        assert [row.sources for row in deltas.to_target(session, target)] == [(first,), ()]


def test_the_least_useful_go_first_when_all_are_too_large(index: Index) -> None:
    publish(index, "a", last=0)
    targets = [publish(index, name, last=1) for name in ("b", "c", "d")]
    for target in targets:
        make(index, target)
    fetched = {str(Digest.of(f"delta to {targets[0]}".encode())): 3, str(Digest.of(b"something else")): 9}
    with index.session() as session:
        delta_uses.count(session, fetched, now=10)
        assert delta_uses.evict(session, 30, now=10) == []
        assert delta_uses.evict(session, 29, now=10) == [(1, targets[1])]
        assert delta_uses.stored(session) == 20
        assert delta_uses.evict(session, 10, now=10) == [(1, targets[2])]
        assert [jobs.counts(session)[state] for state in (deltas.READY, deltas.EVICTED)] == [1, 2]
    assert [readable(index, target) for target in targets] == [True, False, False]


def test_uses_fade(index: Index) -> None:
    assert delta_uses.faded(8.0, 2 * delta_uses.HALF_LIFE) == 2.0
    assert delta_uses.faded(8.0, -5) == 8.0
    assert delta_uses.usefulness(100, 1100, 2.0) == 20.0
    assert delta_uses.usefulness(100, 50, 2.0) == 0
