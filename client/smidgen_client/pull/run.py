"""One pull, step by step: trust, tree, what is missing, plan, fetch, commit."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Final

from smidgen_client.fetch.sink import ContentSink
from smidgen_client.plan.ranges import MIN_COST, REQUEST_COST, plan_ranges, request_cost, wanted_frames
from smidgen_client.progress import Progress, human
from smidgen_client.pull.delta_choice import Choice, DeltaReport, choose
from smidgen_client.pull.delta_source import DeltaSource, open_delta
from smidgen_client.pull.document import fetch_document
from smidgen_client.pull.fetching import BlobSource, PackSource, fetch_piece
from smidgen_client.pull.request import PullRequest, PullResult
from smidgen_client.pull.targets import open_target
from smidgen_client.seeds.use import Seeds
from smidgen_client.state.lock import exclusive
from smidgen_client.state.state import State
from smidgen_client.state.stores import Install
from smidgen_client.targets.base import Assembly, Decision, Target, known_tree
from smidgen_client.transport.client import Transport
from smidgen_deltas.errors import FormatError, IntegrityError, NotFound, SmidgenError
from smidgen_deltas.native.packmap import PackMap, decode_packmap
from smidgen_deltas.native.refdoc import RefDocument
from smidgen_deltas.native.tree import decode_tree

METERED_SLACK: Final = 0.02
USELESS: Final = (FormatError, IntegrityError, NotFound)  # what a delta may raise that packs can make good


@dataclass(slots=True)
class Pull:
    """One pull. `run` may be called once."""

    state: State
    transport: Transport
    request: PullRequest
    progress: Progress
    now: Callable[[], float] = time.time
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
            choice = self._choice(document, seeds)
            report, delta = choice.report, None
            if choice.offer is not None and choice.old is not None and not self.request.dry_run:
                try:
                    delta = open_delta(self.transport, choice.offer, choice.old, self.state.deltas)
                except USELESS as error:
                    report = self._gave_up(report, error)
            try:
                return self._assemble(target, document, seeds, report, delta)
            finally:
                if delta is not None:
                    delta.close()

    def _choice(self, document: RefDocument, seeds: Seeds) -> Choice:
        if not self.request.delta:
            return Choice(DeltaReport(used=False, reason="deltas are switched off"))
        return choose(document, self.state, seeds)

    def _gave_up(self, report: DeltaReport, error: SmidgenError) -> DeltaReport:
        self.progress.say(f"the delta is of no use, going on with packs: {error}")
        return report.failed(error)

    def _assemble(
        self, target: Target, document: RefDocument, seeds: Seeds, report: DeltaReport, delta: DeltaSource | None
    ) -> PullResult:
        raw = delta.document if delta else fetch_piece(self.transport, document.tree)
        tree = known_tree(decode_tree(raw))
        if len(tree.contents) != document.count or sum(one.size for one in tree.contents) != document.bytes:
            raise FormatError("the tree is not as large as its ref document says", contents=len(tree.contents))
        with target.assemble(tree, document) as assembly:
            result = self._fill(assembly, document, seeds, report, delta)
        if not self.request.dry_run:
            self.state.trees.keep(document.revision, raw)
            self.state.trees.prune({one.revision for one in self.state.stores.history()})
        return result

    def _packmap(self, document: RefDocument) -> PackMap:
        if document.packs is None:
            return PackMap((), ())
        return decode_packmap(fetch_piece(self.transport, document.packs), document.count)

    def _fill(
        self,
        assembly: Assembly,
        document: RefDocument,
        seeds: Seeds,
        report: DeltaReport,
        delta: DeltaSource | None,
    ) -> PullResult:
        if not self.request.dry_run:
            assembly.begin()
        missing = assembly.missing()
        seeds.find(assembly.contents, missing)
        remote = seeds.without(missing)
        cost = self._cost()
        packmap = None if delta else self._packmap(document)
        if delta is not None and document.packs and delta.spare(remote) and delta.left(remote) > document.packs.size:
            packmap = self._packmap(document)
            packed = plan_ranges(wanted_frames(packmap, remote), cost=cost).total
            if packed < delta.left(remote):
                report = replace(report, used=False, reason=f"{human(packed)} of packs are less: part of it is here")
                delta.close()
                delta = None
        # with a delta nothing has to be fetched for a layer's contents alone
        decision = assembly.decide(
            packmap or PackMap((), ()), remote if delta is None else bytearray(len(remote)), cost
        )
        fetched = seeds.without(decision.wanted)
        sink = ContentSink(assembly.contents, decision.wanted, assembly, assembly.parts)
        blobs = BlobSource(self.transport, assembly, self.request.connections)
        plan = self._packs(packmap, cost).plan(sink, only=fetched) if packmap and not delta else None
        planned = (plan.total if plan else delta.left(fetched) if delta else 0) + blobs.plan(decision.blobs)
        if self.request.dry_run and report.used:
            report, planned = _compare(document, report, planned)
        result = replace(
            _blank(self.request, document),
            files=assembly.files,
            contents_total=len(assembly.contents),
            contents_present=len(assembly.contents) - sum(missing),
            contents_seeded=sum(decision.wanted) - sum(fetched),
            contents_fetched=sum(fetched),
            bytes_full=_full(document, packmap),
            bytes_planned=planned,
            requests_planned=(plan.requests if plan else 1) + len(decision.blobs),
            delta=report,
        )
        self._announce(result)
        if self.request.dry_run:
            return self._finished(replace(result, dry_run=True, layers=assembly.layers))
        self._limit(0 if delta is not None and delta.streaming else planned)
        sink.complete_parts()
        notes = seeds.take(sink)
        if delta is not None:
            report = self._apply(delta, sink, assembly, report)
            notes += [] if report.used else [report.reason]
        if packmap is None and any(sink.left):
            packmap = self._packmap(document)
        notes += self._fetch(assembly, sink, decision, self._packs(packmap or PackMap((), ()), cost), blobs)
        stored = assembly.finish()
        assembly.parts.clear()
        if delta is not None:
            delta.forget()
        self._record(document, stored)
        seeds.remember(self.request.target, assembly.places())
        return self._finished(replace(result, stored=stored, notes=tuple(notes), layers=assembly.layers, delta=report))

    def _packs(self, packmap: PackMap, cost: int) -> PackSource:
        return PackSource(self.transport, packmap, cost=cost, connections=self.request.connections)

    def _apply(self, delta: DeltaSource, sink: ContentSink, assembly: Assembly, report: DeltaReport) -> DeltaReport:
        """Take what is missing from the delta; what fails is left to the packs, and the report says why."""
        delta.attach(sink, assembly)
        try:
            delta.apply(sink, self.progress)
        except USELESS as error:
            sink.failed.clear()
            delta.close()
            return self._gave_up(report, error)
        return report

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

    def _cost(self) -> int:
        """What a request is worth, in bytes: measured on what was fetched so far, never more than the default."""
        if self.request.request_cost is not None:
            return self.request.request_cost
        if self.request.metered:
            return MIN_COST
        link = self.transport.link
        return min(REQUEST_COST, request_cost(link.latency, link.bandwidth)) if link.bandwidth else REQUEST_COST

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


def _compare(document: RefDocument, report: DeltaReport, packed: int) -> tuple[DeltaReport, int]:
    """What a real run would choose, and fetch for it: it reads neither tree nor map when it takes the delta."""
    metadata = document.tree.size + (document.packs.size if document.packs else 0)
    reason = f"{report.reason}; packs: {human(packed)} and {human(metadata)} of metadata"
    if report.size <= packed + metadata:
        return replace(report, reason=reason), report.size
    return replace(report, used=False, reason=reason), packed
