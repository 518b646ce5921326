"""Every project with its last build, in one query."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from coordinator.domain.builds.overview import LastBuild, ProjectGlance
from coordinator.domain.lifecycle import BuildState
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.rows import columns, reader
from coordinator.storage.tables import accounts, builds, projects

_last_build = reader(LastBuild, state=BuildState)

_newest = builds.alias("newest")
_last = (
    sa.select(sa.func.max(_newest.c.ordinal))
    .where(_newest.c.project_id == projects.c.id)
    .scalar_subquery()
)
_glances = (
    sa.select(
        projects.c.id.label("project_id"),
        projects.c.name.label("project_name"),
        accounts.c.slug.label("account_slug"),
        *columns(LastBuild, builds),
    )
    .join_from(projects, accounts)
    .outerjoin(builds, builds.c.ordinal == _last)
)


async def glances(connection: AsyncConnection, account_id: str | None) -> Sequence[ProjectGlance]:
    """Of the account's projects (of all where it is None), in no order."""
    query = _glances
    if account_id is not None:
        query = query.where(projects.c.account_id == account_id)
    return [_glance(row) for row in await connection.execute(query)]


def _glance(row: sa.Row[tuple[object, ...]]) -> ProjectGlance:
    return ProjectGlance(
        id=row.project_id,
        account_slug=row.account_slug,
        name=row.project_name,
        last_build=_last_build(row) if row.id is not None else None,
    )
