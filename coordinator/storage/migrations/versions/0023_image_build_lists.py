"""image build lists: an account's and all image builds, newest first"""

from __future__ import annotations

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for columns in (["account_id", "created_at"], ["created_at"]):
        op.create_index(f"ix_image_builds_{'_'.join(columns)}", "image_builds", columns)
