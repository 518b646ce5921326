"""How long the torture lasts: short in `make test`, long in `make torture`."""

from __future__ import annotations

import os


def by_length(*, short: int, long: int) -> int:
    return long if os.environ.get("PUSHROD_TORTURE") == "long" else short
