"""What a step and a build cost the coordinator, in counts: the same on any machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.coordinator_fixture import (
    AgentCaller,
    Caller,
    Coordinator,
    open_coordinator,
    step_of,
)
from tests.integration.statements import collected

BUILDS = 10
MOST_STATEMENTS_OF_A_STEP = 12
"""Of a chain: its predecessor's end, its own begin and its spec. One of them is for its image, and
one for what its dependency left."""
MOST_STATEMENTS_OF_A_BUILD = 27
"""Of one step: made, told with its steps, begun, described, ended; two for its image."""
MOST_COMMITS_OF_A_BUILD = 3
"""Made, begun, ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """For each step, or each build."""

    statements: float
    commits: float
    reads: float
    """Transactions that write nothing."""


@asynccontextmanager
async def patient_coordinator(folder: Path) -> AsyncIterator[Coordinator]:
    """Its terms are so long that none ends while something is counted."""
    async with open_coordinator(
        folder, lease_seconds=60.0, accept_seconds=30.0, poll_hold_seconds=15.0
    ) as coordinator:
        yield coordinator


def chain(length: int) -> list[dict[str, Any]]:
    names = [f"s{number:02}" for number in range(length)]
    return [step_of(name, *names[number - 1 : number]) for number, name in enumerate(names)]


async def new_chain(admin: Caller, length: int) -> tuple[AgentCaller, dict[str, Any]]:
    """An agent that has accepted the first step of a chain, and its spec."""
    agent, project = await admin.new_agent(), await admin.new_project()
    await admin.new_build(project, *chain(length))
    return agent, await agent.take()


async def next_of(agent: AgentCaller, spec: dict[str, Any], process: str = "one") -> Any:
    """What the completion of a step is answered with."""
    answer = await agent.complete(spec, next={"instance": process})
    return answer.expect(200).json.get("next")


async def costs_of_a_step(coordinator: Coordinator, length: int) -> Costs:
    """Of a chain of that length, its first and last step apart."""
    agent, spec = await new_chain(coordinator.admin, length)
    spec = await next_of(agent, spec)
    with collected() as statements:
        for _ in range(length - 2):
            spec = await next_of(agent, spec)
    return _costs([text for text, _ in statements], length - 2)


async def costs_of_a_build(coordinator: Coordinator) -> Costs:
    """Of one plain step, made by the API and run by an agent that polls by then."""
    admin = coordinator.admin
    agent, project = await admin.new_agent(), await admin.new_project()
    workflow_id = await admin.new_workflow(project, step_of("only"))
    sent: list[str] = []

    async def take() -> Any:
        """As our agents do: what begins with the answer."""
        answer = await agent.poll(instance="one", takesBegun=True)
        return answer["begun"][0]

    for number in range(BUILDS + 1):
        taking = asyncio.create_task(take())
        await asyncio.sleep(0.05)
        with collected() as statements:
            await admin.post(f"/api/projects/{project['id']}/builds", {"workflowId": workflow_id})
            await agent.complete(await taking)
        sent += [text for text, _ in statements] if number else []  # the first one warms up
    return _costs(sent, BUILDS)


def _costs(statements: list[str], of: int) -> Costs:
    commits = statements.count("BEGIN IMMEDIATE")
    reads = statements.count("BEGIN")
    return Costs(
        statements=(len(statements) - commits - reads) / of, commits=commits / of, reads=reads / of
    )
