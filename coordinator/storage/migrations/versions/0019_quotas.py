"""quotas: which steps of a project wait, and how many bytes it stores

To be renumbered, with `down_revision` and migrate.HEAD, where another one is merged first.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

SUMS = """
    SELECT project_id, SUM(size) AS bytes FROM (
    SELECT steps.project_id AS project_id, artifacts.size AS size
    FROM artifacts JOIN steps ON steps.id = artifacts.step_id
    UNION ALL
    SELECT steps.project_id, attempts.log_bytes
    FROM attempts JOIN steps ON steps.id = attempts.step_id
    ) AS sizes GROUP BY project_id
"""


def upgrade() -> None:
    op.create_index(
        "ix_steps_waiting",
        "steps",
        ["project_id"],
        sqlite_where=sa.text("state IN ('blocked', 'ready')"),
        postgresql_where=sa.text("state IN ('blocked', 'ready')"),
    )
    op.add_column(
        "projects", sa.Column("stored_bytes", sa.BigInteger(), nullable=False, server_default="0")
    )
    connection = op.get_bind()
    sums = connection.execute(sa.text(SUMS)).all()
    for row in sums:
        connection.execute(
            sa.text("UPDATE projects SET stored_bytes = :bytes WHERE id = :id"),
            {"bytes": int(row.bytes or 0), "id": row.project_id},
        )
