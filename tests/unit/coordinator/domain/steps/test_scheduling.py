"""Which waiting poll gets a step of which queue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from coordinator.domain.steps.scheduling import (
    Queue,
    QueueClass,
    WaitingAgent,
    assign,
    queue_class_of,
)

START = datetime(2026, 1, 1, tzinfo=UTC)


def queue(project: str = "p", account: str = "acme", *, at: int = 0, **labels: str) -> Queue:
    return Queue(
        wants=QueueClass(id=queue_class_of(account, labels, []), account_id=account, labels=labels),
        project_id=project,
        oldest=START + timedelta(seconds=at),
    )


def agent(
    id_: str, free: int = 1, *, account: str | None = None, warm: Sequence[str] = (), **labels: str
) -> WaitingAgent:
    return WaitingAgent(
        agent_id=id_, account_id=account, labels=labels, free=free, warm=frozenset(warm)
    )


def pairs(
    queues: Sequence[Queue],
    agents: Sequence[WaitingAgent],
    busy: Mapping[str, int] | None = None,
    most: int | None = None,
) -> list[tuple[str, str]]:
    """Project and agent, in the order in which they were chosen."""
    found = assign(queues, agents, busy or {}, most_of_a_project=most)
    return [(each.queue.project_id, each.agent_id) for each in found]


def test_no_agent_gets_more_than_its_free_slots() -> None:
    given = pairs([queue()], [agent("a", 2), agent("b", 0), agent("c", 3)])
    assert Counter(id_ for _, id_ in given) == {"a": 2, "c": 3}


def test_an_agent_of_any_label_takes_steps_of_each() -> None:
    wanting = queue(os="debian", gpu="yes")
    assert pairs([wanting], [agent("a", **{"*": "*"})]) == [("p", "a")]
    assert pairs([wanting], [agent("a", os="*", gpu="*")]) == []


def test_a_project_with_less_running_goes_before_one_with_older_steps() -> None:
    queues = [queue("loud", at=0), queue("quiet", at=9)]
    assert pairs(queues, [agent("a")], {"loud": 1}) == [("quiet", "a")]
    assert pairs(queues, [agent("a")]) == [("loud", "a")]


def test_projects_share_the_slots_however_much_of_each_waits() -> None:
    queues = [queue("flood", at=0), queue("other", at=1000)]
    given = pairs(queues, [agent("a", 5), agent("b", 5)])
    assert Counter(project for project, _ in given) == {"flood": 5, "other": 5}


def test_each_of_many_projects_gets_a_slot_before_one_gets_two() -> None:
    queues = [queue(f"p{n}", at=n) for n in range(40)]
    given = pairs(queues, [agent("a", 40)])
    assert len({project for project, _ in given}) == 40


def test_what_a_project_has_running_counts_in_all_its_queues() -> None:
    queues = [queue("p", at=0), queue("p", at=1, os="linux"), queue("q", at=2)]
    given = pairs(queues, [agent("a", 2, os="linux")])
    assert [project for project, _ in given] == ["p", "q"]


def test_a_project_at_its_limit_gets_nothing_more() -> None:
    queues = [queue("p"), queue("q", at=1)]
    assert pairs(queues, [agent("a", 9)], {"p": 1}, most=2) == [
        ("q", "a"),
        ("p", "a"),
        ("q", "a"),
    ]


def test_an_agent_needs_all_labels_of_a_step() -> None:
    wanted = queue(os="linux", cpu="arm")
    assert pairs([wanted], [agent("a", os="linux")]) == []
    assert pairs([wanted], [agent("a", os="linux", cpu="x86")]) == []
    assert pairs([wanted], [agent("b", os="linux", cpu="arm", disk="big")]) == [("p", "b")]


def test_an_agent_needs_the_capabilities_of_a_step() -> None:
    wants = QueueClass(id="x", account_id="acme", labels={}, needs=["imageBuilds"])
    wanted = Queue(wants=wants, project_id="p", oldest=START)
    able = WaitingAgent(
        agent_id="able",
        account_id=None,
        labels={},
        free=1,
        capabilities=frozenset({"imageBuilds", "more"}),
    )
    assert pairs([wanted], [agent("a"), able]) == [("p", "able")]


def test_a_queue_that_nobody_suits_holds_up_no_other() -> None:
    queues = [queue("unfit", at=0, os="plan9"), queue("fit", at=1)]
    assert pairs(queues, [agent("a", 2)]) == [("fit", "a"), ("fit", "a")]


def test_an_agent_of_an_account_gets_only_its_steps() -> None:
    foreign = queue(account="other")
    assert pairs([foreign], [agent("a", account="acme")]) == []
    assert pairs([foreign], [agent("a", account=None)]) == [("p", "a")]
    assert pairs([foreign], [agent("a", account="other")]) == [("p", "a")]


def test_an_agent_that_has_the_source_is_preferred_to_one_with_more_slots() -> None:
    agents = [agent("big", 8), agent("warm", 1, warm=["p"])]
    assert [id_ for _, id_ in pairs([queue()], agents)][:2] == ["warm", "big"]


def test_an_agent_that_has_the_source_but_does_not_suit_is_not_preferred() -> None:
    agents = [agent("fit", os="linux"), agent("warm", 1, warm=["p"])]
    assert pairs([queue(os="linux")], agents) == [("p", "fit")]


def test_without_a_warm_agent_the_one_with_the_most_free_slots_is_taken() -> None:
    given = [id_ for _, id_ in pairs([queue()], [agent("a", 1), agent("b", 3)])]
    assert given[:2] == ["b", "b"]
    assert Counter(given) == {"a": 1, "b": 3}


@pytest.mark.parametrize("agents", [[], [agent("a", 0)]])
def test_nothing_is_given_to_nobody(agents: list[WaitingAgent]) -> None:
    assert pairs([queue()], agents) == []


def test_steps_are_of_one_class_if_the_same_agents_suit_them() -> None:
    one = queue_class_of("acme", {"a": "1", "b": "2"}, ["x", "y"])
    assert one == queue_class_of("acme", {"b": "2", "a": "1"}, ["y", "x"])
    others = [
        queue_class_of("other", {"a": "1", "b": "2"}, ["x", "y"]),
        queue_class_of("acme", {"a": "1"}, ["x", "y"]),
        queue_class_of("acme", {"a": "1", "b": "2"}, ["x"]),
        queue_class_of("acme", {"a": "2", "b": "1"}, ["x", "y"]),
    ]
    assert len({one, *others}) == 5
