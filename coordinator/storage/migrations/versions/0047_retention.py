"""retention: what is kept, and for how long; where there are builds already, only told"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0047"
down_revision = "0046"
branch_labels = None
depends_on = None

LOGS = """
    SELECT steps.project_id AS project_id, SUM(attempts.log_bytes) AS bytes
    FROM attempts JOIN steps ON steps.id = attempts.step_id
    WHERE attempts.log_of IS NULL
    GROUP BY steps.project_id
"""


def upgrade() -> None:
    op.add_column("builds", sa.Column("pinned_by", sa.Text))
    op.add_column("builds", sa.Column("logs_gone_at", sa.BigInteger))
    op.add_column("builds", sa.Column("artifacts_gone_at", sa.BigInteger))
    op.add_column(
        "projects", sa.Column("log_bytes", sa.BigInteger, nullable=False, server_default="0")
    )
    retention = op.create_table(
        "retention",
        sa.Column("scope_id", sa.String(36), nullable=False),
        sa.Column("rules", sa.JSON, nullable=False),
        sa.Column("enforced", sa.Boolean, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("scope_id", name="pk_retention"),
    )
    connection = op.get_bind()
    for row in connection.execute(sa.text(LOGS)).all():
        connection.execute(
            sa.text("UPDATE projects SET log_bytes = :bytes WHERE id = :id"),
            {"bytes": int(row.bytes or 0), "id": row.project_id},
        )
    is_new = connection.execute(sa.text("SELECT 1 FROM builds LIMIT 1")).first() is None
    connection.execute(
        retention.insert().values(scope_id="", rules={}, enforced=is_new, updated_at=0)
    )
