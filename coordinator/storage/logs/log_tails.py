"""The tails of logs: the pieces of text behind a log's last chunk, and what shuts it."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from coordinator.object_ports import LogPiece, PieceKind
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.tables import log_tails

_ATTEMPT: sa.BindParameter[str] = sa.bindparam("attempt", type_=sa.String)
_START: sa.BindParameter[int] = sa.bindparam("at", type_=sa.BigInteger)
_its = log_tails.c.attempt_id == _ATTEMPT
_is_text = log_tails.c.kind == PieceKind.TEXT.value

_PIECES = (
    sa.select(
        log_tails.c.start,
        log_tails.c.kind,
        log_tails.c.end_offset,
        sa.func.length(log_tails.c.body).label("body_bytes"),
    )
    .where(_its)
    .order_by(log_tails.c.start)
)
_BODIES = (
    sa.select(log_tails.c.start, log_tails.c.body)
    .where(
        _its,
        _is_text,
        log_tails.c.start < sa.bindparam("until", type_=sa.BigInteger),
        log_tails.c.end_offset > _START,
    )
    .order_by(log_tails.c.start)
)
_SEAL = sa.select(log_tails.c.body).where(_its, log_tails.c.kind == PieceKind.SEAL.value)
_NEW = sa.select(
    _ATTEMPT,
    _START,
    sa.bindparam("kind", type_=sa.Text),
    sa.bindparam("end", type_=sa.BigInteger),
    sa.bindparam("body", type_=sa.LargeBinary),
)
_COLUMNS = ["attempt_id", "start", "kind", "end_offset", "body"]
_before = log_tails.alias("before")
_FIRST = (
    log_tails.insert()
    .from_select(_COLUMNS, _NEW.where(~sa.exists().where(_before.c.attempt_id == _ATTEMPT)))
    .returning(log_tails.c.start)
)
_NEXT = (
    log_tails.insert()
    .from_select(
        _COLUMNS,
        _NEW.where(
            # Text ends there, and nothing has taken the place behind it.
            sa.exists().where(
                _before.c.attempt_id == _ATTEMPT,
                _before.c.end_offset == _START,
                _before.c.kind == PieceKind.TEXT.value,
            ),
            ~sa.exists().where(log_tails.c.attempt_id == _ATTEMPT, log_tails.c.start == _START),
        ),
    )
    .returning(log_tails.c.start)
)
_INSERT = log_tails.insert()
_SETTLE = log_tails.delete().where(
    _its,
    log_tails.c.kind == PieceKind.FENCE.value,
    log_tails.c.start == _START,
    log_tails.c.end_offset == sa.bindparam("end", type_=sa.BigInteger),
)
_DROP_BEFORE = log_tails.delete().where(_its, log_tails.c.start < _START)
_DROP_TEXT_BEFORE = _DROP_BEFORE.where(_is_text)
_DROP = log_tails.delete().where(_its, log_tails.c.start == _START)


async def pieces_of(connection: AsyncConnection, attempt_id: str) -> Sequence[LogPiece]:
    """In the order of their offsets."""
    return [
        LogPiece(
            start=row.start,
            kind=PieceKind(row.kind),
            end=row.end_offset,
            body_bytes=row.body_bytes,
        )
        for row in await connection.execute(_PIECES, {"attempt": attempt_id})
    ]


async def bodies_between(
    connection: AsyncConnection, attempt_id: str, start: int, end: int
) -> Sequence[tuple[int, bytes]]:
    """Of the pieces of text that reach into that range: where each begins, and its body."""
    values = {"attempt": attempt_id, "at": start, "until": end}
    return [(row.start, row.body) for row in await connection.execute(_BODIES, values)]


async def seal_of(connection: AsyncConnection, attempt_id: str) -> bytes | None:
    row = (await connection.execute(_SEAL, {"attempt": attempt_id})).first()
    return None if row is None else bytes(row.body)


async def add_piece(
    connection: AsyncConnection,
    attempt_id: str,
    piece: LogPiece,
    body: bytes,
    *,
    first: bool,
    settled: LogPiece | None,
) -> bool:
    """See LogTails.add."""
    new = {
        "attempt": attempt_id,
        "at": piece.start,
        "kind": piece.kind.value,
        "end": piece.end,
        "body": body,
    }
    if settled is None:
        added = await connection.execute(_FIRST if first else _NEXT, new)
        return added.first() is not None
    fence = {"attempt": attempt_id, "at": settled.start, "end": settled.end}
    if (await connection.execute(_SETTLE, fence)).rowcount != 1:
        return False
    await connection.execute(_DROP_BEFORE, {"attempt": attempt_id, "at": piece.start})
    await connection.execute(
        _INSERT,
        {
            "attempt_id": attempt_id,
            "start": piece.start,
            "kind": piece.kind.value,
            "end_offset": piece.end,
            "body": body,
        },
    )
    return True


async def merge_before(connection: AsyncConnection, attempt_id: str, start: int, end: int) -> None:
    """Make one piece of those from `start` to `end`, in the transaction that adds what follows."""
    bodies = await bodies_between(connection, attempt_id, start, end)
    await connection.execute(_DROP_TEXT_BEFORE, {"attempt": attempt_id, "at": end})
    await connection.execute(
        _INSERT,
        {
            "attempt_id": attempt_id,
            "start": start,
            "kind": PieceKind.TEXT.value,
            "end_offset": end,
            "body": b"".join(body for _, body in bodies),
        },
    )


async def drop_before(
    connection: AsyncConnection, attempt_id: str, offset: int, settled: LogPiece | None
) -> None:
    await connection.execute(_DROP_BEFORE, {"attempt": attempt_id, "at": offset})
    if settled is not None:
        fence = {"attempt": attempt_id, "at": settled.start, "end": settled.end}
        await connection.execute(_SETTLE, fence)


async def remove_piece(connection: AsyncConnection, attempt_id: str, start: int) -> None:
    await connection.execute(_DROP, {"attempt": attempt_id, "at": start})


async def forget_tail(connection: AsyncConnection, attempt_id: str) -> None:
    await connection.execute(log_tails.delete().where(_its), {"attempt": attempt_id})


async def attempts_with_tails(connection: AsyncConnection, after: str, limit: int) -> list[str]:
    """In order, those beyond `after`."""
    query = (
        sa.select(log_tails.c.attempt_id)
        .where(log_tails.c.attempt_id > after)
        .distinct()
        .order_by(log_tails.c.attempt_id)
        .limit(limit)
    )
    return [row.attempt_id for row in await connection.execute(query)]


def has_tail(attempt_id: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """Whether the database holds anything of a log."""
    return sa.exists().where(log_tails.c.attempt_id == attempt_id)
