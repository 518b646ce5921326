"""How long other systems' limits are, as durations of ours. Pure."""

from __future__ import annotations

import re

_PART = re.compile(r"\s*([0-9]{1,5})\s*([a-z]*)\s*(?:and)?\s*")
_UNITS = {
    **dict.fromkeys(("d", "day", "days"), "d"),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("", "m", "min", "mins", "minute", "minutes"), "m"),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "s"),
}
_ORDER = "dhms"


def duration(text: str) -> str | None:
    """`1 hour 30 minutes` → `1h30m`; None where it is none. A number alone is minutes."""
    found: dict[str, str] = {}
    position = 0
    lowered = text.strip().lower()
    while position < len(lowered):
        match = _PART.match(lowered, position)
        unit = _UNITS.get(match[2]) if match else None
        if match is None or unit is None or unit in found:
            return None
        found[unit] = match[1]
        position = match.end()
    return "".join(found[unit] + unit for unit in _ORDER if unit in found) or None
