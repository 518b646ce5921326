"""Whether this coordinator can do its work now: its disk, its database, its git."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from coordinator.object_ports import ObjectsCheck, ObjectsUnusable
from coordinator.services.core import Core
from coordinator.services.upkeep.disks import disks_of, free_bytes
from coordinator.settings import Settings
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.trouble import trouble_of

PATIENCE_SECONDS = 3.0
"""A check that takes longer has failed; it is not asked anew before it has ended."""
KEEP_SECONDS = 1.0
"""However often somebody asks, and from wherever, each check runs this often at most."""
MIN_FREE_BYTES = 64 * 1024 * 1024

OK = "ok"


@dataclass(slots=True)
class Check:
    """One thing looked at, with its last answer: `ok`, or a few words that say what is wrong."""

    look: Callable[[], Awaitable[str]]
    answer: str = OK
    _looked_at: float = float("-inf")
    _looking: asyncio.Task[str] | None = None

    async def ask(self) -> str:
        if self._looking is None and time.monotonic() - self._looked_at < KEEP_SECONDS:
            return self.answer
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        looking = self._looking
        await asyncio.wait({looking}, timeout=PATIENCE_SECONDS)
        return looking.result() if looking.done() else "does not answer in time"

    async def _look(self) -> str:
        try:
            self.answer = await self.look()
        except Exception as error:  # a task root: whatever it is, this is not in order
            self.answer = trouble_of(error) or type(error).__name__
        finally:
            self._looked_at, self._looking = time.monotonic(), None
        return self.answer


@dataclass(slots=True)
class Health:
    core: Core
    _checks: Mapping[str, Check] = field(init=False)

    def __post_init__(self) -> None:
        checks = {"disk": self._disk, "database": self._database, "git": self._git}
        if self.core.objects_check is not None:
            checks["objects"] = partial(_objects, self.core.objects_check)
        self._checks = {name: Check(look) for name, look in checks.items()}

    async def checks(self) -> Mapping[str, str]:
        """What was looked at → `ok`, or what is wrong, in words that tell no path."""
        answers = await asyncio.gather(*(check.ask() for check in self._checks.values()))
        return dict(zip(self._checks, answers, strict=True))

    async def _disk(self) -> str:
        return await asyncio.to_thread(_disks, self.core.settings)

    async def _database(self) -> str:
        """A read, and a transaction that has the writer's lock and changes nothing."""
        await self.core.database.read(_select_one)
        await self.core.database.write(_select_one)
        return OK

    async def _git(self) -> str:
        return OK if await asyncio.to_thread(shutil.which, "git") else "git is not installed"


async def _objects(check: ObjectsCheck) -> str:
    try:
        await check.look()
    except ObjectsUnusable as error:
        return error.words
    return OK


async def _select_one(connection: AsyncConnection) -> None:
    await connection.exec_driver_sql("SELECT 1")


def _disks(settings: Settings) -> str:
    answers = (_disk(folder) for folder in disks_of(settings).values())
    return next((one for one in answers if one != OK), OK)


def _disk(folder: Path) -> str:
    probe = folder / f".probe-{secrets.token_hex(4)}"
    try:
        with probe.open("xb") as file:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
    finally:
        probe.unlink(missing_ok=True)
    if free_bytes(folder) < MIN_FREE_BYTES:
        return f"less than {MIN_FREE_BYTES // 1024**2} MiB are free"
    return OK
