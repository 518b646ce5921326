"""How many steps the descriptors of this process allow, and what a lack of them looks like."""

from __future__ import annotations

import errno
import resource

OF_THE_AGENT = 32
"""Its poll and renewals, journal, engine."""
OF_A_STEP = 16
"""Pipes, spool, connections for log and artifacts, and what copying and removing takes."""
LACKING = (
    "The agent ran out of descriptors under the step: give it more (`ulimit -n`, LimitNOFILE=) or "
    "fewer --slots."
)


def slots_allowed(limit: int) -> int:
    """One at least: it may well do with less."""
    return max(1, (limit - OF_THE_AGENT) // OF_A_STEP)


def descriptor_limit() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def are_lacking(error: BaseException) -> bool:
    """Whether that is what an error, or what caused it, says."""
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, OSError) and cause.errno in (errno.EMFILE, errno.ENFILE):
            return True
        seen.add(id(cause))
        cause = cause.__cause__
    return False
