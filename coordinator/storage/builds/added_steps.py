"""Steps that a build gets while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from coordinator.domain.builds.roll_up import links_of
from coordinator.domain.lifecycle import StepState
from coordinator.domain.model import Step
from coordinator.domain.steps.scheduling import queue_class_of
from coordinator.domain.upkeep.keeps import keeps_of
from coordinator.storage.builds.builds import step_values
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.steps.steps import update_step
from coordinator.storage.tables import builds, steps


async def add_steps(
    connection: AsyncConnection, generator: Step, older: Sequence[Step], added: Sequence[Step]
) -> None:
    """Insert what the generator, which succeeds now, has generated; those of the `older` steps,
    all of its build, that depend on it depend on each of them, too."""
    names = [step.name for step in added]
    linked = [_linked(step, generator, names) for step in older]
    links = links_of([*linked, *added])
    for before, step in zip(older, linked, strict=True):
        its = links[step.id]
        if (step.depends_on, its.dependants) != (before.depends_on, list(before.dependants)):
            await update_step(
                connection,
                step.id,
                depends_on=list(step.depends_on),
                dependants=list(its.dependants),
                waits=its.waits,
            )
    await connection.execute(steps.insert(), [step_values(one, links[one.id]) for one in added])
    if keeps := keeps_of([*older, *added]):
        its_build = builds.c.id == generator.build_id
        await connection.execute(builds.update().where(its_build).values(keeps=list(keeps)))


async def add_parts(
    connection: AsyncConnection, whole: Step, older: Sequence[Step], parts: Sequence[Step]
) -> None:
    """Insert the parts of a step's image, and keep what the step `whole`, one of the `older` ones,
    has become by that: it depends on them."""
    links = links_of([*(whole if one.id == whole.id else one for one in older), *parts])
    await update_step(
        connection,
        whole.id,
        definition=whole.definition.to_json(),
        depends_on=list(whole.depends_on),
        needs=list(whole.needs),
        queue_class=queue_class_of(whole.account_id, whole.labels, whole.needs),
        waits=links[whole.id].waits,
    )
    for step in older:
        if links[step.id].dependants != list(step.dependants):
            await update_step(connection, step.id, dependants=list(links[step.id].dependants))
    await connection.execute(steps.insert(), [step_values(one, links[one.id]) for one in parts])


def _linked(step: Step, generator: Step, names: Sequence[str]) -> Step:
    if step.id == generator.id:
        return replace(step, state=StepState.SUCCEEDED)
    if generator.name in step.depends_on:
        return replace(step, depends_on=[*step.depends_on, *names])
    return step
