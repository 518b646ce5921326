"""An agent whose credential is refused ends its scripts, and only then registers anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from agent.coordinator_client import CoordinatorClient
from agent.engines.host import HostEngine
from agent.settings import AgentSettings
from agent.sign_in import SignIn
from agent.worker import Agent
from pipelines_schema.contract import CompletionReason, RegisterRequest
from tests.integration.agent_bench import PATIENCE_SECONDS, Bench, ended, open_bench
from tests.integration.coordinator_fixture import eventually, open_coordinator, step_of
from tests.integration.fake_coordinator import Step

LEASE_SECONDS = 2.0
"""Of which every third the agent is heard, and so hears of the refusal."""


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with open_bench() as bench:
        (bench.root / "shared").mkdir()
        (bench.root / "shared").chmod(0o777)
        yield bench


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


async def begun(bench: Bench) -> tuple[Step, Path]:
    """A step that goes on for ever, and what exists for as long as its script runs."""
    pid = bench.root / "shared" / "pid"
    step = bench.coordinator.add_step(
        f"echo $$ > {pid}; echo begun; sleep 1000", leaseSeconds=LEASE_SECONDS
    )
    await asyncio.wait_for(step.logged.wait(), PATIENCE_SECONDS)
    return step, Path("/proc", pid.read_text().strip())


async def test_its_scripts_have_ended_when_it_registers_anew_as_who_it_was(bench: Bench) -> None:
    alive: list[bool] = []
    async with bench.agent():
        _, process = await begun(bench)
        [credential] = bench.coordinator.agents
        bench.coordinator.on_register = lambda _: alive.append(process.exists())
        bench.coordinator.forget_agents()
        await until(lambda: len(bench.coordinator.registrations) == 2)
    first, again = bench.coordinator.registrations
    assert alive == [False]
    assert (first.previous, again.previous) == (None, credential)
    assert first.instance == again.instance
    assert credential not in (bench.data / "credential").read_text()


async def test_a_credential_that_is_good_again_reports_the_ended_script_as_lost(
    bench: Bench,
) -> None:
    """Nothing is forgotten before there is another credential."""
    async with bench.agent():
        step, process = await begun(bench)
        agents = dict(bench.coordinator.agents)
        bench.coordinator.registration_token = "another"
        bench.coordinator.forget_agents()
        await until(lambda: not process.exists())
        bench.coordinator.agents.update(agents)
        await ended(step)
    assert len(bench.coordinator.registrations) == 1
    assert step.completion is not None
    assert step.completion.reason is CompletionReason.LOST
    assert "credential" in str(step.completion.message)
    assert bench.journal == []


async def test_a_step_that_is_accepted_while_the_credential_is_refused_is_not_begun(
    bench: Bench,
) -> None:
    """Its accept was answered late: the coordinator may have given it to another by then."""
    answered: list[bool] = []
    async with bench.agent():
        _, process = await begun(bench)
        bench.coordinator.hold_accepts = hold = asyncio.Event()
        bench.coordinator.on_register = lambda _: answered.append(hold.is_set())
        touched = bench.root / "shared" / "touched"
        accepted = bench.coordinator.add_step(f"touch {touched}")
        await asyncio.wait_for(accepted.started.wait(), PATIENCE_SECONDS)
        bench.coordinator.forget_agents()
        await until(lambda: not process.exists())
        hold.set()
        await until(lambda: len(bench.coordinator.registrations) == 2)
        bench.coordinator.hold_accepts = None
        # A step of the new credential runs to its end beside it.
        await ended(bench.coordinator.add_step("true"))
    assert answered == [True]
    assert not touched.exists()
    assert accepted.completion is None
    assert f"{accepted.step_id}-1" not in bench.journal


async def test_a_refusal_that_comes_late_ends_nothing_of_the_new_credential(tmp_path: Path) -> None:
    """The call was made with the old one, which has been replaced meanwhile."""

    async def end_scripts() -> None:
        raise AssertionError("what runs under a good credential is not ended")

    settings = AgentSettings(url="http://127.0.0.1:9", token="t", data_dir=tmp_path, name="agent")
    async with CoordinatorClient(settings.url, poll_timeout_seconds=1) as client:
        sign_in = SignIn(settings, client, instance="one", end_scripts=end_scripts)
        client.credential = "new"
        await sign_in.again("old")
        assert client.credential == "new"
        assert sign_in.is_still_good("new")


def test_a_credential_is_not_shown_where_a_registration_is() -> None:
    assert "secret" not in repr(RegisterRequest(name="agent", previous="secret"))


async def test_the_step_of_a_revoked_agent_goes_on_at_once_and_never_twice(bench: Bench) -> None:
    """A real coordinator and a real agent, whose script is silent; poll and lease are held for
    longer than the test."""
    pid = bench.root / "shared" / "pid"
    script = (
        f'if [ "$PUSHROD_ATTEMPT" = 1 ]; then echo $$ > {pid}; echo begun; sleep 1000; fi; '
        f"! kill -0 $(cat {pid})"
    )
    async with open_coordinator(bench.root, lease_seconds=6 * PATIENCE_SECONDS) as coordinator:
        admin = coordinator.admin
        settings = AgentSettings(
            url=coordinator.url, token=admin.token or "", data_dir=bench.data / "a", name="worker"
        )
        agent = Agent(settings, HostEngine(data_dir=bench.data, work_dir=bench.work))
        running = asyncio.create_task(agent.run())
        build = await admin.new_build(await admin.new_project(), step_of("test", runScript=script))
        await until(lambda: pid.exists() and bool(pid.read_text()))
        [token] = [
            each["id"]
            for each in (await admin.get("/api/tokens")).json
            if each["name"] == "agent worker"
        ]
        (await admin.call("DELETE", f"/api/tokens/{token}")).expect(204)

        async def finished() -> bool:
            return (await admin.build(build["id"]))["status"] in ("SUCCESS", "FAILED")

        try:
            await eventually(finished)
            [step] = (await admin.build(build["id"]))["steps"]
            assert (step["status"], step["attempt"]) == ("SUCCESS", 2)
        finally:
            agent.cancel_all()
            await asyncio.wait_for(running, PATIENCE_SECONDS)
