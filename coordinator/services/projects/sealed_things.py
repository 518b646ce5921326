"""What is set, removed and opened, but never shown."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from coordinator.domain.errors import Invalid, NotFound
from coordinator.domain.model import Account, Project
from coordinator.domain.people.permissions import Principal
from coordinator.services.audit import Deed
from coordinator.services.core import Core
from coordinator.services.sealing import seal, unseal
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.projects.sealed_things import SealedTable

Also = Callable[[AsyncConnection], Awaitable[None]]
"""Part of the transaction, after the rest of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedThings:
    """One kind of them. What is sealed is in no log, no answer and no audit entry.

    Whoever calls has asked for the right."""

    table: SealedTable
    purpose: str
    """What it is sealed for, of its columns: another purpose does not open it."""
    key: tuple[str, ...] = ()
    """The columns by which the things of an owner differ; none where it has one at most."""
    most: int = 1
    """Of an owner."""
    too_many: str = ""
    """What is said to one who has the most already."""
    set_action: str
    remove_action: str
    noted: tuple[str, str]
    """The column that the audit log tells, and by which name."""

    async def set(
        self,
        core: Core,
        principal: Principal,
        owner: Project | Account,
        plain: str,
        *,
        also: Also | None = None,
        told: Mapping[str, str] | None = None,
        **values: str,
    ) -> None:
        """Keep it with its other columns, or keep it anew; `told` is audited, too.

        Raises Invalid for one too many.
        """
        row = {self.table.owner: owner.id, **values}
        sealed = seal(core.keys.master, self.purpose.format(**row), plain.encode())
        key = {column: values[column] for column in self.key}

        async def save(connection: AsyncConnection) -> None:
            await self._check_room(connection, owner.id, key)
            await self.table.put(connection, row, key, sealed=sealed, now=core.now())
            await Deed(core, principal, owner).record(
                connection, self.set_action, **self._noted(values), **(told or {})
            )
            if also is not None:
                await also(connection)

        await core.database.write(save)

    async def remove(
        self,
        core: Core,
        principal: Principal,
        owner: Project | Account,
        missing: str,
        *,
        also: Also | None = None,
        told: Mapping[str, str] | None = None,
        **key: str,
    ) -> None:
        """Raises NotFound, which says `missing`."""

        async def remove(connection: AsyncConnection) -> None:
            if not await self.table.delete(connection, owner.id, key):
                raise NotFound(missing)
            await Deed(core, principal, owner).record(
                connection, self.remove_action, **self._noted(key), **(told or {})
            )
            if also is not None:
                await also(connection)

        await core.database.write(remove)

    def open(self, core: Core, row: Mapping[str, Any]) -> str:
        """Raises NotSealedHere where the key file was changed."""
        return unseal(core.keys.master, self.purpose.format(**row), row["sealed"]).decode()

    async def _check_room(
        self, connection: AsyncConnection, owner_id: str, key: Mapping[str, str]
    ) -> None:
        if not self.key:
            return
        known = await self.table.keys_of(connection, owner_id, self.key)
        if tuple(key.values()) not in known and len(known) >= self.most:
            raise Invalid(self.too_many)

    def _noted(self, values: Mapping[str, str]) -> Mapping[str, str]:
        column, name = self.noted
        return {name: values.get(column, "")}
