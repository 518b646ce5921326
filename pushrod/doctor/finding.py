"""What a check found, and what mends it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum


class Verdict(Enum):
    """WARN: something is left out or soon will fail; FAIL: pushrod can't work like this."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`remedy` is the exact command, or the sentence where no command can do it."""

    name: str
    verdict: Verdict
    says: str
    remedy: str | None = None


def ok(name: str, says: str) -> Finding:
    return Finding(name=name, verdict=Verdict.OK, says=says)


def warn(name: str, says: str, remedy: str | None = None) -> Finding:
    return Finding(name=name, verdict=Verdict.WARN, says=says, remedy=remedy)


def fail(name: str, says: str, remedy: str) -> Finding:
    return Finding(name=name, verdict=Verdict.FAIL, says=says, remedy=remedy)


def is_fit(findings: Sequence[Finding]) -> bool:
    """Whether nothing failed."""
    return all(finding.verdict is not Verdict.FAIL for finding in findings)


def finding_json(finding: Finding) -> dict[str, object]:
    """What is absent is left out."""
    fields = {**asdict(finding), "verdict": finding.verdict.value}
    return {name: value for name, value in fields.items() if value is not None}
