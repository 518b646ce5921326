"""What every service works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import uuid4

from coordinator.object_ports import BlobStore, LogStore, ObjectsCheck
from coordinator.ports import Readings, Remotes, Repositories
from coordinator.services.announcements import Announcements
from coordinator.services.blob_claims import BlobClaims
from coordinator.services.generations import Generations
from coordinator.services.keys import Keys
from coordinator.services.list_marks import ListMarks
from coordinator.services.meter import Meter
from coordinator.services.news import News
from coordinator.services.others import Others
from coordinator.services.ref_states import RefStates
from coordinator.settings import Settings
from coordinator.storage.database import Database
from pipelines_schema.spans import Emit


def utc_now() -> datetime:
    return datetime.now(UTC)


def new_id() -> str:
    return str(uuid4())


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    database: Database
    repositories: Repositories
    remotes: Remotes
    logs: LogStore
    blobs: BlobStore
    readings: Readings
    news: News
    keys: Keys
    settings: Settings
    public_url: str
    """Without a trailing slash; every URL we hand out starts with it, never with a Host header."""
    objects_check: ObjectsCheck | None = None
    """None where objects lie on this machine's own disk."""
    blob_claims: BlobClaims = field(default_factory=BlobClaims)
    announcements: Announcements = field(default_factory=Announcements)
    generations: Generations = field(default_factory=Generations)
    ref_states: RefStates = field(default_factory=RefStates)
    meter: Meter = field(default_factory=Meter)
    list_marks: ListMarks = field(default_factory=ListMarks)
    now: Callable[[], datetime] = utc_now
    others: Others | None = None
    """None: this coordinator has none beside it."""
    emit: Emit | None = None
    """Takes the spans of traces; None where nobody asked for them."""
