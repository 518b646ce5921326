"""The installation itself."""

from __future__ import annotations

import sqlalchemy as sa

from coordinator.storage.tables.columns import Instant, metadata

generations = sa.Table(
    "generations",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("first_epoch", sa.Integer, nullable=False),
    sa.Column("backed_up_at", Instant, nullable=False),
    sa.Column("restored_at", Instant, nullable=False),
    # NULL until the first start has settled what was handed out before.
    sa.Column("entered_at", Instant),
)
