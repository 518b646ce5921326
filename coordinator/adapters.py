"""Adapters as the settings want them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from obstore.store import ObjectStore

from coordinator.git.remote_lfs import HttpRemoteLfs
from coordinator.git.remotes import FetchLimits, GitRemotes
from coordinator.mail import MailServer, SmtpMailer
from coordinator.object_ports import ObjectsUnusable
from coordinator.objects.log_tails import DatabaseLogTails
from coordinator.objects.logs import ObjectLogStore
from coordinator.objects.moved_objects import refuse_unfinished
from coordinator.objects.places import ObjectsCheck, ObjectsPlace, first_line, open_objects
from coordinator.services.meter import Meter
from coordinator.settings import Settings
from coordinator.storage.database import Database
from coordinator.storage.homes import session_name
from coordinator.storage.postgresql import Candidate, PostgresPlace

if TYPE_CHECKING:
    from coordinator.git.stored_changes import StoredChanges

log = structlog.get_logger()


def database_place(settings: Settings, candidate: Candidate | None = None) -> Path | PostgresPlace:
    if settings.database is None:
        return settings.data / "pushrod.db"
    return PostgresPlace(
        url=settings.database,
        password_file=settings.database_password_file,
        candidate=candidate,
    )


def objects_place(settings: Settings) -> ObjectsPlace:
    return ObjectsPlace(
        location=settings.objects_location,
        endpoint=settings.objects_endpoint,
        region=settings.objects_region,
        credentials_file=settings.objects_credentials_file,
        signed_seconds=settings.objects_signed_seconds,
    )


async def look_at(store: ObjectStore, place: ObjectsPlace, check: ObjectsCheck | None) -> None:
    """One that only does not answer keeps nobody from starting: it is asked again, and `/readyz`
    tells. Raises ObjectsUnusable."""
    try:
        if check is not None:
            await check.look()
        await refuse_unfinished(store, place.location)
    except ObjectsUnusable:
        raise
    except Exception as error:
        log.warning("the object store does not answer", at=place.location, error=first_line(error))


@asynccontextmanager
async def logs_beside(
    settings: Settings, place: PostgresPlace, home: str
) -> AsyncIterator[tuple[Database, ObjectLogStore]]:
    """Those of another coordinator, which leads; `home` is this one. Raises DatabaseUnusable,
    ObjectsUnusable."""
    store = open_objects(objects_place(settings))
    place = replace(place, session=session_name(home))
    database = await Database.open_beside(place, wait_seconds=settings.database_wait_seconds)
    try:
        yield database, ObjectLogStore(store, DatabaseLogTails(database))
    finally:
        await database.close()


def mailer(settings: Settings) -> SmtpMailer | None:
    if settings.smtp_server is None or settings.mail_from is None:
        return None
    server = MailServer(
        server=settings.smtp_server,
        encryption=settings.smtp_encryption,
        sender=settings.mail_from,
        user=settings.smtp_user,
        password_file=settings.smtp_password_file,
    )
    return SmtpMailer(server)


def stored_changes(
    settings: Settings,
    database: Database,
    store: ObjectStore,
    meter: Meter,
    now: Callable[[], datetime],
) -> StoredChanges | None:
    if not settings.stores_repositories:
        return None
    # What no coordinator that is alone needs is loaded here.
    from coordinator.git.stored_changes import StoredChanges
    from coordinator.objects.packs import ObjectPackStore

    return StoredChanges(
        settings.data / "repositories",
        database,
        ObjectPackStore(store, meter.objects_used),
        now,
        max_input_bytes=settings.max_push_bytes,
    )


def remotes(settings: Settings, changes: StoredChanges | None) -> GitRemotes:
    return GitRemotes(
        settings.data / "repositories",
        settings.data / "fetching",
        policy=settings.remote_policy,
        limits=_fetch_limits(settings),
        known_hosts=settings.ssh_known_hosts,
        changes=changes,
    )


def remote_lfs(settings: Settings) -> HttpRemoteLfs:
    return HttpRemoteLfs(policy=settings.remote_policy, limits=_fetch_limits(settings))


def _fetch_limits(settings: Settings) -> FetchLimits:
    return FetchLimits(
        seconds=settings.fetch_seconds,
        stalled_seconds=settings.fetch_stalled_seconds,
        max_bytes=settings.max_fetch_bytes,
    )
