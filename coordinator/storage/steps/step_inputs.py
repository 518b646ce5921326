"""What steps with `inputs` were made of, and the results of theirs that others may take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from coordinator.domain.model import AttemptState
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.projects.stored_bytes import add_to_project
from coordinator.storage.rows import columns, reader, values_of
from coordinator.storage.steps.taken_over import columns_of, left_by_attempts
from coordinator.storage.tables import artifacts, attempts, input_lists, step_inputs

LISTS_STAY = timedelta(days=30)
"""Unless something refers to them: for steps whose turn comes late."""
LISTS_AT_ONCE = 500
"""In one transaction, so that the writer is free in between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepInputs:
    step_id: str
    project_id: str
    build_number: int
    workflow: str
    name: str
    scope: str
    key: str | None
    parts: Mapping[str, Any]
    files: str | None
    never: str | None = None
    asked: bool = False
    taken_from: int | None = None
    laptop_of: str | None = None
    """Who sent it, where it ran on no agent, or was taken from such a one."""
    epoch: int | None = None
    left_files: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Of a step that has succeeded, for others to take."""

    inputs: StepInputs
    outputs: Mapping[str, str]

    @property
    def ran_in(self) -> int:
        """Number of the build that really ran it."""
        return self.inputs.taken_from or self.inputs.build_number

    @property
    def words(self) -> str:
        """Where it is from."""
        if self.inputs.laptop_of is not None:
            return f"laptop of {self.inputs.laptop_of}"
        return f"#{self.ran_in}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A step's attempt that is another's."""

    step_id: str
    epoch: int
    source: StepInputs


_inputs = reader(StepInputs)
_COLUMNS = columns(StepInputs, step_inputs)
_FIND = sa.select(*_COLUMNS).where(step_inputs.c.step_id == sa.bindparam("its_id"))
_RESULT = (
    sa.select(*_COLUMNS, attempts.c.outputs)
    .join(
        attempts,
        sa.and_(
            attempts.c.step_id == step_inputs.c.step_id,
            attempts.c.epoch == step_inputs.c.epoch,
        ),
    )
    .where(
        step_inputs.c.project_id == sa.bindparam("its_project"),
        step_inputs.c.key == sa.bindparam("its_key"),
        step_inputs.c.scope.in_(sa.bindparam("its_scopes", expanding=True)),
        sa.text("step_inputs.epoch IS NOT NULL"),
        attempts.c.state == AttemptState.SUCCEEDED.value,
    )
    .order_by(step_inputs.c.laptop_of.is_not(None), step_inputs.c.build_number.desc())
    .limit(1)
)


async def insert_inputs(connection: AsyncConnection, rows: Sequence[StepInputs]) -> None:
    if rows:
        values = [values_of(StepInputs, step_inputs, row) for row in rows]
        await connection.execute(step_inputs.insert(), values)


async def find_inputs(connection: AsyncConnection, step_id: str) -> StepInputs | None:
    row = (await connection.execute(_FIND, {"its_id": step_id})).first()
    return _inputs(row) if row else None


async def update_inputs(connection: AsyncConnection, step_id: str, **values: Any) -> None:
    await connection.execute(
        step_inputs.update().where(step_inputs.c.step_id == step_id).values(**values)
    )


async def find_result(
    connection: AsyncConnection, project_id: str, key: str, scopes: Sequence[str]
) -> Result | None:
    """The newest; one of an agent before one of a laptop."""
    values = {"its_project": project_id, "its_key": key, "its_scopes": list(scopes)}
    row = (await connection.execute(_RESULT, values)).first()
    return None if row is None else Result(inputs=_inputs(row), outputs=row.outputs or {})


async def nearest_success(
    connection: AsyncConnection, like: StepInputs, scopes: Sequence[str]
) -> StepInputs | None:
    """Of the same step, in the last build before."""
    query = (
        sa.select(*_COLUMNS)
        .where(
            step_inputs.c.project_id == like.project_id,
            step_inputs.c.workflow == like.workflow,
            step_inputs.c.name == like.name,
            step_inputs.c.build_number < like.build_number,
            step_inputs.c.scope.in_(scopes),
            sa.text("step_inputs.epoch IS NOT NULL"),
        )
        .order_by(step_inputs.c.build_number.desc())
        .limit(1)
    )
    row = (await connection.execute(query)).first()
    return _inputs(row) if row else None


async def take_results(
    connection: AsyncConnection, project_id: str, taken: Sequence[Taken], now: datetime
) -> None:
    """Give the steps, which are stored, the attempts that they take, with what these left. Logs and
    blobs stay where they are: see `taken_over`."""
    if not taken:
        return
    pairs = [
        {
            "new_step": one.step_id,
            "new_epoch": one.epoch,
            "old_step": one.source.step_id,
            "old_epoch": one.source.epoch,
            "now": now,
        }
        for one in taken
    ]
    for statement in _COPIES:
        await connection.execute(statement, pairs)
    size = sa.select(sa.func.coalesce(sa.func.sum(artifacts.c.size), 0)).where(
        artifacts.c.step_id.in_([one.step_id for one in taken])
    )
    copied = int((await connection.execute(size)).scalar_one())
    if copied:
        await add_to_project(connection, project_id, copied)


def _copy(table: sa.Table, other: Mapping[str, Any]) -> sa.Insert:
    values = columns_of(table, other)
    query = sa.select(
        _NEW_STEP, sa.bindparam("new_epoch", type_=sa.Integer), *values.values()
    ).where(table.c.step_id == sa.bindparam("old_step"), table.c.epoch == sa.bindparam("old_epoch"))
    return table.insert().from_select(["step_id", "epoch", *values], query)


_NEW_STEP = sa.bindparam("new_step", type_=sa.String)
_NOW = sa.bindparam("now", type_=attempts.c.started_at.type)
_COPIES = [
    _copy(table, {**other, "started_at": _NOW, "finished_at": _NOW})
    for table, other in left_by_attempts(_NEW_STEP)
]


async def keep_lists(
    connection: AsyncConnection, project_id: str, lists: Mapping[str, bytes], now: datetime
) -> None:
    """Digest → packed files."""
    known = sa.select(input_lists.c.digest).where(
        input_lists.c.project_id == project_id, input_lists.c.digest.in_(list(lists))
    )
    there = set((await connection.execute(known)).scalars())
    new = [
        {"project_id": project_id, "digest": digest, "files": files, "created_at": now}
        for digest, files in lists.items()
        if digest not in there
    ]
    if new:
        await connection.execute(input_lists.insert(), new)


async def find_lists(
    connection: AsyncConnection, project_id: str, digests: Sequence[str]
) -> Mapping[str, bytes]:
    query = sa.select(input_lists.c.digest, input_lists.c.files).where(
        input_lists.c.project_id == project_id, input_lists.c.digest.in_(digests)
    )
    return {row.digest: row.files for row in await connection.execute(query)}


async def forget_lists(connection: AsyncConnection, project_id: str, now: datetime) -> bool:
    """Some that nothing refers to any more. Whether there may be others."""
    used = sa.exists().where(
        step_inputs.c.project_id == input_lists.c.project_id,
        step_inputs.c.files == input_lists.c.digest,
    )
    query = sa.select(input_lists.c.digest).where(
        input_lists.c.project_id == project_id,
        input_lists.c.created_at < now - LISTS_STAY,
        ~used,
    )
    digests = (await connection.execute(query.limit(LISTS_AT_ONCE))).scalars().all()
    if digests:
        await connection.execute(
            input_lists.delete().where(
                input_lists.c.project_id == project_id, input_lists.c.digest.in_(digests)
            )
        )
    return len(digests) == LISTS_AT_ONCE
