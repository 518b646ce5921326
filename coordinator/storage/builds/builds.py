"""Builds, their steps, attempts and artifacts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from coordinator.domain.builds.roll_up import Links, links_of
from coordinator.domain.lifecycle import FINISHED_BUILD, FINISHED_STEP, BuildState, StepState
from coordinator.domain.model import Build, ModuleRef, PullRequestRef, Step
from coordinator.domain.steps.scheduling import queue_class_of
from coordinator.domain.upkeep.keeps import keeps_of
from coordinator.domain.upstream import Upstream
from coordinator.storage.builds.build_counts import Counted, count
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.direct_statements import direct
from coordinator.storage.rows import columns, reader, values_of
from coordinator.storage.steps.rows import step_of
from coordinator.storage.tables import (
    builds,
    steps,
    workflows,
)
from pipelines_schema import Notify, PinnedInclude

build_of = reader(
    Build,
    state=BuildState,
    pull_request=lambda value: value and PullRequestRef.from_json(value),
    module=lambda value: value and ModuleRef.from_json(value),
    includes=lambda value: tuple(map(PinnedInclude.from_json, value)),
    upstream=lambda value: value and Upstream.from_json(value),
    notify=lambda value: tuple(map(Notify.from_json, value or ())),
)
_read_counted = reader(Counted)


# Statements that each step needs are made once: making one costs four times as much as running it.
_ITS_ID: sa.BindParameter[str] = sa.bindparam("its_id")
_FIND_BUILD = direct(sa.select(*columns(Build, builds)).where(builds.c.id == _ITS_ID))
_UPDATE_BUILD = builds.update().where(builds.c.id == _ITS_ID)
_MOVE_BUILD = direct(_UPDATE_BUILD)
_COUNT_VERSION = direct(
    _UPDATE_BUILD.values(
        version=builds.c.version + 1,
        updated_at=sa.bindparam("now"),
        open_steps=sa.func.coalesce(
            sa.bindparam("still_open", type_=sa.Integer),
            builds.c.open_steps - sa.bindparam("ended"),
        ),
    ).returning(*columns(Build, builds))
)
_INSERT_BUILD = direct(builds.insert())
_INSERT_STEPS = direct(steps.insert())
_STEPS_OF_BUILD = direct(
    sa.select(*columns(Step, steps))
    .where(steps.c.build_id == sa.bindparam("its_build"))
    .order_by(steps.c.position)
)
_STEPS_OF_BUILDS = direct(
    sa.select(*columns(Step, steps))
    .where(steps.c.build_id.in_(sa.bindparam("its_builds", expanding=True)))
    .order_by(steps.c.build_id, steps.c.position)
)


async def insert_build(
    connection: AsyncConnection, build: Build, build_steps: Sequence[Step]
) -> None:
    values = values_of(Build, builds, build)
    values |= {
        "problems": [dict(problem) for problem in build.problems],
        "pull_request": build.pull_request and build.pull_request.to_json(),
        "module": build.module and build.module.to_json(),
        "includes": [one.to_json() for one in build.includes],
        "upstream": build.upstream and build.upstream.to_json(),
        "notify": [one.to_json() for one in build.notify] or None,
    }
    links = links_of(build_steps)
    values["keeps"] = list(keeps_of(build_steps)) or None
    values["open_steps"] = sum(step.state not in FINISHED_STEP for step in build_steps)
    await connection.execute(_INSERT_BUILD, values)
    counted = Counted(
        account_id=build.account_id,
        project_id=build.project_id,
        branch=build.branch,
        state=build.state.value,
    )
    await count(connection, (counted, 1))
    if build_steps:
        rows = [step_values(step, links[step.id]) for step in build_steps]
        await connection.execute(_INSERT_STEPS, rows)


def step_values(step: Step, links: Links) -> dict[str, Any]:
    queue_class = queue_class_of(step.account_id, step.labels, step.needs)
    return {
        **values_of(Step, steps, step),
        "definition": step.definition.to_json(),
        "answer": step.answer and step.answer.to_json(),
        "gone_outputs": [one.to_json() for one in step.gone_outputs] or None,
        "dependants": list(links.dependants),
        "waits": links.waits,
        "queue_class": queue_class,
    }


async def last_commit(
    connection: AsyncConnection,
    project_id: str,
    workflow_path: str,
    branch: str,
    *,
    not_of: str | None,
    succeeded: bool,
) -> str | None:
    """Of the branch's last build of the workflow that has succeeded, or else: that was not
    cancelled, and did not fail before it began. The build with the id `not_of` doesn't count; None
    where there is none."""
    failed = builds.c.state.in_([BuildState.CANCELLED, BuildState.FAILED])
    begun = sa.and_(builds.c.state == BuildState.FAILED, builds.c.started_at.is_not(None))
    counts = builds.c.state == BuildState.SUCCEEDED if succeeded else sa.or_(~failed, begun)
    query = (
        sa.select(builds.c.commit_hash)
        .join(workflows, workflows.c.id == builds.c.workflow_id)
        .where(
            builds.c.project_id == project_id,
            builds.c.branch == branch,
            workflows.c.path == workflow_path,
            builds.c.commit_hash.is_not(None),
            builds.c.id != (not_of or ""),
            counts,
        )
        .order_by(builds.c.ordinal.desc())
        .limit(1)
    )
    return (await connection.execute(query)).scalar()


async def find_build(connection: AsyncConnection, build_id: str) -> Build | None:
    row = (await connection.execute(_FIND_BUILD, {"its_id": build_id})).first()
    return build_of(row) if row else None


async def ids_of_numbers(
    connection: AsyncConnection, project_id: str, numbers: Collection[int]
) -> dict[int, str]:
    """By number; those of deleted builds are left out."""
    query = sa.select(builds.c.number, builds.c.id).where(
        builds.c.project_id == project_id, builds.c.number.in_(numbers)
    )
    return {row.number: row.id for row in await connection.execute(query)}


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


async def builds_of_commit(
    connection: AsyncConnection, project_id: str, commit_hash: str
) -> Sequence[Build]:
    """The oldest first."""
    query = (
        sa.select(*columns(Build, builds))
        .where(builds.c.project_id == project_id, builds.c.commit_hash == commit_hash)
        .order_by(builds.c.number)
    )
    return [build_of(row) for row in await connection.execute(query)]


_UNFINISHED = [state.value for state in BuildState if state not in FINISHED_BUILD]


async def unfinished_of_pull_request(
    connection: AsyncConnection, project_id: str, number: int
) -> Sequence[Build]:
    """The oldest first."""
    query = (
        sa.select(*columns(Build, builds))
        .where(
            builds.c.project_id == project_id,
            builds.c.state.in_(_UNFINISHED),
            builds.c.pull_request.is_not(None),
        )
        .order_by(builds.c.ordinal)
    )
    found = [build_of(row) for row in await connection.execute(query)]
    return [one for one in found if one.pull_request and one.pull_request.number == number]


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


async def miscounted_builds(connection: AsyncConnection) -> Sequence[str]:
    """Ids of builds on their way whose counts are not those of their steps."""
    its = steps.c.build_id == builds.c.id
    finished = [state.value for state in FINISHED_STEP]
    still_open = (
        sa.select(sa.func.count())
        .where(its, steps.c.state.not_in(finished))
        .correlate(builds)
        .scalar_subquery()
    )
    waits_for_nothing = (
        sa.exists()
        .where(its, steps.c.state == StepState.BLOCKED.value, steps.c.waits <= 0)
        .correlate(builds)
    )
    query = sa.select(builds.c.id).where(
        builds.c.state.in_([BuildState.QUEUED.value, BuildState.RUNNING.value]),
        sa.not_(builds.c.in_line),
        sa.or_(builds.c.open_steps != still_open, waits_for_nothing),
    )
    return list((await connection.execute(query)).scalars())


async def move_build(connection: AsyncConnection, build: Build, **values: Any) -> None:
    """To another `state`, whose version was counted up already. `build` is as it is stored."""
    was = Counted(
        account_id=build.account_id,
        project_id=build.project_id,
        branch=build.branch,
        state=build.state.value,
    )
    await count(connection, (was, -1), (replace(was, state=values["state"]), 1))
    await connection.execute(_MOVE_BUILD, {"its_id": build.id, **values})


async def set_fails_as(connection: AsyncConnection, build_id: str, reason: str | None) -> None:
    """The first reason stays."""
    await connection.execute(
        builds.update()
        .where(builds.c.id == build_id, builds.c.fails_as.is_(None))
        .values(fails_as=reason)
    )


async def _recount(connection: AsyncConnection, build_id: str, state: str) -> None:
    """The build is counted in that state from now on."""
    was = await _counted(connection, build_id)
    if was is not None and was.state != state:
        await count(connection, (was, -1), (replace(was, state=state), 1))


async def _counted(connection: AsyncConnection, build_id: str) -> Counted | None:
    query = sa.select(*columns(Counted, builds)).where(builds.c.id == build_id)
    row = (await connection.execute(query)).first()
    return _read_counted(row) if row else None


async def steps_of_builds(
    connection: AsyncConnection, build_ids: Collection[str]
) -> Mapping[str, Sequence[Step]]:
    """By build; those of a build in their order."""
    found: dict[str, list[Step]] = {build_id: [] for build_id in build_ids}
    for row in await connection.execute(_STEPS_OF_BUILDS, {"its_builds": list(build_ids)}):
        found[row.build_id].append(step_of(row))
    return found


async def steps_of_build(connection: AsyncConnection, build_id: str) -> Sequence[Step]:
    found = await connection.execute(_STEPS_OF_BUILD, {"its_build": build_id})
    return [step_of(row) for row in found]


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
