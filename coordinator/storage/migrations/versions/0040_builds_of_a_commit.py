"""builds of a commit: found when it is pushed and asked to be merged"""

from __future__ import annotations

from alembic import op

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_builds_commit", "builds", ["project_id", "commit_hash"])
