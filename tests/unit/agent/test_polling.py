"""From when the lease of a step counts that came begun with the answer to a poll."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from agent.polling import Polling, _Sent
from pipelines_schema.contract import LeaseRef, PollResponse


async def test_it_counts_from_when_the_poll_was_sent_and_as_much_more_as_it_was_held() -> None:
    """However long the answer was on its way: the coordinator's lease began before."""
    taken: list[Any] = []

    async def take_begun(*given: Any) -> None:
        taken.append(given)

    polling = Polling.__new__(Polling)
    polling._intake = SimpleNamespace(take_begun=take_begun)  # type: ignore[assignment]
    begun = [LeaseRef(step_id="s", epoch=1)]
    answer = PollResponse(begun=begun, held_seconds=7.5)
    await polling._take_begun(answer, _Sent(at=100.0, credential="its own"))
    assert taken == [(begun, 107.5, "its own")]
