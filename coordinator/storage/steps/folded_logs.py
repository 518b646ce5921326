"""Which logs are to be folded, and what is noted once one is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from coordinator.domain.model import AttemptState
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.logs.log_tails import attempts_with_tails, forget_tail
from coordinator.storage.projects.stored_bytes import add_stored
from coordinator.storage.tables import attempts, builds, steps

_STEP_ID: sa.BindParameter[str] = sa.bindparam("its_step", type_=sa.String)
# A log that was deleted meanwhile counts for nothing any more.
_NOTE = (
    attempts.update()
    .where(
        attempts.c.step_id == _STEP_ID,
        attempts.c.epoch == sa.bindparam("its_epoch", type_=sa.Integer),
        attempts.c.log_stored.is_(None),
        attempts.c.log_bytes.is_not(None),
        sa.exists()
        .where(steps.c.id == _STEP_ID)
        .where(builds.c.id == steps.c.build_id, builds.c.logs_gone_at.is_(None)),
    )
    .values(log_stored=sa.bindparam("size", type_=sa.BigInteger))
    .returning(attempts.c.log_bytes)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLog:
    """Of which the database has something."""

    attempt_id: str
    state: AttemptState | None
    """None: there is no such attempt any more."""
    log_bytes: int | None
    finished_at: datetime | None


async def open_logs(connection: AsyncConnection, after: str, limit: int) -> Sequence[OpenLog]:
    """In the order of their attempts' ids, from the one behind `after` on."""
    names = await attempts_with_tails(connection, after, limit)
    if not names:
        return []
    keys = [_key(name) for name in names]
    query = sa.select(
        attempts.c.step_id,
        attempts.c.epoch,
        attempts.c.state,
        attempts.c.log_bytes,
        attempts.c.finished_at,
    ).where(sa.tuple_(attempts.c.step_id, attempts.c.epoch).in_(keys))
    found = {(row.step_id, row.epoch): row for row in await connection.execute(query)}
    return [_open_log(name, found.get(key)) for name, key in zip(names, keys, strict=True)]


def _open_log(name: str, row: Any) -> OpenLog:
    if row is None:
        return OpenLog(attempt_id=name, state=None, log_bytes=None, finished_at=None)
    return OpenLog(
        attempt_id=name,
        state=AttemptState(row.state),
        log_bytes=row.log_bytes,
        finished_at=row.finished_at,
    )


async def has_attempt(connection: AsyncConnection, attempt_id: str) -> bool:
    step_id, epoch = _key(attempt_id)
    query = sa.select(attempts.c.epoch).where(
        attempts.c.step_id == step_id, attempts.c.epoch == epoch
    )
    return (await connection.execute(query)).first() is not None


async def note_folded(connection: AsyncConnection, attempt_id: str, size: int) -> None:
    """The log is one object of that length: the database needs nothing of it any more, and its
    project counts what it takes."""
    step_id, epoch = _key(attempt_id)
    noted = await connection.execute(_NOTE, {"its_step": step_id, "its_epoch": epoch, "size": size})
    row = noted.first()
    if row is not None:
        more = size - row.log_bytes
        await add_stored(connection, step_id, more, of_logs=more)
    await forget_tail(connection, attempt_id)


def _key(attempt_id: str) -> tuple[str, int]:
    step_id, _, epoch = attempt_id.rpartition("-")
    return step_id, int(epoch)
