"""What is known of a queue once several of its steps were begun at a time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from coordinator.domain.steps.scheduling import Queue, QueueClass, WaitingAgent
from coordinator.services.steps.queue_loop import Came, _begin_of, _Round

QUEUE = Queue(
    wants=QueueClass(id="class", account_id="default", labels={}),
    project_id="project",
    oldest=datetime(2026, 1, 1, tzinfo=UTC),
)


class Begins:
    def __init__(self, *came: Came) -> None:
        self._came = iter(came)

    async def begin(self, queue: Queue, agent: WaitingAgent) -> Came:
        return next(self._came)


def agents(count: int) -> list[WaitingAgent]:
    return [
        WaitingAgent(agent_id=str(number), account_id=None, labels={}, free=1)
        for number in range(count)
    ]


@pytest.mark.parametrize("is_first", [False, True])
async def test_what_is_to_be_offered_is_offered_whoever_found_nothing_beside_it(
    is_first: bool,
) -> None:
    """It may have become ready, or been let go by another coordinator, in between."""
    last = [Came.TO_BE_OFFERED, Came.NONE_LEFT]
    begins = Begins(Came.BEGUN, Came.BEGUN, *(last if is_first else reversed(last)))
    given, end = await _begin_of(begins, QUEUE, agents(6))
    assert ([agent.agent_id for agent in given], end) == (["0", "1"], Came.TO_BE_OFFERED)


def test_what_is_to_be_offered_is_offered_to_polls_that_still_wait() -> None:
    """Of those that were given something the answer is on its way."""
    one, other = (
        WaitingAgent(agent_id=name, account_id=None, labels={}, free=2, process=name)
        for name in ("one", "other")
    )
    begins = replace(QUEUE, project_id="begins")
    round_ = _Round([QUEUE, begins], [one, other], {}, None)
    round_.note(begins, [one], Came.NONE_LEFT)
    round_.note(QUEUE, [], Came.TO_BE_OFFERED)
    assert round_.assigned() == []
    assert round_.to_offer() == ([QUEUE], [other])
