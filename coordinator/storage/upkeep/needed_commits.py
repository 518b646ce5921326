"""Which commits of a project's repository rows of ours name."""

from __future__ import annotations

import sqlalchemy as sa

from coordinator.domain.model import Project
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.tables import begun_pushes, builds, module_files, seen_refs


async def needed_commits(connection: AsyncConnection, project: Project) -> frozenset[str]:
    """Of builds, and of what was seen of refs and modules. Deliveries bring theirs anew;
    what was seen of a forge's refs may be long gone there, and is only compared with."""
    columns = [builds.c.commit_hash, begun_pushes.c.sha, module_files.c.commit_hash]
    if project.repo_url is None:
        columns.append(seen_refs.c.sha)
    found: set[str] = set()
    for column in columns:
        named = sa.select(column).where(
            column.table.c.project_id == project.id, column.is_not(None)
        )
        found.update((await connection.execute(named.distinct())).scalars())
    return frozenset(found)
