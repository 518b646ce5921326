"""Every project with its last build, in one query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from coordinator.domain.builds.overview import LastBuild, ProjectGlance
from coordinator.domain.last_made import LastMade
from coordinator.domain.lifecycle import BuildState
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.direct_statements import direct
from coordinator.storage.rows import columns, reader
from coordinator.storage.tables import accounts, builds, projects
from coordinator.storage.tables.columns import as_stored, instant_of

_last_build = reader(
    LastBuild,
    state=BuildState,
    created_at=instant_of,
    started_at=instant_of,
    finished_at=instant_of,
)

_project = (
    projects.c.id.label("project_id"),
    projects.c.name.label("project_name"),
    accounts.c.slug.label("account_slug"),
)
_shown = [as_stored(column) for column in columns(LastBuild, builds)]
_newest = builds.alias("newest")
_last = sa.select(sa.func.max(_newest.c.ordinal)).where(_newest.c.project_id == projects.c.id)
_BY_TWO_LOOKS = (
    sa.select(*_project, *_shown)
    .join_from(projects, accounts)
    .outerjoin(builds, builds.c.ordinal == _last.scalar_subquery())
)
"""Into the project's index, and for its row."""

_its_last = (
    sa.select(*_shown)
    .where(builds.c.project_id.between(projects.c.id, projects.c.id))
    .order_by(builds.c.project_id.desc(), builds.c.ordinal.desc())
    .limit(1)
    .lateral("its_last")
)
_BY_ONE_LOOK = (
    sa.select(*_project, *_its_last.c).join_from(projects, accounts).outerjoin(_its_last, sa.true())
)
"""A third less for PostgreSQL; SQLite can't. A range, and not equal: else the order would be the
ordinal's alone, and PostgreSQL might look through all builds from the newest on."""


def _of_all_and_of_one(glances: sa.Select[Any]) -> tuple[sa.Select[Any], sa.Select[Any]]:
    of_one = glances.where(projects.c.account_id == sa.bindparam("its_account"))
    return direct(glances), direct(of_one)


_GLANCES = {
    "sqlite": _of_all_and_of_one(_BY_TWO_LOOKS),
    "postgresql": _of_all_and_of_one(_BY_ONE_LOOK),
}


async def glances(connection: AsyncConnection, account_id: str | None) -> Sequence[ProjectGlance]:
    """Of the account's projects (of all where it is None), in no order; what looks as it did
    before is the same object."""
    of_all, of_one = _GLANCES[connection.dialect.name]
    if account_id is None:
        found = await connection.execute(of_all)
    else:
        found = await connection.execute(of_one, {"its_account": account_id})
    return [_KNOWN.of(row.project_id, row) for row in found]


def _glance(row: Any) -> ProjectGlance:
    return ProjectGlance(
        id=row.project_id,
        account_slug=row.account_slug,
        name=row.project_name,
        last_build=_last_build(row) if row.id is not None else None,
    )


_KNOWN: LastMade[Any, ProjectGlance] = LastMade(_glance)
