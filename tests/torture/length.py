"""How long the torture lasts: short in `make test`, long in `make torture`, or as it is asked for.

`PUSHROD_TORTURE_KILLS=100 PUSHROD_TORTURE_SEED=7` has a hundred kills by the dice of the number 7.
"""

from __future__ import annotations

import os
import random


def by_length(*, short: int, long: int) -> int:
    return long if os.environ.get("PUSHROD_TORTURE") == "long" else short


def kills() -> int:
    return int(os.environ.get("PUSHROD_TORTURE_KILLS", 0)) or by_length(short=12, long=300)


def seed() -> int:
    """Another one each time, unless one is given."""
    return int(os.environ.get("PUSHROD_TORTURE_SEED", random.randrange(10**6)))
