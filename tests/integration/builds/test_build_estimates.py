"""The history that an estimate stands on: one query, by an index, of the last builds alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

from coordinator.domain.lifecycle import BuildState, StepState
from coordinator.domain.model import Step, WorkflowRecord, WorkflowSource
from coordinator.domain.step_definition import StepDefinition
from coordinator.storage.builds import builds as stored
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.projects import projects as stored_projects
from pipelines_schema import Step as WorkflowStep
from tests.integration.list_fixture import (
    BEGAN,
    account_of,
    after,
    build_of,
    explained,
    open_database,
    project_of,
    save,
)

SHOP = project_of("acme", "shop")


def workflow_of(name: str) -> WorkflowRecord:
    return WorkflowRecord(
        id=name,
        project_id=SHOP.id,
        name=name,
        source=WorkflowSource.API,
        path=None,
        definition=None,
        created_at=BEGAN,
        updated_at=BEGAN,
    )


def step_of_build(build_id: str, name: str, state: StepState, number: int) -> Step:
    """One that took as many seconds as its build's number."""
    return Step(
        id=f"{build_id}-{name}",
        build_id=build_id,
        project_id=SHOP.id,
        account_id=SHOP.account_id,
        position=0,
        name=name,
        state=state,
        definition=StepDefinition(written=WorkflowStep(name=name, image="debian", script="make")),
        depends_on=(),
        labels={},
        epoch=1,
        attempt=1,
        lost_count=0,
        holder=None,
        lease_seconds=None,
        started_at=after(1000 * number),
        finished_at=after(1000 * number + number),
    )


async def fill(connection: AsyncConnection) -> None:
    await save(connection, [account_of("acme"), SHOP])
    for name in ("ci", "other"):
        await stored_projects.insert_workflow(connection, workflow_of(name))
    for number in range(1, 31):
        build = build_of(
            SHOP,
            number,
            workflow_id="ci" if number % 3 else "other",
            state=BuildState.SUCCEEDED if number % 2 else BuildState.FAILED,
            finished_at=after(1000 * number + number),
        )
        ended = StepState.SUCCEEDED if number % 2 else StepState.FAILED
        steps = [
            step_of_build(build.id, "first", StepState.SUCCEEDED, number),
            step_of_build(build.id, "last", ended, number),
        ]
        await stored.insert_build(connection, build, steps)
    waiting = build_of(SHOP, 31, workflow_id="ci")
    skipped = step_of_build(waiting.id, "first", StepState.READY, 31)
    await stored.insert_build(connection, waiting, [replace(skipped, finished_at=None)])


async def test_history_is_of_the_workflows_last_finished_builds_by_an_index(tmp_path: Path) -> None:
    path = tmp_path / "pushrod.db"
    async with open_database(path) as database:
        await database.write(fill)
        past = partial(stored.past_durations, workflow_id="ci", before=after(10**6), last=6)
        with explained(path) as plans:
            found = await database.read(past)
        seconds = {name: [one.total_seconds() for one in took] for name, took in found.items()}
        # Builds 29, 28, 26, 25, 23 and 22 are the last six of this workflow.
        assert seconds == {"first": [29, 28, 26, 25, 23, 22], "last": [29, 25, 23]}
        assert len(plans.asked) == 1
        assert any("ix_builds_workflow_id_finished_at" in step for step in plans.steps())
        assert not [step for step in plans.steps() if step.startswith("SCAN steps")]
        assert not [step for step in plans.steps() if step.startswith("SCAN builds")]
        early = partial(
            stored.past_durations, workflow_id="ci", before=BEGAN + timedelta(seconds=1500), last=6
        )
        assert list(await database.read(early)) == ["first", "last"]
