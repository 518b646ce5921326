"""What the database holds of logs until the store has it."""

from __future__ import annotations

import sqlalchemy as sa

from coordinator.storage.tables.columns import metadata

# The pieces of a log behind its last chunk. `start` is an offset in its text; that there is one
# row for each is what keeps two writers from both succeeding. A log may outlive its attempt's row
# by the moment until it is deleted, so nothing refers to that.
log_tails = sa.Table(
    "log_tails",
    metadata,
    sa.Column("attempt_id", sa.String(60), primary_key=True),
    sa.Column("start", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.Text, nullable=False),  # see object_ports.PieceKind
    sa.Column("end_offset", sa.BigInteger, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)
