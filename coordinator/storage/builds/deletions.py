"""What deleted builds and projects leave on disk, written down until it is deleted too."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from coordinator.domain.model import Project
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.rows import reader
from coordinator.storage.tables import (
    artifacts,
    attempts,
    builds,
    doomed_objects,
    lfs_objects,
    projects,
    step_results,
    steps,
)


class ObjectKind(StrEnum):
    LOG = "log"
    """Named by the attempt's id; deleted only if no attempt has it as its log any more."""
    BLOB = "blob"
    """Named by its sha256; deleted only if nothing of the account refers to it any more."""
    REPOSITORY = "repository"
    """Named by its project's id."""
    TESTS = "tests"
    """Rows of our own, named by their `tests_id`, which are too many for one transaction; deleted
    only if no step's results refer to them any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoomedObject:
    kind: ObjectKind
    account_id: str
    name: str


_doomed = reader(DoomedObject, kind=ObjectKind)
# Both databases know it, but SQLAlchemy has one construct for each.
_DOOM = sa.text(
    "INSERT INTO doomed_objects (kind, account_id, name) VALUES (:kind, :account_id, :name)"
    " ON CONFLICT (kind, account_id, name) DO NOTHING"
)
_FORGET = doomed_objects.delete().where(
    doomed_objects.c.kind == sa.bindparam("its_kind"),
    doomed_objects.c.account_id == sa.bindparam("its_account"),
    doomed_objects.c.name == sa.bindparam("its_name"),
)


async def doom_builds(connection: AsyncConnection, build_ids: Collection[str]) -> None:
    """All that is in the store of builds which are about to be deleted."""
    await _doom_outputs(connection, steps.c.build_id.in_(build_ids))


async def _doom_outputs(connection: AsyncConnection, whose: sa.ColumnElement[bool]) -> None:
    """Of the steps that `whose` chooses."""
    await _doom_logs(connection, whose)
    blobs = sa.select(steps.c.account_id, artifacts.c.sha256.label("name")).join(artifacts)
    await _doom(connection, ObjectKind.BLOB, blobs.where(whose))
    tests_id = sa.cast(step_results.c.tests_id, sa.Text).label("name")
    tests = sa.select(steps.c.account_id, tests_id).join(step_results)
    await _doom(connection, ObjectKind.TESTS, tests.where(whose))


async def doom_logs(connection: AsyncConnection, build_ids: Collection[str]) -> None:
    """Of builds that stay."""
    await _doom_logs(connection, steps.c.build_id.in_(build_ids))


async def _doom_logs(connection: AsyncConnection, whose: sa.ColumnElement[bool]) -> None:
    own = steps.c.id + "-" + sa.cast(attempts.c.epoch, sa.String)  # see model.attempt_id
    log = sa.func.coalesce(attempts.c.log_of, own).label("name")
    logs = sa.select(steps.c.account_id, log).join(attempts)
    await _doom(connection, ObjectKind.LOG, logs.where(whose))


async def doom_blobs(
    connection: AsyncConnection, account_id: str, digests: Collection[str]
) -> None:
    """Which nothing that was deleted with this transaction refers to any more."""
    rows = [
        {"kind": ObjectKind.BLOB.value, "account_id": account_id, "name": name}
        for name in sorted(digests)
    ]
    await connection.execute(_DOOM, rows)


async def doom_log(connection: AsyncConnection, account_id: str, name: str) -> None:
    """Of an attempt that never was."""
    known = sa.exists().where(
        doomed_objects.c.kind == ObjectKind.LOG.value,
        doomed_objects.c.account_id == account_id,
        doomed_objects.c.name == name,
    )
    row = sa.select(sa.literal(ObjectKind.LOG.value), sa.literal(account_id), sa.literal(name))
    await connection.execute(
        doomed_objects.insert().from_select(["kind", "account_id", "name"], row.where(~known))
    )


async def doom_project(connection: AsyncConnection, project: Project) -> None:
    """All that is outside of the database of a project which is about to be deleted."""
    await _doom_outputs(connection, steps.c.project_id == project.id)
    its_account = sa.literal(project.account_id).label("account_id")
    lfs = sa.select(its_account, lfs_objects.c.oid.label("name")).where(
        lfs_objects.c.project_id == project.id
    )
    await _doom(connection, ObjectKind.BLOB, lfs)
    repository = sa.select(its_account, sa.literal(project.id).label("name"))
    await _doom(connection, ObjectKind.REPOSITORY, repository)


async def _doom(connection: AsyncConnection, kind: ObjectKind, named: sa.Select[str, str]) -> None:
    """What is doomed already stays so. One statement, since a project has many."""
    wanted, known = named.distinct().subquery(), doomed_objects.alias("known")
    known_already = sa.exists().where(
        known.c.kind == kind.value,
        known.c.account_id == wanted.c.account_id,
        known.c.name == wanted.c.name,
    )
    rows = sa.select(sa.literal(kind.value), wanted.c.account_id, wanted.c.name)
    await connection.execute(
        doomed_objects.insert().from_select(
            ["kind", "account_id", "name"], rows.where(~known_already)
        )
    )


async def list_doomed(connection: AsyncConnection, limit: int) -> Sequence[DoomedObject]:
    query = sa.select(doomed_objects).limit(limit)
    return [_doomed(row) for row in await connection.execute(query)]


async def count_doomed(connection: AsyncConnection) -> int:
    query = sa.select(sa.func.count()).select_from(doomed_objects)
    return int((await connection.execute(query)).scalar_one())


async def forget_doomed(connection: AsyncConnection, doomed: Sequence[DoomedObject]) -> None:
    rows = [
        {"its_kind": one.kind.value, "its_account": one.account_id, "its_name": one.name}
        for one in doomed
    ]
    if rows:
        await connection.execute(_FORGET, rows)


async def has_log(connection: AsyncConnection, name: str) -> bool:
    """Whether that is the log of an attempt, its own or one that was taken over, of a build whose
    logs are not deleted."""
    step_id, _, epoch = name.rpartition("-")
    own = sa.and_(attempts.c.step_id == step_id, attempts.c.epoch == int(epoch))
    for its in (own, attempts.c.log_of == name):
        query = (
            sa.select(sa.literal(1))
            .select_from(attempts)
            .join(steps, steps.c.id == attempts.c.step_id)
            .join(builds, builds.c.id == steps.c.build_id)
            .where(its, builds.c.logs_gone_at.is_(None))
        )
        if (await connection.execute(query.limit(1))).first() is not None:
            return True
    return False


async def named_blobs(
    connection: AsyncConnection, account_id: str, digests: Sequence[str]
) -> set[str]:
    """Of these, the ones for which `is_referred_to` is true. Each is looked up by itself, within
    two statements: what many builds have left alike costs no more than what one has."""
    named: set[str] = set()
    for whose in (_OF_ARTIFACT, _OF_LFS):
        if left := [one for one in digests if one not in named]:
            values = ", ".join(f"(:sha{number})" for number in range(len(left)))
            query = sa.text(
                f"WITH wanted (sha256) AS (VALUES {values})"  # noqa: S608 names of parameters
                f" SELECT sha256 FROM wanted WHERE ({whose} LIMIT 1) IS NOT NULL"
            )
            given = {f"sha{number}": one for number, one in enumerate(left)}
            found = await connection.execute(query, {"account_id": account_id, **given})
            named.update(found.scalars())
    return named


# Not EXISTS, of which PostgreSQL makes a join: it read all artifacts for 500 digests.
_OF_ARTIFACT = (
    "SELECT 1 FROM artifacts JOIN steps ON steps.id = artifacts.step_id"
    " WHERE artifacts.sha256 = wanted.sha256 AND steps.account_id = :account_id"
)
_OF_LFS = (
    "SELECT 1 FROM projects JOIN lfs_objects ON projects.id = lfs_objects.project_id"
    " WHERE lfs_objects.oid = wanted.sha256 AND projects.account_id = :account_id"
)


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
