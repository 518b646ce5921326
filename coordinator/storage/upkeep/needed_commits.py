"""Which commits of a project's repository rows of ours name."""

from __future__ import annotations

import sqlalchemy as sa

from coordinator.storage.connection import AsyncConnection
from coordinator.storage.tables import begun_pushes, builds, module_files, seen_refs


async def needed_commits(connection: AsyncConnection, project_id: str) -> frozenset[str]:
    """Of builds, and of what was seen of refs and modules. Deliveries bring theirs anew."""
    columns = (
        builds.c.commit_hash,
        seen_refs.c.sha,
        begun_pushes.c.sha,
        module_files.c.commit_hash,
    )
    found: set[str] = set()
    for column in columns:
        named = sa.select(column).where(
            column.table.c.project_id == project_id, column.is_not(None)
        )
        found.update((await connection.execute(named.distinct())).scalars())
    return frozenset(found)
