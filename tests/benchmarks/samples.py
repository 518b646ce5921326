"""How measured values are told."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def quantiles(seconds: Sequence[float]) -> str:
    """`median 41 ms, p95 63 ms, worst 70 ms (n=20)`."""
    ordered = sorted(seconds)
    p95 = ordered[math.ceil(0.95 * len(ordered)) - 1]
    figures = {"median": statistics.median(ordered), "p95": p95, "worst": ordered[-1]}
    text = ", ".join(f"{name} {value * 1000:.0f} ms" for name, value in figures.items())
    return f"{text} (n={len(ordered)})"
