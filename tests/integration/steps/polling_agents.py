"""Agents that poll, and coordinators whose patience is short or long."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import Any

from tests.integration.coordinator_fixture import AgentCaller, Coordinator, eventually
from tests.integration.core_fixture import Clock

LEASE_SECONDS, ACCEPT_SECONDS = 1.5, 0.5
"""By a clock that tests move. Between two looks at it, one second of the real clock apart, it may
go on by no more than a coordinator may be away."""


SHORT = {
    "lease_seconds": LEASE_SECONDS,
    "accept_seconds": ACCEPT_SECONDS,
    "poll_hold_seconds": 10.0,
}


LONG = {"lease_seconds": 60.0, "accept_seconds": 30.0, "poll_hold_seconds": 15.0}


def pass_time(coordinator: Coordinator, seconds: float) -> None:
    assert isinstance(coordinator.clock, Clock)
    coordinator.clock.seconds += seconds


def holding(agent: AgentCaller, **request: Any) -> asyncio.Task[dict[str, Any]]:
    return asyncio.create_task(agent.poll(**request))


async def polled(coordinator: Coordinator, agent: AgentCaller) -> None:
    """Until the agent's poll is held: the first is after its coming was written down."""
    query = "SELECT last_seen_at > created_at FROM agents WHERE id = ?"

    async def is_written() -> bool:
        with closing(sqlite3.connect(coordinator.data / "pushrod.db")) as connection:
            return bool(connection.execute(query, (agent.agent_id,)).fetchone()[0])

    await eventually(is_written)
    # What a poll does before it waits a renewal does, too: these come later and are answered.
    for _ in range(3):
        await agent.renew()


async def states(coordinator: Coordinator, build: dict[str, Any]) -> dict[str, str]:
    shown = await coordinator.admin.build(build["id"])
    return {step["name"]: step["status"] for step in shown["steps"]}
