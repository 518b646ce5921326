from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from coordinator.domain.steps.demand import WaitingSteps, demand
from coordinator.domain.steps.scheduling import QueueClass, WaitingAgent, queue_class_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LINUX = {"os": "linux"}


def waiting(
    count: int,
    labels: Mapping[str, str] | None = None,
    *,
    needs: tuple[str, ...] = (),
    account: str = "acme",
    project: str = "shop",
    seconds: float = 0.0,
) -> WaitingSteps:
    labels = labels or {}
    wants = QueueClass(
        id=queue_class_of(account, labels, needs), account_id=account, labels=labels, needs=needs
    )
    oldest = NOW - timedelta(seconds=seconds)
    return WaitingSteps(wants=wants, project_id=project, count=count, oldest=oldest)


def agent(
    free: int, *, account: str | None = None, paused: bool = False, os: str = "linux"
) -> WaitingAgent:
    return WaitingAgent(
        agent_id=f"agent{free}", account_id=account, labels={"os": os}, free=free, paused=paused
    )


def test_steps_are_counted_by_what_they_want_whatever_account_they_are_of() -> None:
    found = demand(
        [
            waiting(2, LINUX, seconds=10),
            waiting(3, LINUX, account="other", project="blog", seconds=30),
            waiting(1),
            waiting(4, LINUX, needs=("imageBuilds",)),
        ],
        [],
        {},
    )
    assert [(one.waiting, dict(one.labels), list(one.needs)) for one in found] == [
        (5, LINUX, []),
        (4, LINUX, ["imageBuilds"]),
        (1, {}, []),
    ]
    assert found[0].oldest == NOW - timedelta(seconds=30)


def test_no_agent_is_wanted_for_what_its_project_may_not_run() -> None:
    steps = [waiting(5, {"os": "a"}, seconds=2), waiting(5, {"os": "b"}, seconds=1)]
    found = demand(steps, [], {"shop": 3}, most_of_a_project=10)
    assert [(one.waiting, dict(one.labels)) for one in found] == [
        (5, {"os": "a"}),
        (2, {"os": "b"}),
    ]
    assert demand(steps, [], {"shop": 10}, most_of_a_project=10) == []


def test_free_slots_are_those_of_agents_that_would_take_them() -> None:
    agents = [agent(2), agent(4, account="other"), agent(8, paused=True), agent(16, os="plan9")]
    [one] = demand([waiting(3, LINUX)], agents, {})
    assert one.free_slots == 2
