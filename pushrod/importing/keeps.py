"""How long others keep artifacts, as a `keep` of ours."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pushrod.importing.draft import Value

_UNITS = {
    "s": 1,
    "sec": 1,
    "second": 1,
    "m": 60,
    "min": 60,
    "minute": 60,
    "h": 3600,
    "hr": 3600,
    "hour": 3600,
    "d": 86_400,
    "day": 86_400,
    "w": 7 * 86_400,
    "wk": 7 * 86_400,
    "week": 7 * 86_400,
    "mo": 30 * 86_400,
    "mth": 30 * 86_400,
    "month": 30 * 86_400,
    "y": 365 * 86_400,
    "yr": 365 * 86_400,
    "year": 365 * 86_400,
}
_PART = re.compile(r"([0-9]{1,6})\s*([a-z]*)[\s,]*(?:and\s+)?")
_OURS = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


def kept_for(text: str) -> str | None:
    """`1 week`, `2h20min` or seconds; None for what is no such time, or shorter than a minute."""
    left, seconds = text.strip().lower(), 0
    while left:
        found = _PART.match(left)
        if found is None:
            return None
        count, unit = found.groups()
        size = _UNITS.get(unit) or _UNITS.get(unit.removesuffix("s")) or (0 if unit else 1)
        if not size:
            return None
        seconds += int(count) * size
        left = left[found.end() :]
    if not 60 <= seconds <= 36_500 * 86_400:
        return None
    words = ""
    for unit, size in _OURS:
        words += f"{seconds // size}{unit}" if seconds >= size else ""
        seconds %= size
    return words


def is_among(path: str, outputs: Sequence[Value]) -> bool:
    """Whether the path is one of these outputs, with or without a `keep`."""
    return any(path == (one.get("path") if isinstance(one, dict) else one) for one in outputs)


def output(path: str, keep: str | None) -> Value:
    return path if keep is None else {"path": path, "keep": keep}
