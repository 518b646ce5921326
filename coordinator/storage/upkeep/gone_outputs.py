"""Deleting logs and artifacts of builds that stay, or that are too large to go at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from coordinator.storage.builds.deletions import doom_blobs, doom_logs
from coordinator.storage.builds.quotas import own_log_bytes
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.projects.stored_bytes import add_to_project
from coordinator.storage.tables import (
    artifacts,
    attempts,
    builds,
    output_entries,
    step_inputs,
    steps,
)

_AT_ONCE = 500
"""In one statement: databases limit the values of one."""


async def delete_some_outputs(
    connection: AsyncConnection, build_ids: Collection[str], limit: int, now: datetime
) -> int:
    """At most `limit` of their files, links and folders; how many it were. The first time the
    builds are marked, so that nobody takes what is left for all."""
    await _mark_outputs(connection, build_ids, now)
    deleted = await _delete_files(connection, build_ids, limit)
    if deleted < limit:
        deleted += await _delete_entries(connection, build_ids, limit - deleted)
    return deleted


async def _mark_outputs(
    connection: AsyncConnection, build_ids: Collection[str], now: datetime
) -> None:
    marked = await connection.execute(
        builds.update()
        .where(builds.c.id.in_(build_ids), builds.c.artifacts_gone_at.is_(None))
        .values(artifacts_gone_at=now, version=builds.c.version + 1)
    )
    if marked.rowcount:
        await offer_no_results(connection, steps.c.build_id.in_(build_ids))


async def offer_no_results(connection: AsyncConnection, whose: sa.ColumnElement[bool]) -> None:
    """No later build takes what is not whole any more."""
    its_steps = sa.select(steps.c.id).where(whose)
    await connection.execute(
        step_inputs.update()
        .where(step_inputs.c.step_id.in_(its_steps), step_inputs.c.epoch.is_not(None))
        .values(epoch=None)
    )


async def _delete_files(connection: AsyncConnection, build_ids: Collection[str], limit: int) -> int:
    key = (artifacts.c.step_id, artifacts.c.epoch, artifacts.c.name)
    query = (
        sa.select(
            *key, artifacts.c.size, artifacts.c.sha256, steps.c.account_id, steps.c.project_id
        )
        .join(steps, steps.c.id == artifacts.c.step_id)
        .where(steps.c.build_id.in_(build_ids))
        .limit(limit)
    )
    found = (await connection.execute(query)).all()
    await delete_files(connection, found)
    return len(found)


async def delete_files(connection: AsyncConnection, found: Sequence[Any]) -> None:
    """Rows of artifacts, with account and project."""
    key = (artifacts.c.step_id, artifacts.c.epoch, artifacts.c.name)
    digests: dict[str, set[str]] = defaultdict(set)
    sizes: dict[str, int] = defaultdict(int)
    for row in found:
        digests[row.account_id].add(row.sha256)
        sizes[row.project_id] += row.size
    for begin in range(0, len(found), _AT_ONCE):
        some = [(row.step_id, row.epoch, row.name) for row in found[begin : begin + _AT_ONCE]]
        await connection.execute(artifacts.delete().where(sa.tuple_(*key).in_(some)))
    for account_id, of_account in digests.items():
        await doom_blobs(connection, account_id, of_account)
    for project_id, size in sizes.items():
        await add_to_project(connection, project_id, -size)


async def _delete_entries(
    connection: AsyncConnection, build_ids: Collection[str], limit: int
) -> int:
    key = (output_entries.c.step_id, output_entries.c.epoch, output_entries.c.name)
    query = (
        sa.select(*key)
        .join(steps, steps.c.id == output_entries.c.step_id)
        .where(steps.c.build_id.in_(build_ids))
        .limit(limit)
    )
    found = (await connection.execute(query)).all()
    await delete_entries(connection, found)
    return len(found)


async def delete_entries(connection: AsyncConnection, found: Sequence[Any]) -> None:
    """Rows of links and folders."""
    key = (output_entries.c.step_id, output_entries.c.epoch, output_entries.c.name)
    for begin in range(0, len(found), _AT_ONCE):
        some = [(row.step_id, row.epoch, row.name) for row in found[begin : begin + _AT_ONCE]]
        await connection.execute(output_entries.delete().where(sa.tuple_(*key).in_(some)))


async def delete_logs(
    connection: AsyncConnection, build_ids: Collection[str], now: datetime
) -> None:
    """Of builds that stay; those that they share with others are deleted when no other has them."""
    query = (
        sa.select(builds.c.project_id, sa.func.sum(own_log_bytes()))
        .join(steps, steps.c.build_id == builds.c.id)
        .join(attempts, attempts.c.step_id == steps.c.id)
        .where(builds.c.id.in_(build_ids))
        .group_by(builds.c.project_id)
    )
    for project_id, size in (await connection.execute(query)).all():
        await add_to_project(connection, project_id, -int(size), of_logs=-int(size))
    await doom_logs(connection, build_ids)
    await offer_no_results(connection, steps.c.build_id.in_(build_ids))
    await connection.execute(
        builds.update()
        .where(builds.c.id.in_(build_ids))
        .values(logs_gone_at=now, version=builds.c.version + 1)
    )
