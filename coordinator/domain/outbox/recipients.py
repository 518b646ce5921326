"""To whom a project tells of its builds. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from coordinator.domain.outbox.messages import RecipientKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    id: str
    """Of a project's forge: the project's own."""
    project_id: str
    kind: RecipientKind
    forge: str | None
    address: str
    """What may be shown of where it goes."""
    occasions: str
    sealed: bytes = field(repr=False)
    created_at: datetime
