"""What retention looks at, the limits that somebody set, and which rows go in one transaction."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from coordinator.domain.lifecycle import FINISHED_BUILD, BuildState
from coordinator.domain.upkeep.retention import BuildFacts
from coordinator.storage.builds.quotas import own_log_bytes
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.tables import (
    artifacts,
    attempts,
    builds,
    deployments,
    image_builds,
    output_entries,
    retention,
    steps,
)

INSTALLATION = ""
PAGE = 200
"""Builds that are looked at at once."""

_FINISHED = [state.value for state in FINISHED_BUILD]


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What somebody set: kind → limits."""

    rules: Mapping[str, Mapping[str, int]]
    enforced: bool


async def given_for(connection: AsyncConnection, scope_id: str) -> Given | None:
    query = sa.select(retention.c.rules, retention.c.enforced).where(
        retention.c.scope_id == scope_id
    )
    row = (await connection.execute(query)).first()
    return None if row is None else Given(rules=row.rules, enforced=row.enforced)


async def save_given(
    connection: AsyncConnection, scope_id: str, given: Given, now: datetime
) -> None:
    values = {"rules": given.rules, "enforced": given.enforced, "updated_at": now}
    changed = await connection.execute(
        retention.update().where(retention.c.scope_id == scope_id).values(**values)
    )
    if not changed.rowcount:
        await connection.execute(retention.insert().values(scope_id=scope_id, **values))


def _referred_to() -> sa.ColumnElement[bool]:
    """A step's result of another build was taken from it, or a deployment of another runs it."""
    own_steps, own, other = steps.alias("own_steps"), attempts.alias("own"), attempts.alias("other")
    taken = (
        sa.select(sa.literal(1))
        .select_from(own_steps)
        .join(own, own.c.step_id == own_steps.c.id)
        .join(other, other.c.log_of == own.c.step_id + "-" + sa.cast(own.c.epoch, sa.String))
        .where(own_steps.c.build_id == builds.c.id)
    )
    deployed = (
        sa.select(sa.literal(1))
        .select_from(image_builds)
        .join(deployments, deployments.c.image_build_id == image_builds.c.id)
        .where(image_builds.c.build_id == builds.c.id, deployments.c.build_id != builds.c.id)
    )
    return sa.or_(
        taken.correlate(builds).exists(),
        deployed.correlate(builds).exists(),
    )


async def page_of(
    connection: AsyncConnection, project_id: str, before: int | None, *, measured: bool
) -> tuple[Sequence[BuildFacts], int | None]:
    """The newest builds before that ordinal, and the ordinal that the next page begins before, if
    there is one. Bytes are 0 unless they are `measured`."""
    query = sa.select(
        builds.c.id,
        builds.c.ordinal,
        builds.c.number,
        builds.c.state,
        builds.c.branch,
        builds.c.workflow_name,
        builds.c.module,
        builds.c.finished_at,
        builds.c.pinned_by,
        builds.c.logs_gone_at,
        builds.c.artifacts_gone_at,
        builds.c.keeps,
        builds.c.outside,
        builds.c.pull_request,
        _referred_to().label("referred_to"),
    ).where(builds.c.project_id == project_id)
    if before is not None:
        query = query.where(builds.c.ordinal < before)
    found = (await connection.execute(query.order_by(builds.c.ordinal.desc()).limit(PAGE))).all()
    sizes = await _sizes(connection, [row.id for row in found]) if measured and found else {}
    page = [_facts(row, *sizes.get(row.id, (0, 0))) for row in found]
    return page, found[-1].ordinal if len(found) == PAGE else None


def _facts(row: Any, log_bytes: int, artifact_bytes: int) -> BuildFacts:
    module = "" if row.module is None else json.dumps(row.module, sort_keys=True)
    finished = row.state in _FINISHED
    return BuildFacts(
        id=row.id,
        number=row.number,
        finished_at=row.finished_at if finished else None,
        succeeded=row.state == BuildState.SUCCEEDED.value,
        branch=row.branch,
        series=f"{row.workflow_name}\n{module}",
        pinned=row.pinned_by is not None,
        referred_to=bool(row.referred_to),
        has_logs=row.logs_gone_at is None,
        has_artifacts=row.artifacts_gone_at is None,
        log_bytes=log_bytes,
        artifact_bytes=artifact_bytes,
        keeps=tuple(row.keeps or ()),
        of_fork=row.outside or bool(row.pull_request and row.pull_request["fork"] is not False),
    )


async def _sizes(
    connection: AsyncConnection, build_ids: Collection[str]
) -> Mapping[str, tuple[int, int]]:
    """Of logs and of artifacts, as the project's quota counts them."""
    found: list[Mapping[str, int]] = []
    for table, size in ((attempts, own_log_bytes()), (artifacts, artifacts.c.size)):
        query = (
            sa.select(builds.c.id, sa.func.sum(size))
            .join(steps, steps.c.build_id == builds.c.id)
            .join(table, table.c.step_id == steps.c.id)
            .where(builds.c.id.in_(build_ids))
            .group_by(builds.c.id)
        )
        rows = (await connection.execute(query)).all()
        found.append({build_id: int(total or 0) for build_id, total in rows})
    logs, files = found
    return {one: (logs.get(one, 0), files.get(one, 0)) for one in build_ids}


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCount:
    build_id: str
    outputs: int
    """Files, links and folders."""
    others: int


async def count_rows(
    connection: AsyncConnection, build_ids: Sequence[str], most: int
) -> Sequence[RowCount]:
    """What deleting each of them would touch; `outputs` are counted up to `most` and one more."""
    of_steps: dict[str, int] = {}
    of_outputs: dict[str, int] = {}
    for build_id in build_ids:
        rows = sa.select(
            _some(steps, most, build_id).label("steps"),
            _some(attempts, most, build_id).label("attempts"),
            _some(artifacts, most, build_id).label("artifacts"),
            _some(output_entries, most, build_id).label("entries"),
        )
        found = (await connection.execute(rows)).one()
        # A step has its inputs beside it, an attempt its results, and what it leaves is doomed.
        of_steps[build_id] = 1 + 2 * found.steps + 3 * found.attempts
        of_outputs[build_id] = 2 * found.artifacts + found.entries
    return [
        RowCount(build_id=one, outputs=of_outputs[one], others=of_steps[one]) for one in build_ids
    ]


def _some(table: sa.Table, most: int, build_id: str) -> sa.ScalarSelect[int]:
    """How many rows of the build the table has, counted no further than `most` and one."""
    query = sa.select(sa.literal(1)).select_from(steps)
    if table is not steps:
        query = query.join(table, table.c.step_id == steps.c.id)
    some = query.where(steps.c.build_id == build_id).limit(most + 1).subquery()
    return sa.select(sa.func.count()).select_from(some).scalar_subquery()


async def still_going(connection: AsyncConnection, build_ids: Collection[str]) -> Mapping[str, int]:
    """Of these, the ones that nobody has begun to need since they were looked at: id → number."""
    query = sa.select(builds.c.id, builds.c.number).where(
        builds.c.id.in_(build_ids),
        builds.c.state.in_(_FINISHED),
        builds.c.pinned_by.is_(None),
        ~_referred_to(),
    )
    return {row.id: row.number for row in await connection.execute(query)}
