"""Builds, their steps, attempts and artifacts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from coordinator.domain.builds.roll_up import Dependant, Links, links_of
from coordinator.domain.lifecycle import FINISHED_STEP, BuildState, StepState
from coordinator.domain.model import (
    Artifact,
    Attempt,
    AttemptState,
    Build,
    ModuleRef,
    PullRequestRef,
    Step,
)
from coordinator.domain.steps.scheduling import queue_class_of
from coordinator.storage.builds.build_counts import Counted, count
from coordinator.storage.builds.quotas import add_stored, forget_stored
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.rows import columns, reader
from coordinator.storage.steps.rows import step_of
from coordinator.storage.tables import (
    artifacts,
    attempts,
    build_images,
    builds,
    deployments,
    image_builds,
    steps,
)

build_of = reader(
    Build,
    state=BuildState,
    pull_request=lambda value: value and PullRequestRef.from_json(value),
    module=lambda value: value and ModuleRef.from_json(value),
)
_read_counted = reader(Counted)
_attempt = reader(Attempt, state=AttemptState)
_joined_attempt = reader(Attempt, prefix="attempt__", state=AttemptState)
_artifact = reader(Artifact)


# Statements that each step needs are made once: making one costs four times as much as running it.
_ITS_ID: sa.BindParameter[str] = sa.bindparam("its_id")
_FIND_BUILD = sa.select(*columns(Build, builds)).where(builds.c.id == _ITS_ID)
_FIND_STEP = sa.select(*columns(Step, steps)).where(steps.c.id == _ITS_ID)
_UPDATE_STEP = steps.update().where(steps.c.id == _ITS_ID)
_UPDATE_BUILD = builds.update().where(builds.c.id == _ITS_ID)
_COUNT_VERSION = (
    _UPDATE_BUILD.values(
        version=builds.c.version + 1,
        updated_at=sa.bindparam("now"),
        open_steps=sa.func.coalesce(
            sa.bindparam("still_open", type_=sa.Integer),
            builds.c.open_steps - sa.bindparam("ended"),
        ),
    )
).returning(*columns(Build, builds))
_FIND_ATTEMPT = sa.select(*columns(Attempt, attempts)).where(
    attempts.c.step_id == _ITS_ID, attempts.c.epoch == sa.bindparam("its_epoch")
)
_FIND_BOTH = (
    sa.select(
        *columns(Step, steps),
        *(column.label(f"attempt__{column.name}") for column in columns(Attempt, attempts)),
    )
    .join(
        attempts,
        sa.and_(
            attempts.c.step_id == steps.c.id,
            attempts.c.epoch
            == sa.func.coalesce(sa.bindparam("its_epoch", type_=sa.Integer), steps.c.epoch),
        ),
        isouter=True,
    )
    .where(steps.c.id == _ITS_ID)
)
_FIND_GIVEN_WITH = sa.select(*columns(Attempt, attempts)).where(
    attempts.c.given_with == sa.bindparam("given"), sa.text("attempts.state = 'running'")
)
_INSERT_ATTEMPT = attempts.insert()
_UPDATE_ATTEMPT = attempts.update().where(
    attempts.c.step_id == _ITS_ID, attempts.c.epoch == sa.bindparam("its_epoch")
)
_COUNT_DOWN = (
    steps.update()
    .where(
        steps.c.build_id == sa.bindparam("its_build"),
        steps.c.position.in_(sa.bindparam("its_positions", expanding=True)),
    )
    .values(waits=steps.c.waits - 1)
)
_WHOLE_STEP = columns(Step, steps)
_STEP_IF_ITS_TURN = [
    column
    if column is not steps.c.definition
    else sa.case((steps.c.waits == 0, column), else_=sa.null()).label("definition")
    for column in _WHOLE_STEP
]
_COUNT_DOWN_ALL = _COUNT_DOWN.returning(*_WHOLE_STEP)
_COUNT_DOWN_NEXT = _COUNT_DOWN.returning(*_STEP_IF_ITS_TURN)


def _values(kind: type[Any], table: sa.Table, thing: Any) -> dict[str, Any]:
    return {column.name: getattr(thing, column.name) for column in columns(kind, table)}


async def insert_build(
    connection: AsyncConnection, build: Build, build_steps: Sequence[Step]
) -> None:
    values = _values(Build, builds, build)
    values |= {
        "problems": [dict(problem) for problem in build.problems],
        "pull_request": build.pull_request and build.pull_request.to_json(),
        "module": build.module and build.module.to_json(),
    }
    links = links_of(build_steps)
    values["open_steps"] = sum(step.state not in FINISHED_STEP for step in build_steps)
    await connection.execute(builds.insert().values(**values))
    counted = Counted(
        account_id=build.account_id,
        project_id=build.project_id,
        branch=build.branch,
        state=build.state.value,
    )
    await count(connection, (counted, 1))
    if build_steps:
        rows = [_step_values(step, links[step.id]) for step in build_steps]
        await connection.execute(steps.insert(), rows)


def _step_values(step: Step, links: Links) -> dict[str, Any]:
    queue_class = queue_class_of(step.account_id, step.labels, step.needs)
    return {
        **_values(Step, steps, step),
        "definition": step.definition.to_json(),
        "dependants": list(links.dependants),
        "waits": links.waits,
        "queue_class": queue_class,
    }


async def find_build(connection: AsyncConnection, build_id: str) -> Build | None:
    row = (await connection.execute(_FIND_BUILD, {"its_id": build_id})).first()
    return build_of(row) if row else None


async def pull_request_of_commit(
    connection: AsyncConnection, project_id: str, commit_hash: str
) -> PullRequestRef | None:
    """Of the newest build of that commit for a pull request."""
    query = (
        sa.select(builds.c.pull_request)
        .where(
            builds.c.project_id == project_id,
            builds.c.commit_hash == commit_hash,
            builds.c.pull_request.is_not(None),
        )
        .order_by(builds.c.ordinal.desc())
        .limit(1)
    )
    found = (await connection.execute(query)).first()
    return PullRequestRef.from_json(found.pull_request) if found else None


async def update_build(
    connection: AsyncConnection, build_id: str, *, now: datetime, **values: Any
) -> None:
    """Also counts the version up, which says to those who wait that something moved."""
    if "state" in values:
        await _recount(connection, build_id, values["state"])
    await connection.execute(
        builds.update()
        .where(builds.c.id == build_id)
        .values(version=builds.c.version + 1, updated_at=now, **values)
    )


async def count_version(
    connection: AsyncConnection,
    build_id: str,
    *,
    now: datetime,
    ended: int = 0,
    still_open: int | None = None,
) -> Build:
    """Count the version up and `ended` steps off, or say how many are open; the build as it is
    then. Raises LookupError."""
    values = {"its_id": build_id, "now": now, "ended": ended, "still_open": still_open}
    row = (await connection.execute(_COUNT_VERSION, values)).first()
    if row is None:
        raise LookupError(f"no build {build_id}")
    return build_of(row)


async def move_build(connection: AsyncConnection, build: Build, **values: Any) -> None:
    """To another `state`, whose version was counted up already. `build` is as it is stored."""
    was = Counted(
        account_id=build.account_id,
        project_id=build.project_id,
        branch=build.branch,
        state=build.state.value,
    )
    await count(connection, (was, -1), (replace(was, state=values["state"]), 1))
    await connection.execute(_UPDATE_BUILD, {"its_id": build.id, **values})


async def count_down(
    connection: AsyncConnection, step: Step, *, with_definitions: bool
) -> Sequence[tuple[Dependant, Step | None]]:
    """Those that depend on the step wait for one less.

    Each with its step where it waits for no other now, or `with_definitions` for all.
    """
    if not step.dependants:
        return []
    statement = _COUNT_DOWN_ALL if with_definitions else _COUNT_DOWN_NEXT
    values = {"its_build": step.build_id, "its_positions": list(step.dependants)}
    found = await connection.execute(statement, values)
    return [_dependant(row) for row in found.all()]


def _dependant(row: Any) -> tuple[Dependant, Step | None]:
    step = None if row.definition is None else step_of(row)
    dependant = Dependant(
        id=row.id,
        state=StepState(row.state),
        waits=row.waits,
        run_on=None if step is None else step.written.run_on,
    )
    return dependant, step


async def _recount(connection: AsyncConnection, build_id: str, state: str | None) -> None:
    """The build is counted in that state from now on; None: nowhere."""
    was = await _counted(connection, build_id)
    if was is None or was.state == state:
        return
    becomes = [] if state is None else [(replace(was, state=state), 1)]
    await count(connection, (was, -1), *becomes)


async def _counted(connection: AsyncConnection, build_id: str) -> Counted | None:
    query = sa.select(*columns(Counted, builds)).where(builds.c.id == build_id)
    row = (await connection.execute(query)).first()
    return _read_counted(row) if row else None


async def delete_build(connection: AsyncConnection, build_id: str) -> bool:
    """With its steps, attempts and artifacts, and the deployment it is; retries of it lose their
    link. Whether it was there.

    Logs and blobs are in the object store, where nothing here reaches.
    """
    await _recount(connection, build_id, None)
    await forget_stored(connection, build_id)
    await connection.execute(
        builds.update().where(builds.c.retry_of == build_id).values(retry_of=None)
    )
    for table in (deployments, image_builds, build_images):
        await connection.execute(table.delete().where(table.c.build_id == build_id))
    its_steps = sa.select(steps.c.id).where(steps.c.build_id == build_id)
    for table in (artifacts, attempts):
        await connection.execute(table.delete().where(table.c.step_id.in_(its_steps)))
    await connection.execute(steps.delete().where(steps.c.build_id == build_id))
    deleted = await connection.execute(builds.delete().where(builds.c.id == build_id))
    return deleted.rowcount == 1


async def find_step(connection: AsyncConnection, step_id: str) -> Step | None:
    row = (await connection.execute(_FIND_STEP, {"its_id": step_id})).first()
    return step_of(row) if row else None


async def steps_of_builds(
    connection: AsyncConnection, build_ids: Collection[str]
) -> Mapping[str, Sequence[Step]]:
    """By build; those of a build in their order."""
    query = (
        sa.select(*columns(Step, steps))
        .where(steps.c.build_id.in_(build_ids))
        .order_by(steps.c.build_id, steps.c.position)
    )
    found: dict[str, list[Step]] = {build_id: [] for build_id in build_ids}
    for row in await connection.execute(query):
        found[row.build_id].append(step_of(row))
    return found


async def steps_of_build(connection: AsyncConnection, build_id: str) -> Sequence[Step]:
    query = (
        sa.select(*columns(Step, steps))
        .where(steps.c.build_id == build_id)
        .order_by(steps.c.position)
    )
    return [step_of(row) for row in await connection.execute(query)]


async def update_step(connection: AsyncConnection, step_id: str, **values: Any) -> None:
    await connection.execute(_UPDATE_STEP, {"its_id": step_id, **values})


async def steps_waiting_since(
    connection: AsyncConnection, now: datetime, limit: int
) -> Sequence[Step]:
    """Ready steps whose time in the queue is over, those first that wait longest."""
    query = (
        sa.select(*columns(Step, steps))
        .where(sa.text("steps.state = 'ready'"), steps.c.queue_until <= now)
        .order_by(steps.c.queue_until, steps.c.position)
        .limit(limit)
    )
    return [step_of(row) for row in await connection.execute(query)]


async def handed_out_steps(connection: AsyncConnection) -> Sequence[Step]:
    query = sa.select(*columns(Step, steps)).where(sa.text("steps.state IN ('offered', 'running')"))
    return [step_of(row) for row in await connection.execute(query)]


async def hand_out(
    connection: AsyncConnection, step_id: str, *, to: StepState, holder: str
) -> tuple[int, str] | None:
    """Hand a ready step out in one statement: epoch + 1. None where another was quicker.

    Returns the new epoch and the build's id.
    """
    found = await connection.execute(
        steps.update()
        .where(steps.c.id == step_id, steps.c.state == StepState.READY.value)
        .values(state=to.value, holder=holder, epoch=steps.c.epoch + 1)
        .returning(steps.c.epoch, steps.c.build_id)
    )
    row = found.first()
    return (row.epoch, row.build_id) if row else None


async def insert_attempt(connection: AsyncConnection, attempt: Attempt) -> None:
    await connection.execute(_INSERT_ATTEMPT, _values(Attempt, attempts, attempt))


async def find_attempt(connection: AsyncConnection, step_id: str, epoch: int) -> Attempt | None:
    values = {"its_id": step_id, "its_epoch": epoch}
    row = (await connection.execute(_FIND_ATTEMPT, values)).first()
    return _attempt(row) if row else None


async def find_step_and_attempt(
    connection: AsyncConnection, step_id: str, epoch: int | None
) -> tuple[Step, Attempt | None] | None:
    """The attempt of that epoch; without one, of the step's current one."""
    values = {"its_id": step_id, "its_epoch": epoch}
    row = (await connection.execute(_FIND_BOTH, values)).first()
    if row is None:
        return None
    return step_of(row), None if row.attempt__epoch is None else _joined_attempt(row)


async def handed_over_with(connection: AsyncConnection, attempt: Attempt) -> Attempt | None:
    """The attempt that the completion of that one was answered with, while it runs."""
    row = (await connection.execute(_FIND_GIVEN_WITH, {"given": attempt.id})).first()
    return _attempt(row) if row else None


async def delete_attempt(connection: AsyncConnection, attempt: Attempt) -> None:
    await connection.execute(
        attempts.delete().where(
            attempts.c.step_id == attempt.step_id, attempts.c.epoch == attempt.epoch
        )
    )


async def attempts_of_step(connection: AsyncConnection, step_id: str) -> Sequence[Attempt]:
    """In the order they were tried."""
    query = (
        sa.select(*columns(Attempt, attempts))
        .where(attempts.c.step_id == step_id)
        .order_by(attempts.c.epoch)
    )
    return [_attempt(row) for row in await connection.execute(query)]


async def attempts_of_build(
    connection: AsyncConnection, build_id: str
) -> Mapping[str, Sequence[Attempt]]:
    """Step id → its attempts in the order they were tried."""
    query = (
        sa.select(*columns(Attempt, attempts))
        .join(steps, steps.c.id == attempts.c.step_id)
        .where(steps.c.build_id == build_id)
        .order_by(attempts.c.step_id, attempts.c.epoch)
    )
    found: dict[str, list[Attempt]] = {}
    for row in await connection.execute(query):
        found.setdefault(row.step_id, []).append(_attempt(row))
    return found


async def past_durations(
    connection: AsyncConnection, workflow_id: str, before: datetime, *, last: int
) -> Mapping[str, Sequence[timedelta]]:
    """Name of a step → how long it took when it succeeded, in the workflow's `last` builds that
    finished, newest first."""
    recent = (
        sa.select(builds.c.id)
        .where(builds.c.workflow_id == workflow_id, builds.c.finished_at <= before)
        .order_by(builds.c.finished_at.desc())
        .limit(last)
    )
    query = (
        sa.select(steps.c.name, steps.c.started_at, steps.c.finished_at)
        .where(
            steps.c.build_id.in_(recent),
            steps.c.state == StepState.SUCCEEDED.value,
            steps.c.started_at.is_not(None),
        )
        .order_by(steps.c.finished_at.desc())
    )
    found: dict[str, list[timedelta]] = {}
    for row in await connection.execute(query):
        found.setdefault(row.name, []).append(row.finished_at - row.started_at)
    return found


async def end_attempt(
    connection: AsyncConnection,
    attempt: Attempt,
    *,
    state: AttemptState,
    exit_code: int | None,
    reason: str | None,
    log_bytes: int | None,
    log_sha256: str | None,
    now: datetime,
) -> None:
    values = {
        "its_id": attempt.step_id,
        "its_epoch": attempt.epoch,
        "state": state.value,
        "exit_code": exit_code,
        "reason": reason,
        "log_bytes": log_bytes,
        "log_sha256": log_sha256,
        "finished_at": now,
    }
    await connection.execute(_UPDATE_ATTEMPT, values)
    await add_stored(connection, attempt.step_id, log_bytes or 0)


async def set_log(
    connection: AsyncConnection, attempt: Attempt, log_bytes: int, log_sha256: str
) -> None:
    """Of an attempt that has ended without saying what its log is."""
    await connection.execute(
        attempts.update()
        .where(attempts.c.step_id == attempt.step_id, attempts.c.epoch == attempt.epoch)
        .values(log_bytes=log_bytes, log_sha256=log_sha256)
    )
    await add_stored(connection, attempt.step_id, log_bytes - (attempt.log_bytes or 0))


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
    await connection.execute(artifacts.insert().values(**_values(Artifact, artifacts, artifact)))


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


_LEFT_BEHIND = (
    sa.select(
        steps.c.id.label("its_step"),
        steps.c.name.label("step_name"),
        *columns(Artifact, artifacts),
    )
    .join(
        artifacts,
        sa.and_(steps.c.id == artifacts.c.step_id, steps.c.epoch == artifacts.c.epoch),
        isouter=True,
    )
    .where(
        steps.c.build_id == sa.bindparam("its_build"),
        steps.c.name.in_(sa.bindparam("its_names", expanding=True)),
    )
    .order_by(artifacts.c.name)
)


async def artifacts_of_steps(
    connection: AsyncConnection, build_id: str, names: Sequence[str]
) -> Mapping[str, LeftBehind]:
    """By the steps' names."""
    values = {"its_build": build_id, "its_names": list(names)}
    ids: dict[str, str] = {}
    found: dict[str, list[Artifact]] = defaultdict(list)
    for row in await connection.execute(_LEFT_BEHIND, values):
        ids[row.step_name] = row.its_step
        if row.step_id is not None:
            found[row.step_name].append(_artifact(row))
    return {name: LeftBehind(step_id=id_, artifacts=found[name]) for name, id_ in ids.items()}


async def artifacts_of(connection: AsyncConnection, step_id: str, epoch: int) -> Sequence[Artifact]:
    query = (
        sa.select(*columns(Artifact, artifacts))
        .where(artifacts.c.step_id == step_id, artifacts.c.epoch == epoch)
        .order_by(artifacts.c.name)
    )
    return [_artifact(row) for row in await connection.execute(query)]
