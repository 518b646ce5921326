"""The tails of logs in the coordinator's database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy.exc import IntegrityError

from coordinator.object_ports import LogPiece
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.database import Database
from coordinator.storage.logs import log_tails as stored


@dataclass(frozen=True, slots=True)
class DatabaseLogTails:
    """Implements object_ports.LogTails. Each change is one transaction."""

    database: Database

    async def pieces(self, attempt_id: str) -> Sequence[LogPiece]:
        return await self.database.read(partial(stored.pieces_of, attempt_id=attempt_id))

    async def bodies(self, attempt_id: str, start: int, end: int) -> Sequence[tuple[int, bytes]]:
        return await self.database.read(
            lambda connection: stored.bodies_between(connection, attempt_id, start, end)
        )

    async def seal(self, attempt_id: str) -> bytes | None:
        return await self.database.read(partial(stored.seal_of, attempt_id=attempt_id))

    async def add(
        self,
        attempt_id: str,
        piece: LogPiece,
        body: bytes = b"",
        *,
        first: bool = False,
        settled: LogPiece | None = None,
        merged: LogPiece | None = None,
    ) -> bool:
        async def add(connection: AsyncConnection) -> bool:
            added = await stored.add_piece(
                connection, attempt_id, piece, body, first=first, settled=settled
            )
            if added and merged is not None:
                await stored.merge_before(connection, attempt_id, merged.start, merged.end)
            return added

        try:
            return await self.database.write(add)
        except IntegrityError:  # another was quicker, on a database that runs both at once
            return False

    async def remove(self, attempt_id: str, start: int) -> None:
        await self.database.write(
            lambda connection: stored.remove_piece(connection, attempt_id, start)
        )

    async def drop_before(
        self, attempt_id: str, offset: int, settled: LogPiece | None = None
    ) -> None:
        await self.database.write(
            lambda connection: stored.drop_before(connection, attempt_id, offset, settled)
        )

    async def forget(self, attempt_id: str) -> None:
        await self.database.write(partial(stored.forget_tail, attempt_id=attempt_id))
