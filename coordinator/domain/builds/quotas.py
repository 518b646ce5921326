"""How much one project may hold of what all projects share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    queued_builds: int
    waiting_steps: int
    stored_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    queued_builds: int
    """Those that wait for an approval, too."""
    waiting_steps: int
    stored_bytes: int


def refusal(usage: Usage, quotas: Quotas, *, new_steps: int, held: bool) -> str | None:
    """Why the project gets no further build; None where it does.

    Outsiders can make builds that are held for approval: those get no more than half of the room,
    so that the project's own always have the other.
    """
    share = 2 if held else 1
    if usage.stored_bytes >= quotas.stored_bytes:
        return no_bytes_left(usage.stored_bytes, quotas.stored_bytes)
    if usage.queued_builds >= quotas.queued_builds // share:
        return (
            f"{usage.queued_builds} builds of the project wait already, and "
            f"{quotas.queued_builds // share} may: cancel some, wait, or raise "
            "project_max_queued_builds"
        )
    return too_many_steps(usage, quotas.waiting_steps // share, new_steps)


def too_many_steps(usage: Usage, limit: int, new_steps: int) -> str | None:
    if usage.waiting_steps + new_steps <= limit:
        return None
    return (
        f"{usage.waiting_steps} steps of the project wait already, {new_steps} would come, "
        f"and {limit} may wait: cancel builds, wait, or raise project_max_waiting_steps"
    )


def no_bytes_left(stored: int, limit: int) -> str:
    return (
        f"the project's artifacts and logs have {stored} bytes, and may have {limit}: delete old "
        "builds, or raise project_max_stored_bytes"
    )
