"""What every step run of an agent works with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from agent import descriptors
from agent.attempt_spans import AttemptSpans
from agent.cache_keys import CacheKeys
from agent.coordinator_client import CoordinatorClient
from agent.engines.protocol import Engine
from agent.journal import Journal
from agent.journal_entries import Report
from agent.kept_artifacts import KeptArtifacts
from agent.sources import Sources
from agent.step_reports import LOST
from agent.watchdog import Watchdog
from pipelines_schema.contract import NextStep, StepSpec
from pipelines_schema.spans import Emit


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    client: CoordinatorClient
    engine: Engine
    journal: Journal
    sources: Sources
    kept: KeptArtifacts
    cache_keys: CacheKeys
    watchdog: Watchdog | None
    """For an engine that ends no attempt at its term itself."""
    engine_lost: Callable[[], None]
    """Called when the engine went away under a step: no new work until it is back."""
    sign_in_again: Callable[[str], Awaitable[None]]
    """Called with the agent's own credential when that is refused; returns when there is a new
    one, or soon."""
    wants_next: Callable[[], NextStep | None]
    """Whether the slot of a step that is over may be given another at once."""
    take_next: Callable[[StepSpec, float, str], Awaitable[bool]]
    """Begin a step that came with the answer to a completion, which was sent then (boot clock) and
    with that credential; whether it has begun."""

    emit: Emit | None = None
    """Takes the spans of attempts; None where nobody asked for them."""

    def spans(self, spec: StepSpec) -> AttemptSpans:
        return AttemptSpans(spec, self.emit)

    def report_lacking(self, error: Exception) -> Report | None:
        """The report, if descriptors ran out: no new work until the engine is seen to answer."""
        if not descriptors.are_lacking(error):
            return None
        self.engine_lost()
        return replace(LOST, message=descriptors.LACKING)
