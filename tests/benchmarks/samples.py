"""How measured values are told."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

HEADINGS = ("what", "measured", "floor of this run", "ratio", "to hold")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table."""

    what: str
    measured: str
    floor: str = ""
    ratio: str = ""
    to_hold: str = ""
    exceeded: str = ""
    """What is too much, of the counts and processor times that hold on any machine."""

    @property
    def cells(self) -> tuple[str, ...]:
        return (self.what, self.measured, self.floor, self.ratio, self.to_hold)


def quantiles(seconds: Sequence[float]) -> str:
    """`41 ms median, 63 p95, 70 worst (n=20)`."""
    ordered = sorted(seconds)
    p95 = ordered[math.ceil(0.95 * len(ordered)) - 1]
    return (
        f"{statistics.median(ordered) * 1000:.0f} ms median, {p95 * 1000:.0f} p95, "
        f"{ordered[-1] * 1000:.0f} worst (n={len(ordered)})"
    )


def over_floor(what: str, ours: Sequence[float], floor: Sequence[float], *, to_hold: str) -> Row:
    """Ours beside the floor of the same run."""
    median, least = statistics.median(ours), statistics.median(floor)
    return Row(
        what=what,
        measured=quantiles(ours),
        floor=quantiles(floor),
        ratio=f"{median / least:.2f} (+{(median - least) * 1000:.0f} ms)",
        to_hold=to_hold,
    )


def table(rows: Sequence[Row]) -> str:
    """Markdown, aligned, so that it reads in a terminal as well as in docs/performance.md."""
    lines = [HEADINGS, *(row.cells for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    texts = [
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([texts[0], rule, *texts[1:]])
