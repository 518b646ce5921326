"""How values are written down as JSON: what is absent is left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def listed(texts: tuple[str, ...] | None) -> list[str] | None:
    return None if texts is None else list(texts)


def texts(value: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    return tuple(value[name]) if name in value else None


def without_absent(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
