"""Which user runs the scripts of which project: no two share one, on the whole machine.

The table is a file that only root reads, changed under a lock that all agents of the machine take.
An owner is an agent's work folder and a name in it, so two agents never meet, whatever their
coordinators call their projects.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from agent.engines.work_folder import removed_if_abandoned

DEFAULT_USER_IDS = range(60706, 61184)
"""Handed out neither by Debian nor by systemd, whose dynamic users begin at 61184."""


class NoFreeUserIdError(Exception):
    """Every id is some project's that is running, or is another agent's."""


class UserIds:
    """The ids of one agent's projects; what is held keeps its id."""

    def __init__(self, *, table: Path, work_dir: Path, ids: range = DEFAULT_USER_IDS) -> None:
        if not ids or ids[0] <= 0:
            raise ValueError("scripts never run as root: user ids must be positive")
        self.ids = ids
        self._table = table
        self._work_dir = work_dir
        self._held: Counter[str] = Counter()
        self._known: dict[str, int] = {}
        """Our names' ids, last used last, as the table had them when it was `_seen`."""
        self._seen: tuple[int, int] | None = None
        self._lock = threading.Lock()

    def hold(self, name: str) -> None:
        """From before `allot` until nothing runs any more: meanwhile the id is nobody else's."""
        with self._lock:
            self._held[self._owner(name)] += 1

    def let_go(self, name: str) -> None:
        with self._lock:
            self._held[self._owner(name)] -= 1
            self._held = +self._held

    def allot(self, name: str, clear: Callable[[int], bool]) -> int:
        """The id of a held name. Blocking. Raises NoFreeUserIdError and OSError.

        `clear` removes what an idle project of this agent has under an id, so that another may get
        it; False if it can't.
        """
        owner = self._owner(name)
        # A name held after we looked at `_held` waits here, and finds its id gone, not shared.
        with self._lock:
            uid = self._known.get(owner)
            if uid is None or self._seen != self._version():
                uid = self._allot(owner, clear)
            self._known.pop(owner, None)
            self._known[owner] = uid
        return uid

    def _allot(self, owner: str, clear: Callable[[int], bool]) -> int:
        with self._locked_table() as table:
            uid = table.get(owner)
            if uid is None or uid not in self.ids:
                table.pop(owner, None)
                uid = self._free(table, clear)
            if owner not in self._known:
                table.pop(owner, None)  # to be the last: it is in the order of use before a start
            table[owner] = uid
        self._known = {ours: table[ours] for ours in self._known if ours in table}
        self._seen = self._version()
        return uid

    def _version(self) -> tuple[int, int] | None:
        """Another one whenever somebody has written the table."""
        try:
            status = self._table.stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns

    def _owner(self, name: str) -> str:
        return f"{self._work_dir}\0{name}"

    def _free(self, table: dict[str, int], clear: Callable[[int], bool]) -> int:
        taken = set(table.values())
        for uid in self.ids:
            if uid not in taken:
                return uid
        not_known = [owner for owner in table if owner not in self._known]
        for owner in [*not_known, *(owner for owner in self._known if owner in table)]:
            uid = table[owner]
            if uid in self.ids and self._is_idle(owner, uid) and self._cleared(owner, uid, clear):
                del table[owner]
                return uid
        raise NoFreeUserIdError(
            f"all {len(self.ids)} ids, {self.ids[0]} to {self.ids[-1]}, are in use"
        )

    def _is_idle(self, owner: str, uid: int) -> bool:
        return not self._held[owner] and not _has_processes(uid)

    def _cleared(self, owner: str, uid: int, clear: Callable[[int], bool]) -> bool:
        work_dir = Path(owner.partition("\0")[0])
        if work_dir == self._work_dir:
            return clear(uid)
        return removed_if_abandoned(work_dir)

    @contextmanager
    def _locked_table(self) -> Iterator[dict[str, int]]:
        self._table.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(
            self._table.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            table = self._read()
            before = list(table.items())
            yield table
            if list(table.items()) != before:
                self._write(table)
        finally:
            os.close(lock)

    def _read(self) -> dict[str, int]:
        try:
            text = self._table.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        try:
            return {str(owner): int(uid) for owner, uid in json.loads(text).items()}
        except (ValueError, AttributeError, TypeError) as error:
            # Starting anew could give one project's id to another.
            raise OSError(
                f"{self._table} can't be read ({error}): stop the agents of this machine, remove "
                "their work folders and this file"
            ) from error

    def _write(self, table: Mapping[str, int]) -> None:
        """Whole or not at all: a crash must not forget whose an id is."""
        new = self._table.with_suffix(".new")
        with new.open("w", encoding="utf-8") as file:
            json.dump(table, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._table)


def _has_processes(uid: int) -> bool:
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.stat(f"/proc/{name}").st_uid == uid:
                    return True
            except OSError:
                continue
    return False
