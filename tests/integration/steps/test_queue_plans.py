"""A step is handed out by the index of the queue, however short PostgreSQL believes it to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from coordinator.domain.steps.scheduling import WaitingAgent, suits
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.postgresql import PostgresPlace
from coordinator.storage.steps import queue as stored
from tests.empty_database import kept_by, put_empty_database
from tests.integration.core_fixture import open_core, step_of
from tests.integration.postgres_plans import Plans
from tests.integration.statements import collected
from tests.postgres_server import PostgresServer

STEPS = 600
AGENT = WaitingAgent(agent_id="a", account_id=None, labels={}, free=1)


@pytest.mark.parametrize("counted", [False, True])
async def test_a_round_reads_one_row_of_a_queue(
    counted: bool, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """`counted`: by ANALYZE. Else the planner believes what it believes of a new table."""
    with kept_by(postgres_server):
        place = put_empty_database(tmp_path)
        assert isinstance(place, PostgresPlace)
        assert await _faults(tmp_path, place, postgres_server, counted=counted) == []


async def _faults(
    folder: Path, place: PostgresPlace, server: PostgresServer, *, counted: bool
) -> list[str]:
    async with open_core(folder) as tested:
        for name in ("one", "two"):
            project = await tested.new_project(name)
            await tested.new_build(project, *(step_of(f"s{n}") for n in range(STEPS)))
        if counted:
            server.execute("ANALYZE", place.name)

        async def hand_out(connection: AsyncConnection) -> None:
            queues = await stored.waiting_queues(connection, lambda one: suits(one, AGENT))
            assert len(queues) == 2
            for queue in queues:
                assert await stored.offer_next(connection, queue, "agent:a")

        with collected() as sent:
            await tested.core.database.write(hand_out)
    sent = [one for one in sent if "steps" in one[0]]
    assert len(sent) == 4  # classes, queues, and a step of each
    plans = Plans(place)
    try:
        return [f"{fault}: {one[0]}" for one in sent for fault in plans.faults(*one)]
    finally:
        plans.close()
