"""One pull, step by step: trust, tree, what is missing, plan, fetch, commit."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Final

from smidgen_client.fetch.sink import ContentSink
from smidgen_client.plan.beginning import delta_first
from smidgen_client.plan.costs import Bill, Link, applying
from smidgen_client.plan.ranges import MIN_COST, REQUEST_COST, request_cost
from smidgen_client.plan.ways import NoWay, Plan, Situation, ranked
from smidgen_client.progress import Progress, human
from smidgen_client.pull.account import Account, Accounts, take_account
from smidgen_client.pull.delta_choice import Candidate, candidates, look_up
from smidgen_client.pull.document import fetch_document
from smidgen_client.pull.fetching import BlobSource, PackSource, fetch_piece
from smidgen_client.pull.request import DeltaReport, PullRequest, PullResult
from smidgen_client.pull.route import NO_MAP, Opened, Routes, way_of
from smidgen_client.pull.targets import open_target
from smidgen_client.seeds.use import Seeds
from smidgen_client.state.lock import exclusive
from smidgen_client.state.state import State
from smidgen_client.state.stores import Install
from smidgen_client.targets.base import Assembly, Decision, Target, Tree, known_tree
from smidgen_client.transport.client import Transport
from smidgen_client.transport.known_links import KnownLinks
from smidgen_deltas.errors import FormatError, IntegrityError, NotFound, SmidgenError
from smidgen_deltas.native.packmap import PackMap, decode_packmap
from smidgen_deltas.native.refdoc import DeltaOffer, RefDocument
from smidgen_deltas.native.tree import decode_tree

METERED_SLACK: Final = 0.02
USELESS: Final = (FormatError, IntegrityError, NotFound)  # what a delta may raise that packs can make good


class BundleUnfit(NotFound):
    """A bundle has no way for this device."""

    hint = "Bring the device to one of the named revisions, or make a bundle from its revision, or a full one."


@dataclass(slots=True)
class Pull:
    """One pull. `run` may be called once."""

    state: State
    transport: Transport
    request: PullRequest
    progress: Progress
    now: Callable[[], float] = time.time
    account: Account | None = None  # how the contents come, once it is planned
    tree: Tree | None = None  # of the new revision, once it was read
    _started: float = field(default_factory=time.monotonic)

    def run(self) -> PullResult:
        """Raises what its parts raise; what was verified until then is kept for the next run."""
        request, target = self.request, open_target(self.request)
        with nullcontext() if request.dry_run else exclusive(target.lock, wait=request.wait):
            document = fetch_document(
                self.transport, self.state.trust, request.name, request.keys, self.progress, int(self.now())
            )
            if (stored := target.current(document)) is not None:
                self._record(document, stored)
                return self._finished(replace(_blank(request, document), stored=stored, unchanged=True))
            return self._update(target, document)

    def _update(self, target: Target, document: RefDocument) -> PullResult:
        with Seeds.open(self.state, self.progress) as seeds:
            offered = self._offered(document)
            delta = None if self.request.dry_run else self._begin(offered, document, seeds)
            try:
                return self._assemble(target, document, seeds, offered, delta)
            finally:
                if delta is not None:
                    delta.source.close()

    def _offered(self, document: RefDocument) -> list[Candidate]:
        """The deltas of the document, if they are wished."""
        return candidates(document, self.state) if self.request.delta else []

    def _begin(self, offered: list[Candidate], document: RefDocument, seeds: Seeds) -> Opened | None:
        """Begin with a delta, unless it is better to read tree and map first."""
        situation = self._situation(remembered=True)
        metadata = document.tree.size + (document.packs.size if document.packs else 0)
        ways = [way_of(one, _whole_delta(one.offer)) for one in offered]
        for at in ranked(ways, situation):
            if not delta_first(situation, ways[at].bill, metadata):
                continue
            if self._here(offered[at], seeds) and (opened := self._open(offered[at])):
                return opened
        return None

    def _here(self, candidate: Candidate, seeds: Seeds) -> bool:
        """Whether the sources of a candidate are on this device."""
        return look_up(candidate, self.state, seeds)

    def _open(self, candidate: Candidate) -> Opened | None:
        """Fetch the beginning of a delta; None (and the reason noted) when it is of no use."""
        if candidate.old is None:
            return None
        from smidgen_client.deltas.threads import Threads, cores
        from smidgen_client.pull.delta_source import open_delta

        threads = Threads(cores(), self.request.limits.memory)
        try:
            source = open_delta(self.transport, candidate.offer, candidate.old, self.state.deltas, threads)
            return Opened(candidate, source)
        except USELESS as error:
            self._gave_up(candidate, error)
            return None

    def _gave_up(self, candidate: Candidate, error: SmidgenError) -> None:
        candidate.unfit = f"the delta failed: {error}"
        self.progress.say(f"the delta is of no use, going on without it: {error}")

    def _assemble(
        self,
        target: Target,
        document: RefDocument,
        seeds: Seeds,
        offered: list[Candidate],
        delta: Opened | None,
    ) -> PullResult:
        raw = delta.source.document if delta else fetch_piece(self.transport, document.tree)
        self.tree = tree = known_tree(decode_tree(raw))
        if len(tree.contents) != document.count or sum(one.size for one in tree.contents) != document.bytes:
            raise FormatError("the tree is not as large as its ref document says", contents=len(tree.contents))
        with target.assemble(tree, document) as assembly:
            result = self._fill(assembly, document, seeds, offered, delta)
        if not self.request.dry_run:
            self.state.trees.keep(document.revision, raw)
            self.state.trees.prune({one.revision for one in self.state.stores.history()})
        return result

    def _unfit(self, document: RefDocument, error: NoWay) -> SmidgenError:
        """What to say when there is no way: of a bundle without packs, from where it goes."""
        if self.transport.bundle is None or document.packs is not None:
            return error
        return BundleUnfit(
            "the bundle goes from other revisions than this device can start from, and has no more than deltas",
            sources=["+".join(map(str, offer.sources)) for offer in document.deltas],
            reasons=error.detail["reasons"],
        )

    def _packmap(self, document: RefDocument) -> PackMap:
        if document.packs is None:
            return NO_MAP
        return decode_packmap(fetch_piece(self.transport, document.packs), document.count)

    def _fill(
        self,
        assembly: Assembly,
        document: RefDocument,
        seeds: Seeds,
        offered: list[Candidate],
        opened: Opened | None,
    ) -> PullResult:
        if not self.request.dry_run:
            assembly.begin()
        missing = assembly.missing()
        routes = Routes(assembly, self.transport, self._situation(), missing, offered, opened)
        if opened is not None or not routes.quickest_whole():
            seeds.find(assembly.contents, missing)
            routes.remote = seeds.without(missing)
        if document.packs is None:
            routes.no_packs = "there are none"
        elif routes.wants_map(document.packs.size):
            routes.packmap = self._packmap(document)
        routes.situation = self._situation()
        try:
            plan, opened = self._choose(routes, seeds)
        except NoWay as error:
            raise self._unfit(document, error) from error
        route = routes.routes[plan.chosen]
        wanted, fetched = route.decision.wanted, route.fetched
        delta = opened.source if opened else None
        planned = plan.best.bytes
        result = replace(
            _blank(self.request, document),
            files=assembly.files,
            contents_total=len(assembly.contents),
            contents_present=len(assembly.contents) - sum(missing),
            contents_seeded=sum(wanted) - sum(fetched),
            contents_fetched=sum(fetched),
            bytes_full=_full(document, routes.packmap),
            bytes_planned=planned,
            requests_planned=route.requests,
            delta=_report(plan, routes, offers=bool(document.deltas), wished=self.request.delta),
            plan=plan,
        )
        names = (result.ref, result.target, result.revision)
        self.account = take_account(names, plan, route, missing, routes.packmap, delta)
        self._announce(result)
        if self.request.dry_run:
            return self._finished(replace(result, dry_run=True, layers=assembly.layers))
        self._limit(0 if delta is not None and delta.streaming else planned)
        sink = ContentSink(assembly.contents, wanted, assembly, assembly.parts)
        blobs = BlobSource(self.transport, assembly, self.request.connections)
        sink.complete_parts()
        notes = seeds.take(sink)
        if opened is not None:
            notes += self._apply(opened, sink, assembly, routes, plan, seeds)
        if routes.packmap is None and any(sink.left):
            routes.packmap = self._packmap(document)
        packs = PackSource(
            self.transport,
            routes.packmap or NO_MAP,
            cost=routes.situation.request_cost,
            connections=self.request.connections,
        )
        notes += self._fetch(assembly, sink, route.decision, packs, blobs)
        stored = assembly.finish()
        assembly.parts.clear()
        if delta is not None:
            delta.forget()
        self._record(document, stored)
        seeds.remember(self.request.target, assembly.places())
        Accounts(self.state.accounts).keep(self.account)
        self._remember_link()
        report = _report(plan, routes, offers=bool(document.deltas), wished=self.request.delta)
        return self._finished(replace(result, stored=stored, notes=tuple(notes), layers=assembly.layers, delta=report))

    def _choose(self, routes: Routes, seeds: Seeds) -> tuple[Plan, Opened | None]:
        """Choose until what is chosen can be begun. What was begun and is not chosen is ended."""
        while True:
            if self.request.dry_run:
                for one in routes.candidates:
                    self._here(one, seeds)
            plan = routes.plan()
            chosen = routes.routes[plan.chosen].delta
            opened = routes.opened
            if opened is not None and chosen is not opened.candidate:
                opened.source.close()
            if chosen is None or self.request.dry_run:
                return plan, None
            if opened is None or chosen is not opened.candidate:
                opened = self._open(chosen) if self._here(chosen, seeds) else None
            if opened is not None:
                return plan, opened

    def _apply(
        self, opened: Opened, sink: ContentSink, assembly: Assembly, routes: Routes, plan: Plan, seeds: Seeds
    ) -> list[str]:
        """Take what is missing from the delta, then from the other deltas that fit; the packs bring what is left."""
        notes: list[str] = []
        others = [routes.routes[at].delta for at in plan.order]
        for candidate in [opened.candidate, *(one for one in others if one and one is not opened.candidate)]:
            source = opened.source
            if candidate is not opened.candidate:
                another = self._open(candidate) if self._here(candidate, seeds) else None
                if another is None:
                    continue
                source = another.source
            source.attach(sink, assembly)
            try:
                source.apply(sink, self.progress)
                break
            except USELESS as error:
                sink.failed.clear()
                self._gave_up(candidate, error)
                notes.append(candidate.unfit)
            finally:
                source.close()
        return notes

    def _fetch(
        self,
        assembly: Assembly,
        sink: ContentSink,
        decision: Decision,
        packs: PackSource,
        blobs: BlobSource,
    ) -> list[str]:
        """Fetch what neither seeds nor a delta gave; returns what did not go as planned."""
        notes: list[str] = []
        blobs.fetch(decision.blobs, self.progress)
        notes += packs.fetch(sink, self.progress)
        while more := assembly.seal():
            notes += [f"fetched whole: {blob.why}" for blob in more]
            self.transport.meter.check(blobs.plan(more))
            blobs.fetch(more, self.progress)
        return notes

    def _situation(self, *, remembered: bool = False) -> Situation:
        """What the choice depends on, as far as known by now. remembered: from earlier pulls, where nothing is."""
        request, measured = self.request, self.transport.link
        link = Link(measured.bandwidth, measured.latency)
        if measured.brief and (remembered or link.known):
            before = KnownLinks(self.state.links).find(self.transport.base_url, int(self.now()))
            link = max(link, before, key=lambda one: one.bandwidth)
        if request.link is not None:
            link = Link(request.link, measured.latency)
        cost = MIN_COST if request.metered else REQUEST_COST
        if link.known and not request.metered:
            cost = min(REQUEST_COST, request_cost(link.round_trip, link.bandwidth))
        return Situation(
            link,
            os.cpu_count() or 1,
            "bytes" if request.metered else request.prefer,
            replace(request.limits, bytes=self.transport.meter.allowed),
            request.request_cost if request.request_cost is not None else cost,
        )

    def _remember_link(self) -> None:
        """What all that was fetched says: much more than what the choice was made by."""
        measured = self.transport.link
        link = Link(measured.bandwidth, measured.latency)
        if link.known:
            KnownLinks(self.state.links).keep(self.transport.base_url, link, int(self.now()))

    def _announce(self, result: PullResult) -> None:
        self.progress.say(
            f"{result.files} files, {result.contents_total} contents: {result.contents_present} are here,"
            f" {result.contents_seeded} come from seeds, {result.contents_fetched} will be fetched;"
            f" {human(result.bytes_planned)} in {result.requests_planned} requests",
            bytes_planned=result.bytes_planned,
            requests_planned=result.requests_planned,
        )

    def _limit(self, planned: int) -> None:
        """Refuse now what would end over the budget; on a metered link what was announced is a promise."""
        meter = self.transport.meter
        meter.check(planned)
        if self.request.metered:
            meter.allow_more(planned + int(planned * METERED_SLACK))

    def _record(self, document: RefDocument, stored: str) -> None:
        """Add the revision to the store's history, unless it is the newest there already."""
        address, revision = str(self.request.target), str(document.revision)
        ref = str(self.request.name)
        if self.request.dry_run:
            return
        last = next((one for one in self.state.stores.history(address) if one.ref == ref), None)
        if last is None or (last.revision, last.stored) != (revision, stored):
            server, now = self.transport.base_url, int(self.now())
            self.state.stores.record(Install(0, address, server, ref, revision, stored, document.version, now))

    def _finished(self, result: PullResult) -> PullResult:
        traffic = self.transport.traffic
        seconds = round(time.monotonic() - self._started, 3)
        return replace(result, bytes_fetched=traffic.bytes, requests=traffic.requests, seconds=seconds)


def _whole_delta(offer: DeltaOffer) -> Bill:
    """What a delta costs when all of it is wanted."""
    return Bill(offer.piece.size, 1, applying(offer.piece.raw_size, offer.work))


def _blank(request: PullRequest, document: RefDocument) -> PullResult:
    return PullResult(
        ref=str(request.name),
        target=str(request.target),
        revision=str(document.revision),
        version=document.version,
        contents_total=document.count,
    )


def _full(document: RefDocument, packmap: PackMap | None) -> int:
    """What a device without anything would fetch; at most that, where the map was not read."""
    if packmap is None:
        return document.bytes
    maps = document.packs.size if document.packs else 0
    return document.tree.size + maps + sum(frame.size for frame in packmap.frames)


def _report(plan: Plan, routes: Routes, *, offers: bool, wished: bool) -> DeltaReport:
    """What became of the offered deltas."""
    if not wished:
        return DeltaReport(used=False, reason="deltas are switched off")
    if not offers:
        return DeltaReport(used=False, reason="the server offers no delta")
    failed = [one for one in routes.candidates if one.unfit]
    chosen = routes.routes[plan.chosen].delta
    if chosen is not None and not chosen.unfit:
        others = [f"{one.name}: {one.why_not}" for one in plan.considered if one.why_not and one.kind != "delta"]
        size = chosen.offer.piece.size
        reason = "; ".join([f"{human(size)} from {chosen.source}, which is here as a whole", *others])
        return DeltaReport(used=True, reason=reason, source=chosen.source, size=size)
    reasons = [f"{one.source}: {one.unfit}" for one in failed]
    reasons += [f"{one.name}: {one.why_not}" for one in plan.considered if one.kind == "delta" and one.why_not]
    return DeltaReport(used=False, reason="; ".join(dict.fromkeys(reasons)))
