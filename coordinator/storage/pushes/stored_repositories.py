"""Repositories that no coordinator's disk is the truth of."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from coordinator.domain.pushes.stored_repository import (
    RefMove,
    RepositoryChange,
    StoredPack,
    StoredRefs,
    StoredRepository,
)
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.rows import reader
from coordinator.storage.tables import ref_moves, stored_packs, stored_refs, stored_repositories

_pack = reader(StoredPack)
_move = reader(RefMove)
_LIVE = stored_packs.c.goes_at.is_(None)
# Both databases know it, but SQLAlchemy has one construct for each.
_SET_REF = sa.text(
    "INSERT INTO stored_refs (project_id, ref, sha) VALUES (:project_id, :ref, :sha)"
    " ON CONFLICT (project_id, ref) DO UPDATE SET sha = excluded.sha"
)


class StaleRepository(Exception):
    """The repository has changed since it was looked at: nothing was stored."""


async def find_stamp(connection: AsyncConnection, project_id: str) -> str | None:
    """None: it was never stored."""
    query = sa.select(stored_repositories.c.stamp).where(
        stored_repositories.c.project_id == project_id
    )
    return (await connection.execute(query)).scalar()


async def find_refs(connection: AsyncConnection, project_id: str) -> StoredRefs | None:
    """None: it was never stored."""
    of_repository = stored_refs.c.project_id == stored_repositories.c.project_id
    query = (
        sa.select(stored_repositories.c.head, stored_refs.c.ref, stored_refs.c.sha)
        .outerjoin(stored_refs, of_repository)
        .where(stored_repositories.c.project_id == project_id)
    )
    rows = (await connection.execute(query)).all()
    if not rows:
        return None
    refs = {row.ref: row.sha for row in rows if row.ref is not None}
    return StoredRefs(head=rows[0].head, refs=refs)


async def find_repository(connection: AsyncConnection, project_id: str) -> StoredRepository | None:
    found = await connection.execute(
        stored_repositories.select().where(stored_repositories.c.project_id == project_id)
    )
    row = found.one_or_none()
    if row is None:
        return None
    refs = await connection.execute(
        stored_refs.select().where(stored_refs.c.project_id == project_id)
    )
    packs = await connection.execute(
        stored_packs.select().where(stored_packs.c.project_id == project_id, _LIVE)
    )
    moves = await connection.execute(
        ref_moves.select()
        .where(ref_moves.c.project_id == project_id)
        .order_by(ref_moves.c.version, ref_moves.c.number)
    )
    return StoredRepository(
        stamp=row.stamp,
        head=row.head,
        refs={one.ref: one.sha for one in refs},
        packs=[_pack(one) for one in packs],
        moves=[_move(one) for one in moves],
    )


async def insert_repository(
    connection: AsyncConnection,
    project_id: str,
    stamp: str,
    head: str,
    change: RepositoryChange,
    now: datetime,
) -> None:
    """One that is stored for the first time, as that change makes it of nothing."""
    row = {"project_id": project_id, "version": 1, "stamp": stamp, "head": head}
    await connection.execute(stored_repositories.insert(), row)
    await _save(connection, project_id, 1, change, now)


async def save_change(
    connection: AsyncConnection,
    project_id: str,
    before: str,
    after: str,
    change: RepositoryChange,
    *,
    now: datetime,
    kept_until: datetime,
) -> None:
    """`before` and `after` are stamps; packs that are gone are kept until then. Raises
    StaleRepository."""
    values: dict[str, Any] = {"version": stored_repositories.c.version + 1, "stamp": after}
    if change.head is not None:
        values["head"] = change.head
    of_repository = stored_repositories.c.project_id == project_id
    moved = await connection.execute(
        stored_repositories.update()
        .where(of_repository, stored_repositories.c.stamp == before)
        .values(values)
        .returning(stored_repositories.c.version)
    )
    version = moved.scalar()
    if version is None:
        raise StaleRepository(project_id)
    for aside, name in change.gone_packs:
        is_there = (
            stored_packs.c.aside.is_(None) if aside is None else stored_packs.c.aside == aside
        )
        await connection.execute(
            stored_packs.update()
            .where(stored_packs.c.project_id == project_id, is_there)
            .where(stored_packs.c.name == name, _LIVE)
            .values(goes_at=kept_until)
        )
    await _save(connection, project_id, version, change, now)


async def _save(
    connection: AsyncConnection,
    project_id: str,
    version: int,
    change: RepositoryChange,
    now: datetime,
) -> None:
    for table in (stored_refs, ref_moves) if change.gone_refs else ():
        its = table.c.project_id == project_id
        rows = [{"its_ref": ref} for ref in change.gone_refs]
        await connection.execute(
            table.delete().where(its, table.c.ref == sa.bindparam("its_ref")), rows
        )
    refs = [
        {"project_id": project_id, "ref": ref, "sha": one.new}
        for ref, one in change.refs.items()
        if one.new is not None
    ]
    packs = [
        {
            "object": pack.object,
            "project_id": project_id,
            "name": pack.name,
            "aside": pack.aside,
            "pack_bytes": pack.pack_bytes,
            "index_bytes": pack.index_bytes,
            "sha256": pack.sha256,
            "created_at": pack.created_at,
        }
        for pack in change.new_packs
    ]
    moves = [
        {
            "project_id": project_id,
            "ref": move.ref,
            "version": version,
            "number": number,
            "old": move.old,
            "new": move.new,
            "moved_at": move.moved_at,
        }
        for number, move in enumerate(change.moves_at(now))
    ]
    if refs:
        await connection.execute(_SET_REF, refs)
    if packs:
        await connection.execute(stored_packs.insert(), packs)
    if moves:
        await connection.execute(ref_moves.insert(), moves)


async def has_moves(connection: AsyncConnection, project_id: str, before: datetime) -> bool:
    query = sa.select(ref_moves.c.ref).where(
        ref_moves.c.project_id == project_id, ref_moves.c.moved_at < before
    )
    return (await connection.execute(query.limit(1))).first() is not None


async def forget_moves(connection: AsyncConnection, project_id: str, before: datetime) -> None:
    """Those of before that."""
    await connection.execute(
        ref_moves.delete().where(
            ref_moves.c.project_id == project_id, ref_moves.c.moved_at < before
        )
    )


async def delete_repository(connection: AsyncConnection, project_id: str) -> None:
    """Its objects go, too: whoever looks for those without a row finds them."""
    for table in (stored_repositories, stored_refs, stored_packs, ref_moves):
        await connection.execute(table.delete().where(table.c.project_id == project_id))


async def stored_bytes(connection: AsyncConnection, project_id: str, *, aside: bool) -> int:
    """Of its packs and their indexes, or of those that were put aside alone."""
    size = sa.func.sum(stored_packs.c.pack_bytes + stored_packs.c.index_bytes)
    query = sa.select(size).where(stored_packs.c.project_id == project_id, _LIVE)
    if aside:
        query = query.where(stored_packs.c.aside.is_not(None))
    return int((await connection.execute(query)).scalar() or 0)


async def gone_objects(connection: AsyncConnection, now: datetime, count: int) -> Sequence[str]:
    """Of packs that nobody needs any more, whose time has come."""
    query = sa.select(stored_packs.c.object).where(stored_packs.c.goes_at <= now).limit(count)
    return list((await connection.execute(query)).scalars())


async def forget_objects(connection: AsyncConnection, objects: Collection[str]) -> None:
    """Which are deleted."""
    await connection.execute(stored_packs.delete().where(stored_packs.c.object.in_(list(objects))))


async def known_objects(
    connection: AsyncConnection, project_id: str, objects: Collection[str]
) -> Collection[str]:
    """Of these, also those whose time has not come."""
    query = sa.select(stored_packs.c.object).where(
        stored_packs.c.project_id == project_id, stored_packs.c.object.in_(list(objects))
    )
    return set((await connection.execute(query)).scalars())
