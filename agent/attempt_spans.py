"""The parts of an attempt as spans below the coordinator's own, where both sides want them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pipelines_schema.contract import StepSpec
from pipelines_schema.spans import Emit, Span, read_traceparent, span_of


@dataclass(frozen=True, slots=True)
class AttemptSpans:
    spec: StepSpec
    emit: Emit | None

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Tell of what happens in the block; it failed where the block raises."""
        began, failed = time.time_ns(), True
        try:
            yield
            failed = False
        finally:
            self._tell(name, began, failed)

    def _tell(self, name: str, began: int, failed: bool) -> None:
        parent = read_traceparent(self.spec.traceparent or "")
        if self.emit is None or parent is None:
            return
        attempt = f"{self.spec.step_id}-{self.spec.epoch}"
        self.emit(
            Span(
                name=name,
                trace_id=parent[0],
                span_id=span_of(name, attempt),
                parent_id=parent[1],
                began_ns=began,
                ended_ns=time.time_ns(),
                failed=failed,
                attributes={"pushrod.attempt.id": attempt, "pushrod.attempt": self.spec.attempt},
            )
        )
