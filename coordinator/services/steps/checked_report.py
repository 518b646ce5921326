"""A completion on its way to the transaction that ends its attempt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from coordinator.domain.model import Step, attempt_id
from coordinator.domain.people.permissions import Principal
from coordinator.domain.steps.verdict import AttemptEnd
from coordinator.object_ports import LogDigest
from coordinator.services.outputs.results import Told
from coordinator.services.steps.generating import Generated
from pipelines_schema.contract import CompleteRequest, Completion, CompletionReason


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedReport:
    """A completion whose log was looked at."""

    principal: Principal
    step_id: str
    epoch: int
    request: CompleteRequest
    end: AttemptEnd
    log: LogDigest
    log_assumed: bool
    """It is taken for empty, and the transaction looks."""
    message: str | None
    outputs: Mapping[str, str]
    generated: Generated | None = None
    """By a step that generates others, once it was read."""
    reports: Told | None = None
    """What the step's own reports say, once they were read."""

    def has_unread(self, step: Step) -> bool:
        """Of an attempt that was lost there are none: what runs next reports."""
        wants = step.written.reports is not None and self.reports is None
        return wants and self.end.reason is not CompletionReason.LOST

    def with_reports(self, told: Told) -> CheckedReport:
        end = replace(self.end, failed_tests=told.sentence)
        lines = [line for line in (self.message or "").splitlines() if not _is_of_agent(line, told)]
        message = "\n".join([*lines, *map(str, map(storable, told.warnings))]) or None
        return replace(self, end=end, message=message, reports=told)

    def failed(self, fault: str | None) -> CheckedReport:
        """The script has succeeded, but not what it was to leave."""
        end = replace(self.end, status=Completion.FAILED, reason=CompletionReason.OUTPUTS)
        message = "\n".join(filter(None, [self.message, storable(fault)])) or None
        return replace(self, end=end, message=message)

    @property
    def log_id(self) -> str:
        return attempt_id(self.step_id, self.epoch)


def _is_of_agent(line: str, told: Told) -> bool:
    """An agent's note that outputs match nothing, which a warning says better."""
    pattern = line.removeprefix("outputPaths: nothing matches ")
    return line != pattern and any(one.endswith(f": {pattern}`") for one in told.warnings)


def storable(text: str | None) -> str | None:
    """NUL and half surrogate pairs, which no database stores, are replaced."""
    if text is None:
        return None
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
