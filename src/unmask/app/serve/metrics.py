"""Numbers for Prometheus. No label holds anything that a caller chose."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from unmask.app.serve.models import QUEUED, RUNNING, Scan
from unmask.types import FileReport

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """One set of metrics for one service."""

    def __init__(self) -> None:
        here = self.registry = CollectorRegistry()
        self.requests = Counter("unmask_requests", "Requests answered", ["method", "route", "status"], registry=here)
        self.latency = Histogram("unmask_request_seconds", "Time to answer", ["route"], buckets=SECONDS, registry=here)
        self.scans = Counter("unmask_scans", "Scans that ended, by what was found", ["verdict"], registry=here)
        self.time = Histogram("unmask_scan_seconds", "From start to end of a scan", buckets=SECONDS, registry=here)
        self.waited = Histogram("unmask_queue_seconds", "From acceptance to start", buckets=SECONDS, registry=here)
        self.stages = Counter("unmask_stage_seconds", "Seconds of scanning by stage", ["stage"], registry=here)
        self.bytes = Counter("unmask_upload_bytes", "Bytes of accepted uploads", registry=here)
        self.refused = Counter("unmask_refused", "Requests refused, by status", ["status"], registry=here)
        self.hooks = Counter("unmask_webhooks", "Webhooks tried, by outcome", ["outcome"], registry=here)
        self.mean = 1.0  # seconds that a scan takes, lately
        self._queue = Gauge("unmask_queue", "Scans by state", ["state"], registry=here)

    def finished(self, scan: Scan, file: FileReport) -> None:
        taken = time.time() - (scan.started or scan.created)
        self.mean += 0.1 * (taken - self.mean)
        self.scans.labels(file.state).inc()
        self.time.observe(taken)
        self.waited.observe(max(0.0, (scan.started or scan.created) - scan.created))
        for stage, seconds in file.seconds_spent.items():
            if stage != "all":
                self.stages.labels(stage).inc(seconds)

    def text(self, counts: Callable[[], dict[str, int]]) -> bytes:
        found = counts()
        for state in (QUEUED, RUNNING):
            self._queue.labels(state).set(found.get(state, 0))
        return generate_latest(self.registry)
