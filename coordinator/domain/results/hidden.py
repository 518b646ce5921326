"""Secrets in reports, which are shown to more people than the files themselves: as in logs, they
become `***`, in each spelling that usual programs give them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from coordinator.domain.results.values import Summary, TestResult
from pipelines_schema.secret_forms import Family, families

MASK = b"***"


def forms_of(secrets: Iterable[str]) -> Sequence[Family]:
    """Longer ones first: one may stand within another."""
    return sorted(families(secrets), key=lambda family: len(family.forms[0]), reverse=True)


def without(text: str, hidden: Sequence[Family]) -> str:
    """`hidden` as `forms_of` gives them."""
    data = text.encode(errors="replace")
    found = [family for family in hidden if family.common in data]
    if not found:
        return text
    for family in found:
        data = family.longest.sub(MASK, data)
    return data.decode(errors="replace")


def hidden_in_test(test: TestResult, hidden: Sequence[Family]) -> TestResult:
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


def hidden_in_summary(summary: Summary, hidden: Sequence[Family]) -> Summary:
    return [_hidden_in(node, hidden) for node in summary]


def _hidden_in(node: Mapping[str, Any] | str, hidden: Sequence[Family]) -> Mapping[str, Any] | str:
    if isinstance(node, str):
        return without(node, hidden)
    changed = {**node, "children": hidden_in_summary(node["children"], hidden)}
    if "href" in node:
        changed["href"] = without(node["href"], hidden)
    return changed
