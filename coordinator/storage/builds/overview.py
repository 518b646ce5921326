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
        *map(as_stored, columns(LastBuild, builds)),
    )
    .join_from(projects, accounts)
    .outerjoin(builds, builds.c.ordinal == _last)
)
_GLANCES = direct(_glances)
_GLANCES_OF_ACCOUNT = direct(_glances.where(projects.c.account_id == sa.bindparam("its_account")))


async def glances(connection: AsyncConnection, account_id: str | None) -> Sequence[ProjectGlance]:
    """Of the account's projects (of all where it is None), in no order; what looks as it did
    before is the same object."""
    if account_id is None:
        found = await connection.execute(_GLANCES)
    else:
        found = await connection.execute(_GLANCES_OF_ACCOUNT, {"its_account": account_id})
    return [_KNOWN.of(row.project_id, row) for row in found]


def _glance(row: Any) -> ProjectGlance:
    return ProjectGlance(
        id=row.project_id,
        account_slug=row.account_slug,
        name=row.project_name,
        last_build=_last_build(row) if row.id is not None else None,
    )


_KNOWN: LastMade[Any, ProjectGlance] = LastMade(_glance)
