"""What whoever pushes is told."""

from __future__ import annotations


def remote_lines(errors: str) -> list[str]:
    lines = [line.strip() for line in errors.splitlines() if line.startswith("remote: ")]
    return [line.removeprefix("remote: ") for line in lines]
