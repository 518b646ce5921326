"""Sizes as people write them: `500MiB`, `2GiB`."""

from __future__ import annotations

import re

import click

UNITS = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}
_SIZE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(KiB|MiB|GiB|TiB)")


def parse_size(text: str, option: str) -> int:
    """In bytes. Raises BadParameter."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise click.BadParameter(
            f"write a number with its unit, such as 500MiB or 2GiB, not {text[:40]!r}",
            param_hint=option,
        )
    return int(float(found[1]) * UNITS[found[2]])


def shown_size(count: int) -> str:
    """With at most one digit behind the point: `1.5 GiB`, `0 B`."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if abs(count) >= UNITS[unit]:
            return f"{count / UNITS[unit]:.1f} {unit}"
    return f"{count} B"
