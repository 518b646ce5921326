"""Outputs of a build in which some say themselves how long they stay: read, and some deleted."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from coordinator.domain.model import GoneOutput, Step
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.rows import columns, reader
from coordinator.storage.steps.rows import step_of
from coordinator.storage.steps.steps import update_step
from coordinator.storage.tables import artifacts, builds, output_entries, steps
from coordinator.storage.upkeep.gone_outputs import delete_entries, delete_files, offer_no_results


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOutput:
    """A file, a link or a folder, of whichever attempt."""

    step_id: str
    epoch: int
    name: str
    account_id: str
    project_id: str
    sha256: str | None
    """Of a file."""
    size: int
    target: str | None
    """Of a link."""


_left = reader(LeftOutput)


async def outputs_of_build(
    connection: AsyncConnection, build_id: str
) -> tuple[Sequence[Step], Sequence[LeftOutput]]:
    """With its steps."""
    found = await connection.execute(
        sa.select(*columns(Step, steps)).where(steps.c.build_id == build_id)
    )
    its_steps = [step_of(row) for row in found]
    left: list[LeftOutput] = []
    own = {
        artifacts: (artifacts.c.sha256, artifacts.c.size, sa.null().label("target")),
        output_entries: (
            sa.null().label("sha256"),
            sa.literal(0).label("size"),
            output_entries.c.target,
        ),
    }
    for table, values in own.items():
        query = (
            sa.select(
                table.c.step_id,
                table.c.epoch,
                table.c.name,
                steps.c.account_id,
                steps.c.project_id,
                *values,
            )
            .join(steps, steps.c.id == table.c.step_id)
            .where(steps.c.build_id == build_id)
        )
        left += [_left(row) for row in await connection.execute(query)]
    return its_steps, left


async def delete_outputs(connection: AsyncConnection, left: Sequence[LeftOutput]) -> None:
    await delete_files(connection, [one for one in left if one.sha256 is not None])
    await delete_entries(connection, [one for one in left if one.sha256 is None])


async def mark_steps(connection: AsyncConnection, gone: Mapping[str, Sequence[GoneOutput]]) -> None:
    """What goes of each of them by its own word, by their ids; nobody takes such a result any more.
    A path that is marked already stays so."""
    query = sa.select(*columns(Step, steps)).where(steps.c.id.in_(gone))
    for row in (await connection.execute(query)).all():
        step = step_of(row)
        known = {one.path for one in step.gone_outputs}
        added = [one for one in gone[step.id] if one.path not in known]
        if added:
            whole = [one.to_json() for one in (*step.gone_outputs, *added)]
            await update_step(connection, step.id, gone_outputs=whole)
    await offer_no_results(connection, steps.c.id.in_(gone))


async def mark_build(
    connection: AsyncConnection, build_id: str, losing: Collection[str], now: datetime
) -> None:
    """The outputs that say nothing themselves go; `losing` are ids of the steps they are of."""
    marked = await connection.execute(
        builds.update()
        .where(builds.c.id == build_id, builds.c.artifacts_gone_at.is_(None))
        .values(artifacts_gone_at=now, version=builds.c.version + 1)
    )
    if marked.rowcount:
        await offer_no_results(connection, steps.c.id.in_(losing))


async def forget_keeps(connection: AsyncConnection, build_id: str, over: Collection[int]) -> None:
    """All that was kept for so many seconds is gone."""
    query = sa.select(builds.c.keeps).where(builds.c.id == build_id)
    keeps = (await connection.execute(query)).scalar_one() or []
    await connection.execute(
        builds.update()
        .where(builds.c.id == build_id)
        .values(
            keeps=[keep for keep in keeps if keep not in over] or None,
            version=builds.c.version + 1,
        )
    )
