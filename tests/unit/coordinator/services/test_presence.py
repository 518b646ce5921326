"""Which agents are there."""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.domain.steps.scheduling import WaitingAgent
from coordinator.services.steps.presence import (
    FORGOTTEN_AFTER_SECONDS,
    ONLINE_SECONDS,
    WRITTEN_EVERY_SECONDS,
    Presence,
)


@dataclass(slots=True)
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def agent(id_: str) -> WaitingAgent:
    return WaitingAgent(agent_id=id_, account_id=None, labels={}, free=1)


def test_an_agent_is_online_until_it_was_silent_for_too_long() -> None:
    clock = Clock()
    presence = Presence(clock)
    presence.says(agent("a"))
    clock.now = ONLINE_SECONDS - 1
    assert presence.is_online("a")
    assert [one.agent_id for one in presence.online()] == ["a"]
    clock.now = ONLINE_SECONDS
    assert (presence.is_online("a"), presence.online()) == (False, [])


def test_an_agent_that_left_is_offline_at_once() -> None:
    presence = Presence(Clock())
    presence.says(agent("a"))
    presence.left("a")
    assert (presence.is_online("a"), presence.online()) == (False, [])


def test_a_process_may_speak_after_a_goodbye() -> None:
    presence = Presence(Clock())
    presence.heard("a")
    presence.left("a")
    assert presence.is_only_process("a", "one")


def test_agents_that_register_anew_again_and_again_do_not_pile_up() -> None:
    clock = Clock()
    presence = Presence(clock)
    for number in range(1000):
        clock.now += FORGOTTEN_AFTER_SECONDS
        presence.says(agent(f"a{number}"))
    assert len(presence._heard) <= 2


def test_the_database_is_told_seldom() -> None:
    clock = Clock()
    presence = Presence(clock)
    told = 0
    for _ in range(int(2 * WRITTEN_EVERY_SECONDS)):
        clock.now += 1
        presence.heard("a")
        told += presence.is_to_be_written("a")
    assert told == 2


def test_a_new_process_takes_the_place_of_an_old_one_and_twins_are_told_apart() -> None:
    presence = Presence(Clock())
    presence.heard("a")
    assert [presence.is_only_process("a", one) for one in ("1", "1", "2", "2", "3")] == [True] * 5
    assert not presence.is_only_process("a", "2"), "an earlier one speaks: both live"
    assert not presence.is_only_process("a", "3")
