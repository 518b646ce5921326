"""Artifacts of attempts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from coordinator.domain.lifecycle import FINISHED_STEP
from coordinator.domain.model import Artifact, OutputEntry
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.direct_statements import direct
from coordinator.storage.projects.stored_bytes import add_stored
from coordinator.storage.rows import columns, reader, values_of
from coordinator.storage.tables import (
    artifacts,
    output_entries,
    steps,
)

_artifact = reader(Artifact)
_entry = reader(OutputEntry)

NAMES_AT_ONCE = 500
"""In one statement: databases limit the values of one."""


async def save_artifact(connection: AsyncConnection, artifact: Artifact) -> None:
    """A second one of the same name replaces the first: an upload may be repeated."""
    replaced = await connection.execute(
        artifacts.delete()
        .where(
            artifacts.c.step_id == artifact.step_id,
            artifacts.c.epoch == artifact.epoch,
            artifacts.c.name == artifact.name,
        )
        .returning(artifacts.c.size)
    )
    before = replaced.scalar_one_or_none() or 0
    await add_stored(connection, artifact.step_id, artifact.size - before)
    await connection.execute(artifacts.insert().values(**values_of(Artifact, artifacts, artifact)))


async def save_artifacts(connection: AsyncConnection, saved: Sequence[Artifact]) -> None:
    """All of one attempt, each name once; as `save_artifact`."""
    step_id, epoch = saved[0].step_id, saved[0].epoch
    before = 0
    for some in _slices([artifact.name for artifact in saved]):
        replaced = await connection.execute(
            artifacts.delete()
            .where(
                artifacts.c.step_id == step_id,
                artifacts.c.epoch == epoch,
                artifacts.c.name.in_(some),
            )
            .returning(artifacts.c.size)
        )
        before += sum(replaced.scalars())
    await add_stored(connection, step_id, sum(artifact.size for artifact in saved) - before)
    values = [values_of(Artifact, artifacts, artifact) for artifact in saved]
    await connection.execute(artifacts.insert(), values)


async def save_entries(connection: AsyncConnection, saved: Sequence[OutputEntry]) -> None:
    """Links and folders of one attempt, each name once; those that were there are replaced."""
    step_id, epoch = saved[0].step_id, saved[0].epoch
    for some in _slices([entry.name for entry in saved]):
        await connection.execute(
            output_entries.delete().where(
                output_entries.c.step_id == step_id,
                output_entries.c.epoch == epoch,
                output_entries.c.name.in_(some),
            )
        )
    values = [values_of(OutputEntry, output_entries, entry) for entry in saved]
    await connection.execute(output_entries.insert(), values)


def _slices(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for begin in range(0, len(names), NAMES_AT_ONCE):
        yield names[begin : begin + NAMES_AT_ONCE]


async def entries_of(
    connection: AsyncConnection, step_id: str, epoch: int
) -> Sequence[OutputEntry]:
    """By name, so outer folders stand before inner ones."""
    query = (
        sa.select(*columns(OutputEntry, output_entries))
        .where(output_entries.c.step_id == step_id, output_entries.c.epoch == epoch)
        .order_by(output_entries.c.name)
    )
    return [_entry(row) for row in await connection.execute(query)]


async def stored_names(
    connection: AsyncConnection, step_id: str, epoch: int, names: Sequence[str]
) -> Mapping[str, Artifact]:
    """Those artifacts, by name."""
    found: dict[str, Artifact] = {}
    for some in _slices(names):
        query = sa.select(*columns(Artifact, artifacts)).where(
            artifacts.c.step_id == step_id,
            artifacts.c.epoch == epoch,
            artifacts.c.name.in_(some),
        )
        for row in await connection.execute(query):
            found[row.name] = _artifact(row)
    return found


async def artifact_names(connection: AsyncConnection, step_id: str, epoch: int) -> set[str]:
    """Of files, links and folders."""
    names: set[str] = set()
    for table in (artifacts, output_entries):
        query = sa.select(table.c.name).where(table.c.step_id == step_id, table.c.epoch == epoch)
        names.update((await connection.execute(query)).scalars())
    return names


async def artifacts_of_build(
    connection: AsyncConnection, build_id: str
) -> Sequence[tuple[str, Artifact]]:
    """Each with its step's name, in the order of the steps: of their last attempts, once ended."""
    finished = [state.value for state in FINISHED_STEP]
    query = (
        sa.select(steps.c.name.label("step_name"), *columns(Artifact, artifacts))
        .join(
            steps,
            sa.and_(steps.c.id == artifacts.c.step_id, steps.c.epoch == artifacts.c.epoch),
        )
        .where(steps.c.build_id == build_id, steps.c.state.in_(finished))
        .order_by(steps.c.position, artifacts.c.name)
    )
    return [(row.step_name, _artifact(row)) for row in await connection.execute(query)]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftBehind:
    """What a step left for those that depend on it."""

    step_id: str
    artifacts: Sequence[Artifact]
    """Of its last attempt, by name."""
    entries: Sequence[OutputEntry] = ()
    """Its links and folders, by name."""


_ITS_STEPS = sa.and_(
    steps.c.build_id == sa.bindparam("its_build"),
    steps.c.name.in_(sa.bindparam("its_names", expanding=True)),
)


def _left_in(table: sa.Table, *, outer: bool) -> sa.Select[Any]:
    """Rows of an attempt's outputs, of whichever table, with each step's id and name."""
    shown = (*columns(Artifact, artifacts), output_entries.c.target)
    return (
        sa.select(
            steps.c.id.label("its_step"),
            steps.c.name.label("step_name"),
            *(table.c.get(column.name, sa.null()).label(column.name) for column in shown),
        )
        .join(
            table,
            sa.and_(steps.c.id == table.c.step_id, steps.c.epoch == table.c.epoch),
            isouter=outer,
        )
        .where(_ITS_STEPS)
    )


_LEFT_BEHIND = direct(
    sa.union_all(_left_in(artifacts, outer=True), _left_in(output_entries, outer=False)).order_by(
        "name"
    )
)


async def artifacts_of_steps(
    connection: AsyncConnection, build_id: str, names: Sequence[str]
) -> Mapping[str, LeftBehind]:
    """By the steps' names."""
    values = {"its_build": build_id, "its_names": list(names)}
    ids: dict[str, str] = {}
    files: dict[str, list[Artifact]] = defaultdict(list)
    entries: dict[str, list[OutputEntry]] = defaultdict(list)
    for row in await connection.execute(_LEFT_BEHIND, values):
        ids[row.step_name] = row.its_step
        if row.step_id is None:
            continue
        if row.sha256 is None:
            entries[row.step_name].append(_entry(row))
        else:
            files[row.step_name].append(_artifact(row))
    return {
        name: LeftBehind(step_id=id_, artifacts=files[name], entries=entries[name])
        for name, id_ in ids.items()
    }


async def artifacts_of(connection: AsyncConnection, step_id: str, epoch: int) -> Sequence[Artifact]:
    query = (
        sa.select(*columns(Artifact, artifacts))
        .where(artifacts.c.step_id == step_id, artifacts.c.epoch == epoch)
        .order_by(artifacts.c.name)
    )
    return [_artifact(row) for row in await connection.execute(query)]
