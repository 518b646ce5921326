"""Secrets in reports, which are shown to more people than the files themselves: as in logs, they
become `***`, in each spelling that usual programs give them. Texts are masked before they are
shortened, so that no piece of a secret is left at a cut."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coordinator.domain.results.values import Summary
from pipelines_schema.masking import Masker


def hidden_in_summary(summary: Summary, masker: Masker) -> Summary:
    return [_hidden_in(node, masker) for node in summary]


def _hidden_in(node: Mapping[str, Any] | str, masker: Masker) -> Mapping[str, Any] | str:
    if isinstance(node, str):
        return masker.hide(node)
    changed = {**node, "children": hidden_in_summary(node["children"], masker)}
    if "href" in node:
        changed["href"] = masker.hide(node["href"])
    return changed
