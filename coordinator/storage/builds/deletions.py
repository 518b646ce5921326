"""What deleted builds leave in the object store, written down until it is deleted too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from coordinator.domain.model import Build, attempt_id
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.rows import reader
from coordinator.storage.tables import (
    artifacts,
    attempts,
    doomed_objects,
    lfs_objects,
    projects,
    steps,
)


class ObjectKind(StrEnum):
    LOG = "log"
    """Named by the attempt's id; deleted only if no attempt has it as its log any more."""
    BLOB = "blob"
    """Named by its sha256; deleted only if nothing of the account refers to it any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoomedObject:
    kind: ObjectKind
    account_id: str
    name: str


_doomed = reader(DoomedObject, kind=ObjectKind)


async def doom_objects(connection: AsyncConnection, build: Build) -> None:
    """All that is in the store of a build which is about to be deleted."""
    doomed = [
        *[(ObjectKind.LOG, name) for name in await _logs(connection, build.id)],
        *[(ObjectKind.BLOB, name) for name in await _digests(connection, build.id)],
    ]
    for kind, name in doomed:
        await _doom(connection, DoomedObject(kind=kind, account_id=build.account_id, name=name))


async def _logs(connection: AsyncConnection, build_id: str) -> Sequence[str]:
    query = (
        sa.select(attempts.c.step_id, attempts.c.epoch, attempts.c.log_of)
        .join(steps, steps.c.id == attempts.c.step_id)
        .where(steps.c.build_id == build_id)
    )
    return [
        row.log_of or attempt_id(row.step_id, row.epoch) for row in await connection.execute(query)
    ]


async def _digests(connection: AsyncConnection, build_id: str) -> Sequence[str]:
    query = (
        sa.select(artifacts.c.sha256)
        .distinct()
        .join(steps, steps.c.id == artifacts.c.step_id)
        .where(steps.c.build_id == build_id)
    )
    return [row.sha256 for row in await connection.execute(query)]


async def _doom(connection: AsyncConnection, doomed: DoomedObject) -> None:
    """A second time changes nothing."""
    await forget_doomed(connection, [doomed])
    await connection.execute(
        doomed_objects.insert().values(
            kind=doomed.kind.value, account_id=doomed.account_id, name=doomed.name
        )
    )


async def list_doomed(connection: AsyncConnection, limit: int) -> Sequence[DoomedObject]:
    query = sa.select(doomed_objects).limit(limit)
    return [_doomed(row) for row in await connection.execute(query)]


async def forget_doomed(connection: AsyncConnection, doomed: Sequence[DoomedObject]) -> None:
    for one in doomed:
        await connection.execute(
            doomed_objects.delete().where(
                doomed_objects.c.kind == one.kind.value,
                doomed_objects.c.account_id == one.account_id,
                doomed_objects.c.name == one.name,
            )
        )


async def has_log(connection: AsyncConnection, name: str) -> bool:
    """Whether that is the log of an attempt, its own or one that was taken over."""
    step_id, _, epoch = name.rpartition("-")
    own = sa.and_(attempts.c.step_id == step_id, attempts.c.epoch == int(epoch))
    query = sa.select(sa.literal(1)).where(sa.or_(own, attempts.c.log_of == name)).limit(1)
    return (await connection.execute(query)).first() is not None


async def is_referred_to(connection: AsyncConnection, account_id: str, sha256: str) -> bool:
    """Whether an artifact or an LFS object of the account has these bytes."""
    of_artifacts = (
        sa.select(sa.literal(1))
        .select_from(artifacts)
        .join(steps, steps.c.id == artifacts.c.step_id)
        .where(artifacts.c.sha256 == sha256, steps.c.account_id == account_id)
    )
    of_lfs = (
        sa.select(sa.literal(1))
        .select_from(lfs_objects)
        .join(projects, projects.c.id == lfs_objects.c.project_id)
        .where(lfs_objects.c.oid == sha256, projects.c.account_id == account_id)
    )
    for query in (of_artifacts, of_lfs):
        if (await connection.execute(query.limit(1))).first() is not None:
            return True
    return False
