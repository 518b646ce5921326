"""What happened since this coordinator began, counted as Prometheus reads it."""

from __future__ import annotations

from collections import Counter as Tally
from dataclasses import dataclass, field
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from coordinator.domain.lifecycle import BuildState
from coordinator.domain.model import Step
from coordinator.domain.steps.verdict import Verdict

MAX_PROJECTS = 200
"""Told apart by name; builds of further ones are counted together."""
DELETED_KINDS = ("builds", "logs", "artifacts", "keep", "lfs", "git", "unnamed")
_WAITS = (0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 1800, 7200)
_DATABASE = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10)
_REQUESTS = (0.005, 0.025, 0.1, 0.5, 2.5, 10, 60)


@dataclass(slots=True)
class Meter:
    """Every label has few values: none comes from outsiders' text."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    builds: Tally[tuple[str | None, BuildState]] = field(default_factory=Tally)
    """Ended, by project; None for those beyond MAX_PROJECTS."""
    _waits: Histogram = field(init=False)
    _attempts: Counter = field(init=False)
    _log_bytes: Counter = field(init=False)
    _messages: Counter = field(init=False)
    _database: Histogram = field(init=False)
    _objects: Histogram = field(init=False)
    _requests: Histogram = field(init=False)
    _deleted: Counter = field(init=False)
    _deleted_bytes: Counter = field(init=False)
    _looked_at: Gauge = field(init=False)
    _look_seconds: Gauge = field(init=False)
    _looks_failed: Counter = field(init=False)

    def __post_init__(self) -> None:
        ProcessCollector(registry=self.registry)
        self._waits = Histogram(
            "pushrod_step_wait_seconds",
            "From a step's being ready to its being begun by an agent.",
            buckets=_WAITS,
            registry=self.registry,
        )
        self._attempts = Counter(
            "pushrod_attempts",
            "Attempts that ended, by how; lost ones are those whose agent fell silent.",
            ["outcome"],
            registry=self.registry,
        )
        self._log_bytes = Counter(
            "pushrod_log_bytes", "Bytes of logs that were stored.", registry=self.registry
        )
        self._messages = Counter(
            "pushrod_messages",
            "Tries to tell a forge, webhook or mail server something, by what came of it.",
            ["recipient", "outcome"],
            registry=self.registry,
        )
        self._database = Histogram(
            "pushrod_database_seconds",
            "Reads, and commits of one write or more, with the time in the line before them.",
            ["kind"],
            buckets=_DATABASE,
            registry=self.registry,
        )
        self._objects = Histogram(
            "pushrod_object_seconds",
            "Operations on the store of logs and artifacts: put (with the bytes' arrival), get and "
            "delete of artifacts, append, read, fold and delete of logs.",
            ["operation"],
            buckets=_DATABASE,
            registry=self.registry,
        )
        self._deleted = Counter(
            "pushrod_retention_deleted",
            "Builds that went, or of which something went; LFS objects; packs of git.",
            ["kind"],
            registry=self.registry,
        )
        self._deleted_bytes = Counter(
            "pushrod_retention_deleted_bytes",
            "Of these; of builds their logs and artifacts, where somebody set a size.",
            ["kind"],
            registry=self.registry,
        )
        for kind in DELETED_KINDS:
            self.deleted(kind, 0, 0)
        self._looked_at = Gauge(
            "pushrod_retention_last_look_seconds",
            "When retention last came to its end, in seconds since 1970; 0 since the start.",
            registry=self.registry,
        )
        self._look_seconds = Gauge(
            "pushrod_retention_look_duration_seconds",
            "How long that took, with the pauses.",
            registry=self.registry,
        )
        self._looks_failed = Counter(
            "pushrod_retention_failed",
            "Looks at a project, or at all, that failed: the log says why.",
            registry=self.registry,
        )
        self._requests = Histogram(
            "pushrod_http_request_seconds",
            "Requests until their answer was made or, where it is streamed, had ended. Polls and "
            "followed logs are held on purpose.",
            ["method", "route", "status"],
            buckets=_REQUESTS,
            registry=self.registry,
        )

    def deleted(self, kind: str, count: int, size: int) -> None:
        """`kind`: of DELETED_KINDS; `size` in bytes."""
        self._deleted.labels(kind).inc(count)
        self._deleted_bytes.labels(kind).inc(size)

    def retention_looked(self, now: datetime, seconds: float) -> None:
        self._looked_at.set(now.timestamp())
        self._look_seconds.set(seconds)

    def retention_failed(self) -> None:
        self._looks_failed.inc()

    def step_began(self, step: Step, now: datetime) -> None:
        if step.ready_at is not None:
            self.step_waited(max((now - step.ready_at).total_seconds(), 0.0))

    def step_waited(self, seconds: float) -> None:
        self._waits.observe(seconds)

    def attempt_ended(self, verdict: Verdict) -> None:
        self.attempts_ended("lost" if verdict.lost else verdict.attempt.value, 1)

    def attempts_ended(self, outcome: str, times: int) -> None:
        self._attempts.labels(outcome).inc(times)

    def build_ended(self, build_id: str, project_id: str, state: BuildState) -> None:
        known = {one for one, _ in self.builds}
        is_told = project_id in known or len(known) < MAX_PROJECTS
        self.builds[project_id if is_told else None, state] += 1

    def log_stored(self, size: int) -> None:
        self._log_bytes.inc(size)

    def message_tried(self, recipient: str, outcome: str) -> None:
        self._messages.labels(recipient, outcome).inc()

    def database_used(self, kind: str, seconds: float) -> None:
        self._database.labels(kind).observe(seconds)

    def objects_used(self, operation: str, seconds: float) -> None:
        self._objects.labels(operation).observe(seconds)

    def request_answered(self, method: str, route: str, status: int, seconds: float) -> None:
        self._requests.labels(method, route, str(status)).observe(seconds)
