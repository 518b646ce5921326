"""Answers to requests that came with a key, kept for when they come again."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from coordinator.domain.builds.keyed_requests import KEPT_FOR, KeptAnswer, KeyedRequest
from coordinator.domain.model import Build
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.rows import columns, reader
from coordinator.storage.tables import keyed_requests

_kept = reader(KeptAnswer)


async def find_answer(
    connection: AsyncConnection, request: KeyedRequest, now: datetime
) -> KeptAnswer | None:
    query = sa.select(*columns(KeptAnswer, keyed_requests)).where(
        *_is(request), keyed_requests.c.created_at > now - KEPT_FOR
    )
    row = (await connection.execute(query)).first()
    return _kept(row) if row else None


async def keep_answer(
    connection: AsyncConnection, request: KeyedRequest, build: Build, now: datetime
) -> None:
    """In place of what the key meant more than a day ago."""
    await connection.execute(keyed_requests.delete().where(*_is(request)))
    values = {
        "account_id": request.account_id,
        "holder": request.holder,
        "key": request.key,
        "fingerprint": request.fingerprint,
        "build_id": build.id,
        "answer": request.answer(build),
        "created_at": now,
    }
    await connection.execute(keyed_requests.insert().values(values))


def _is(request: KeyedRequest) -> list[sa.ColumnElement[bool]]:
    names = ("account_id", "holder", "key")
    return [keyed_requests.c[name] == getattr(request, name) for name in names]


async def forget_answers(connection: AsyncConnection, before: datetime) -> int:
    """How many were forgotten."""
    old = keyed_requests.delete().where(keyed_requests.c.created_at <= before)
    return (await connection.execute(old)).rowcount


async def has_answers(connection: AsyncConnection, before: datetime) -> bool:
    query = sa.select(keyed_requests.c.key).where(keyed_requests.c.created_at <= before).limit(1)
    return (await connection.execute(query)).first() is not None
