"""Steps that come begun with the answer to a poll, through a whole agent."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator

import pytest

from agent.coordinator_client import CoordinatorClient
from agent.coordinator_errors import CoordinatorUnavailableError
from agent.journal import Journal
from agent.journal_entries import Entry
from pipelines_schema.contract import CompleteRequest, CompleteResponse, Completion, StepSpec
from tests.integration.agent_bench import PATIENCE_SECONDS, Bench, ended, open_bench
from tests.quiet_time import quiet_seconds


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with open_bench() as bench:
        yield bench


def begins_of(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The attempts that an agent writes down, from now on."""
    begun: list[str] = []
    begin = Journal.begin

    def noted(journal: Journal, spec: StepSpec) -> Entry:
        begun.append(f"{spec.step_id}-{spec.epoch}")
        return begin(journal, spec)

    monkeypatch.setattr(Journal, "begin", noted)
    return begun


async def test_they_run_without_being_accepted(bench: Bench) -> None:
    steps = [bench.coordinator.add_begun(f"echo {number}") for number in range(6)]
    async with bench.agent(slots=2):
        for number, step in enumerate(steps):
            await ended(step)
            assert step.text == f"{number}\n"
    assert all(step.epoch == step.completions == 1 for step in steps)
    assert bench.coordinator.requests["accept"] == 0
    assert bench.journal == []


async def test_one_whose_answer_was_lost_comes_with_the_next(bench: Bench) -> None:
    bench.coordinator.lose_answers = 2
    step = bench.coordinator.add_begun("echo once")
    async with bench.agent():
        await ended(step)
    assert (step.text, step.epoch, bench.coordinator.lose_answers) == ("once\n", 1, 0)


async def test_one_that_comes_twice_runs_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each slot that becomes free sends a poll while the answer to the one before is on its way, so
    that most steps are told by two answers."""
    begun = begins_of(monkeypatch)
    bench.coordinator.poll_answer_delay = 0.1
    steps = [bench.coordinator.add_begun(f"sleep 0.0{n % 4}") for n in range(16)]
    async with bench.agent(slots=3):
        for step in steps:
            await ended(step)
    assert any(step.told > 1 for step in steps)
    assert sorted(begun) == sorted(f"{step.step_id}-1" for step in steps)


@pytest.mark.parametrize("has_begun", [False, True])
async def test_what_comes_while_the_agent_ends_is_declined(bench: Bench, has_begun: bool) -> None:
    running = bench.coordinator.add_begun("sleep 1000")
    bench.coordinator.poll_answer_delay = 0.3
    agent = bench.new_agent(slots=2)
    task = asyncio.create_task(agent.run())
    await asyncio.wait_for(running.started.wait(), PATIENCE_SECONDS)
    while not bench.attempts:
        await asyncio.sleep(0.01)
    add = bench.coordinator.add_begun if has_begun else bench.coordinator.add_step
    late, started = add("echo never"), quiet_seconds()
    while not late.epoch:
        await asyncio.sleep(0.01)
    agent.begin_drain()
    while not late.declined:
        assert quiet_seconds() - started < PATIENCE_SECONDS
        await asyncio.sleep(0.01)
    bench.coordinator.cancel(running)
    await ended(running)
    await asyncio.wait_for(task, PATIENCE_SECONDS)
    assert (late.text, late.completion) == ("", None)


async def test_a_cancel_that_comes_with_it_ends_it(bench: Bench) -> None:
    bench.coordinator.lose_answers = 1
    step = bench.coordinator.add_begun("sleep 1000")
    step.spec["graceSeconds"] = 0
    step.cancelling = True
    async with bench.agent():
        await ended(step)
    assert step.completion is not None
    assert step.completion.status is Completion.FAILED


async def test_one_that_a_killed_agent_had_begun_is_reported_lost(bench: Bench) -> None:
    step = bench.coordinator.add_begun("echo begun; sleep 1000")
    process = await bench.start_process()
    await asyncio.wait_for(step.logged.wait(), PATIENCE_SECONDS)
    await bench.kill(process)
    async with bench.agent():
        await ended(step)
    assert step.completion is not None
    assert (step.text, str(step.completion.reason)) == ("begun\n", "lost")


async def test_one_that_can_t_be_begun_is_declined_where_that_can_t_be_reported(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would come with each further answer."""
    begin, complete = Journal.begin, CoordinatorClient.complete
    faults = [OSError(errno.EIO, "the disk is broken")]
    absences = [CoordinatorUnavailableError("away")]

    def begin_later(journal: Journal, spec: StepSpec) -> Entry:
        if faults:
            raise faults.pop()
        return begin(journal, spec)

    async def complete_later(
        client: CoordinatorClient, step_id: str, request: CompleteRequest
    ) -> CompleteResponse:
        if absences:
            raise absences.pop()
        return await complete(client, step_id, request)

    monkeypatch.setattr(Journal, "begin", begin_later)
    monkeypatch.setattr(CoordinatorClient, "complete", complete_later)
    step = bench.coordinator.add_begun("echo done")
    async with bench.agent():
        await ended(step)
    assert (step.text, step.epoch, step.declined) == ("done\n", 2, 1)


async def test_one_that_is_not_understood_is_declined_and_all_else_goes_on(bench: Bench) -> None:
    """As of a newer coordinator; from then on the agent takes offers."""
    bench.coordinator.newer_words = {"timeoutSeconds": "as long as it takes"}
    unknown = bench.coordinator.add_begun("echo never")
    async with bench.agent():
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not unknown.declined:
                await asyncio.sleep(0.01)
        offered = bench.coordinator.add_step("echo done")
        await ended(offered)
    assert (offered.text, unknown.text) == ("done\n", "")
    assert bench.coordinator.polls[0].takes_begun is True
    assert bench.coordinator.polls[-1].takes_begun is False
