"""Which waiting poll gets which ready step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from coordinator.domain.scheduling import ReadyStep, WaitingAgent, assign

START = datetime(2026, 1, 1, tzinfo=UTC)


def step(
    id_: str, project: str = "p", account: str = "acme", *, at: int = 0, **labels: str
) -> ReadyStep:
    return ReadyStep(
        id=id_,
        project_id=project,
        account_id=account,
        labels=labels,
        ready_at=START + timedelta(seconds=at),
        position=0,
    )


def agent(
    id_: str, free: int = 1, *, account: str | None = None, warm: Sequence[str] = (), **labels: str
) -> WaitingAgent:
    return WaitingAgent(
        agent_id=id_, account_id=account, labels=labels, free=free, warm=frozenset(warm)
    )


def pairs(
    steps: Sequence[ReadyStep],
    agents: Sequence[WaitingAgent],
    busy: Mapping[str, int] | None = None,
) -> dict[str, str]:
    found = assign(steps, agents, busy or {})
    assert len({each.step_id for each in found}) == len(found), "a step was given twice"
    return {each.step_id: each.agent_id for each in found}


def test_the_oldest_step_of_a_project_goes_first() -> None:
    assert pairs([step("late", at=2), step("early", at=1)], [agent("a")]) == {"early": "a"}


def test_steps_that_became_ready_together_go_in_the_order_of_the_workflow() -> None:
    steps = [
        ReadyStep(id=id_, project_id="p", account_id="x", labels={}, ready_at=START, position=n)
        for id_, n in (("second", 1), ("first", 0))
    ]
    assert pairs(steps, [agent("a")]) == {"first": "a"}


def test_no_agent_gets_more_than_its_free_slots() -> None:
    given = pairs([step(str(n)) for n in range(10)], [agent("a", 2), agent("b", 0), agent("c", 3)])
    assert Counter(given.values()) == {"a": 2, "c": 3}


def test_a_project_with_less_running_goes_before_one_with_older_steps() -> None:
    steps = [step("loud", "loud", at=0), step("quiet", "quiet", at=9)]
    assert pairs(steps, [agent("a")], {"loud": 1}) == {"quiet": "a"}
    assert pairs(steps, [agent("a")]) == {"loud": "a"}


def test_a_flood_of_one_project_leaves_half_of_the_slots_to_another() -> None:
    flood = [step(f"flood{n}", "flood", at=n) for n in range(100)]
    other = [step(f"other{n}", "other", at=1000 + n) for n in range(100)]
    given = pairs(flood + other, [agent("a", 5), agent("b", 5)])
    assert Counter(id_[:5] for id_ in given) == {"flood": 5, "other": 5}


def test_an_agent_needs_all_labels_of_a_step() -> None:
    wanted = step("s", os="linux", cpu="arm")
    assert pairs([wanted], [agent("a", os="linux")]) == {}
    assert pairs([wanted], [agent("a", os="linux", cpu="x86")]) == {}
    assert pairs([wanted], [agent("b", os="linux", cpu="arm", disk="big")]) == {"s": "b"}


def test_a_step_that_nobody_can_run_holds_up_no_other() -> None:
    steps = [step("unfit", at=0, os="plan9"), step("fit", at=1), step("fit too", at=2)]
    assert pairs(steps, [agent("a", 2)]) == {"fit": "a", "fit too": "a"}


def test_an_agent_of_an_account_gets_only_its_steps() -> None:
    foreign = step("s", account="other")
    assert pairs([foreign], [agent("a", account="acme")]) == {}
    assert pairs([foreign], [agent("a", account=None)]) == {"s": "a"}
    assert pairs([foreign], [agent("a", account="other")]) == {"s": "a"}


def test_an_agent_that_has_the_source_is_preferred_to_one_with_more_slots() -> None:
    agents = [agent("big", 8), agent("warm", 1, warm=["p"])]
    assert pairs([step("s")], agents) == {"s": "warm"}
    assert pairs([step("s"), step("t")], agents) == {"s": "warm", "t": "big"}


def test_without_a_warm_agent_the_one_with_the_most_free_slots_is_taken() -> None:
    given = pairs([step(str(n)) for n in range(4)], [agent("a", 1), agent("b", 3)])
    assert Counter(given.values()) == {"a": 1, "b": 3}


@pytest.mark.parametrize("agents", [[], [agent("a", 0)]])
def test_nothing_is_given_to_nobody(agents: list[WaitingAgent]) -> None:
    assert pairs([step("s")], agents) == {}
