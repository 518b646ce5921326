"""Secrets in reports, which are shown to more people than the files themselves: as in logs, they
become `***`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from coordinator.domain.results.values import Summary, TestResult

MASK = "***"
MIN_CHARACTERS = 3
"""Shorter ones would hide half of the text and protect nothing."""


def without(text: str, hidden: Sequence[str]) -> str:
    """As they are; what tools make of one is not looked for, as it is in logs."""
    for secret in sorted(hidden, key=len, reverse=True):
        for form in (secret, secret.strip()):
            if len(form) >= MIN_CHARACTERS:
                text = text.replace(form, MASK)
    return text


def hidden_in_test(test: TestResult, hidden: Sequence[str]) -> TestResult:
    def optional(text: str | None) -> str | None:
        return None if text is None else without(text, hidden)

    return replace(
        test,
        suite=without(test.suite, hidden),
        name=without(test.name, hidden),
        message=optional(test.message),
        details=optional(test.details),
        file=optional(test.file),
    )


def hidden_in_summary(summary: Summary, hidden: Sequence[str]) -> Summary:
    return [_hidden_in(node, hidden) for node in summary]


def _hidden_in(node: Mapping[str, Any] | str, hidden: Sequence[str]) -> Mapping[str, Any] | str:
    if isinstance(node, str):
        return without(node, hidden)
    changed = {**node, "children": hidden_in_summary(node["children"], hidden)}
    if "href" in node:
        changed["href"] = without(node["href"], hidden)
    return changed
