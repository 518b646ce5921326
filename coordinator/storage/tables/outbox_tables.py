"""What others are told, and who they are."""

from __future__ import annotations

import sqlalchemy as sa

from coordinator.storage.tables.columns import Instant, id_of, metadata, own_id

recipients = sa.Table(
    "recipients",
    metadata,
    own_id(),
    id_of("projects"),
    sa.Column("kind", sa.Text, nullable=False),
    # Which forge's interface; none where the kind says it all.
    sa.Column("forge", sa.Text),
    # What may be shown of where it goes: a URL's beginning, an e-mail address.
    sa.Column("address", sa.Text, nullable=False),
    # Of notifications: the words of domain.outbox.notifications.Occasion, with spaces between.
    sa.Column("occasions", sa.Text, nullable=False, server_default=""),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Index("ix_recipients_project_id", "project_id"),
)

outbox = sa.Table(
    "outbox",
    metadata,
    # Never used again, so that it tells the order of all that ever was.
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    id_of("projects"),
    # No reference: what became of a message outlives its recipient, and its build.
    sa.Column("recipient_id", sa.String(36), nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("stream", sa.Text, nullable=False),
    sa.Column("build_id", sa.String(36), nullable=False),
    sa.Column("build_number", sa.Integer, nullable=False),
    sa.Column("facts", sa.JSON, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_try_at", Instant),
    # When it was created, or last given another chance by somebody.
    sa.Column("tried_since", Instant, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("finished_at", Instant),
    sa.Index("ix_outbox_project_id", "project_id", "id"),
    sa.Index("ix_outbox_stream", "recipient_id", "stream", "build_number", "id"),
    # Partial: what waits is looked for at each wake and must not grow with the history.
    sa.Index(
        "ix_outbox_waiting",
        "next_try_at",
        "id",
        sqlite_where=sa.text("state = 'waiting'"),
    ),
    sqlite_autoincrement=True,
)
