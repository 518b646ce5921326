"""A push that takes the coordinator down is not read at each start for ever.

Before a push is read, that is written down; its builds, or the failed one that says why there are
none, are saved together with its being forgotten. What is found at a start was begun by a process
that did not come to its end. The third time it is given up; of several coordinators, where leading
ends for many reasons, the tenth.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import structlog

from coordinator.services.core import Core
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.pushes import begun_pushes as stored
from coordinator.storage.pushes.begun_pushes import Push

MAX_PROCESSES = 3
MAX_TERMS = 10
"""Where others may take over, from a process that is only paused or cut off, too."""

log = structlog.get_logger()


class TookProcessesDown(Exception):
    """These pushes are not read once more; the message is for people."""

    def __init__(self, pushes: Sequence[Push], times: int) -> None:
        super().__init__(
            f"the coordinator ended {times} times while it read this push, so it is not "
            "read again: what the coordinator's log says of it may tell why"
        )
        self.pushes = pushes


@dataclass(slots=True)
class BegunPushes:
    core: Core
    _here: set[tuple[str, Push]] = field(default_factory=set)
    """Counted for this process, which may try one more than once."""

    async def begin(self, project_id: str, pushes: Iterable[Push]) -> None:
        """Count this process before it reads the pushes. Raises TookProcessesDown."""
        new = [one for one in dict.fromkeys(pushes) if (project_id, one) not in self._here]
        if not new:
            return

        most = MAX_PROCESSES if self.core.settings.peer_listen is None else MAX_TERMS

        async def save(connection: AsyncConnection) -> None:
            before = await stored.processes_of_pushes(connection, project_id)
            given_up = [one for one in new if before.get(one, 0) >= most]
            if given_up:
                log.error("pushes took the coordinator down", project=project_id, pushes=given_up)
                raise TookProcessesDown(given_up, most)
            counts = {one: before.get(one, 0) + 1 for one in new}
            await stored.save_processes(connection, project_id, counts)

        await self.core.database.write(
            save, committed=lambda _: self._here.update((project_id, one) for one in new)
        )

    async def end(
        self, connection: AsyncConnection, project_id: str, pushes: Iterable[Push]
    ) -> None:
        """Within the transaction that saves what came of them."""
        await stored.forget_pushes(connection, project_id, list(pushes))

    def ended(self, project_id: str, pushes: Iterable[Push]) -> None:
        """Once that is committed."""
        self._here.difference_update((project_id, one) for one in pushes)

    async def apart(self, project_id: str, pushes: Sequence[Push]) -> list[slice]:
        """Stretches to be read one after the other: each push that another process began, alone,
        so that the one that ended it takes none of the others along."""
        begun = await self.core.database.read(
            lambda connection: stored.processes_of_pushes(connection, project_id)
        )
        suspected = [
            (project_id, one) not in self._here and begun.get(one, 0) > 0 for one in pushes
        ]
        return list(_stretches(suspected))


def _stretches(alone: Sequence[bool]) -> Iterable[slice]:
    for is_alone, members in groupby(range(len(alone)), key=lambda index: alone[index]):
        indexes = list(members)
        if is_alone:
            yield from (slice(index, index + 1) for index in indexes)
        else:
            yield slice(indexes[0], indexes[-1] + 1)
