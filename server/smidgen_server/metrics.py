"""Numbers for Prometheus, one registry per server (several servers live in one test process)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Every series of the server. `registry` is open to other parts for series of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        label = ("method", "route", "status")
        self.requests = Counter("smidgen_http_requests", "Requests answered", label, registry=self.registry)
        self.seconds = Histogram(
            "smidgen_http_request_seconds",
            "Time to answer",
            ("method", "route"),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.sent = Counter("smidgen_http_sent_bytes", "Bytes of bodies sent", ("route",), registry=self.registry)
        self.running = Gauge("smidgen_http_requests_running", "Requests being answered", registry=self.registry)
        self.blobs = Counter("smidgen_blobs_stored", "Blobs stored since start", registry=self.registry)
        self.blob_bytes = Counter("smidgen_blobs_stored_bytes", "Bytes of those blobs", registry=self.registry)
        self.published = Counter("smidgen_published_refs", "Refs set", ("kind",), registry=self.registry)
        self.ingested = Counter(
            "smidgen_ingested_bytes", "Plain bytes verified while taking in", ("source",), registry=self.registry
        )
        self.publish_seconds = Histogram(
            "smidgen_publish_seconds", "Time to make a surface", ("kind",), buckets=SECONDS, registry=self.registry
        )
        self.deltas = Counter("smidgen_deltas", "Deltas, by what became of them", ("state",), registry=self.registry)
        self.delta_bytes = Counter("smidgen_delta_bytes", "Bytes of deltas that were kept", registry=self.registry)
        self.delta_seconds = Histogram(
            "smidgen_delta_seconds", "Time to make a delta", buckets=(*SECONDS, 300, 1800), registry=self.registry
        )
        self.job_retries = Counter("smidgen_job_retries", "Builds put off after a failure", registry=self.registry)
        self.jobs_running = Gauge("smidgen_jobs_running", "Builds that this server waits for", registry=self.registry)
        self.jobs = Gauge("smidgen_jobs", "Deltas in the index, by state", ("state",), registry=self.registry)
        self.delta_stored = Gauge("smidgen_delta_stored_bytes", "Bytes of all ready deltas", registry=self.registry)

    def show_jobs(self, states: Mapping[str, int], stored: int) -> None:
        """How many deltas are in which state, and the bytes of the ready ones."""
        self.jobs.clear()
        for state, number in states.items():
            self.jobs.labels(state).set(number)
        self.delta_stored.set(stored)

    def render(self) -> bytes:
        return generate_latest(self.registry)
