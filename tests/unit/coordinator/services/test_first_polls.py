"""How long an agent's polls are held."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from coordinator.domain.steps.hand_outs import HandOuts
from coordinator.domain.steps.scheduling import WaitingAgent
from coordinator.services.steps.polls import Polls
from coordinator.services.steps.presence import Presence


def nothing() -> None: ...


def test_a_first_poll_has_a_length_of_its_own_and_later_ones_all_the_same() -> None:
    chances = iter((0.0, 0.5, 0.999))
    core: Any = SimpleNamespace(settings=SimpleNamespace(poll_hold_seconds=50.0))
    presence = Presence(lambda: 0.0)
    polls = Polls(
        core,
        HandOuts(accept_seconds=5),
        presence,
        lambda: 0.0,
        wake=nothing,
        moved=nothing,
        chance=lambda: next(chances),
    )
    held = [polls._hold_seconds(agent_id) for agent_id in ("a", "b", "c")]
    assert [round(seconds) for seconds in held] == [10, 30, 50]
    presence.says(WaitingAgent(agent_id="a", account_id=None, labels={}, free=1))
    assert polls._hold_seconds("a") == 50
