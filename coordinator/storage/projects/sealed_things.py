"""What projects and accounts keep sealed: it opens only with the coordinator's key."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa

from coordinator.storage import tables
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.direct_statements import direct
from coordinator.storage.rows import columns, reader

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedTable:
    table: sa.Table
    owner: str = "project_id"
    set_at: str = "updated_at"
    _whole: sa.Select[Any] = field(init=False)

    def __post_init__(self) -> None:
        its = self.table.c[self.owner].in_(sa.bindparam("owners", expanding=True))
        object.__setattr__(self, "_whole", direct(sa.select(self.table).where(its)))

    async def put(
        self,
        connection: AsyncConnection,
        row: Mapping[str, str],
        key: Mapping[str, str],
        *,
        sealed: bytes,
        now: datetime,
    ) -> None:
        """A second one of the owner and key replaces the first."""
        await self.delete(connection, row[self.owner], key)
        whole = {**row, "sealed": sealed, self.set_at: now}
        await connection.execute(self.table.insert().values(whole))

    async def delete(
        self, connection: AsyncConnection, owner_id: str, key: Mapping[str, str]
    ) -> bool:
        """Whether there was one."""
        wanted = self._of([owner_id], **{column: [value] for column, value in key.items()})
        return bool((await connection.execute(self.table.delete().where(wanted))).rowcount)

    async def keys_of(
        self, connection: AsyncConnection, owner_id: str, key: Collection[str]
    ) -> set[tuple[str, ...]]:
        """What the owner has, by the columns of its key."""
        query = sa.select(*(self.table.c[column] for column in key)).where(self._of([owner_id]))
        return {tuple(row) for row in await connection.execute(query)}

    async def shown(
        self,
        connection: AsyncConnection,
        kind: type[T],
        owner_ids: Collection[str],
        **among: Collection[str],
    ) -> Sequence[T]:
        """What may be shown of them."""
        query = sa.select(*columns(kind, self.table)).where(self._of(owner_ids, **among))
        read = reader(kind)
        return [read(row) for row in await connection.execute(query)]

    async def rows(
        self, connection: AsyncConnection, owner_ids: Collection[str], **among: Collection[str]
    ) -> Sequence[dict[str, Any]]:
        """Whole; `among` says which values of a column are wanted."""
        if among:
            query = sa.select(self.table).where(self._of(owner_ids, **among))
            return [dict(row._mapping) for row in await connection.execute(query)]
        found = await connection.execute(self._whole, {"owners": list(owner_ids)})
        return [dict(row._mapping) for row in found]

    def _of(self, owner_ids: Collection[str], **among: Collection[str]) -> sa.ColumnElement[bool]:
        wanted = {self.owner: owner_ids, **among}
        return sa.and_(*(self.table.c[column].in_(values) for column, values in wanted.items()))


SECRETS = SealedTable(table=tables.secret_values, owner="scope_id")
REGISTRY_LOGINS = SealedTable(table=tables.registry_logins, owner="scope_id")
CREDENTIALS = SealedTable(table=tables.credentials, set_at="created_at")
RECIPIENTS = SealedTable(table=tables.recipients, set_at="created_at")
