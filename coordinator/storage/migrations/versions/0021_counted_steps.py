"""counted steps: who depends on a step, how much is open, and what a completion handed over"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

OPEN_BUILD = ("held", "queued", "running")
FINISHED_STEP = ("succeeded", "failed", "cancelled", "skipped")


def upgrade() -> None:
    for table, name in (("builds", "open_steps"), ("steps", "waits")):
        op.add_column(table, sa.Column(name, sa.Integer, nullable=False, server_default="0"))
    op.add_column("steps", sa.Column("dependants", sa.JSON, nullable=False, server_default="[]"))
    op.add_column("attempts", sa.Column("given_with", sa.String(60)))
    for name, table, column, where in (
        ("ix_steps_images", "steps", "build_id", "images IS NOT NULL"),
        ("ix_attempts_given_with", "attempts", "given_with", "state = 'running'"),
    ):
        condition = sa.text(where)
        op.create_index(name, table, [column], sqlite_where=condition, postgresql_where=condition)
    _count()


def _count() -> None:
    """Of builds that have not ended: nobody asks for the others."""
    builds = sa.table("builds", *map(sa.column, ("id", "state", "open_steps")))
    steps = sa.table(
        "steps",
        *map(sa.column, ("id", "build_id", "name", "position", "state", "waits")),
        sa.column("depends_on", sa.JSON),
        sa.column("dependants", sa.JSON),
    )
    connection = op.get_bind()
    unfinished = sa.select(builds.c.id).where(builds.c.state.in_(OPEN_BUILD))
    of_build: dict[str, list[Any]] = defaultdict(list)
    for row in connection.execute(sa.select(steps).where(steps.c.build_id.in_(unfinished))):
        of_build[row.build_id].append(row)
    for build_id, rows in of_build.items():
        for step_id, values in _links(rows):
            connection.execute(steps.update().where(steps.c.id == step_id).values(**values))
        still_open = sum(row.state not in FINISHED_STEP for row in rows)
        connection.execute(
            builds.update().where(builds.c.id == build_id).values(open_steps=still_open)
        )


def _links(rows: Sequence[Any]) -> list[tuple[str, dict[str, Any]]]:
    dependants: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        for name in row.depends_on:
            dependants[name].append(row.position)
    still_open = {row.name for row in rows if row.state not in FINISHED_STEP}
    return [
        (
            row.id,
            {
                "dependants": dependants[row.name],
                "waits": sum(name in still_open for name in row.depends_on),
            },
        )
        for row in rows
    ]
