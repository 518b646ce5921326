"""Builds by the thousand, put into the database as they would be there, and their objects."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from coordinator.domain.people.permissions import RIGHTS, Principal, PrincipalKind
from coordinator.domain.people.tokens import Role
from coordinator.services.core import Core
from pipelines_schema.log_frames import Frame, Stream
from tests.integration.core_fixture import START

DAY = 86_400
EPOCH_MICROSECONDS = int(START.timestamp() * 1_000_000)
LOG = b"a line\n"


def operator() -> Principal:
    return Principal(
        kind=PrincipalKind.PERSON,
        name="operator",
        token_id="operator",
        account_id=None,
        rights=RIGHTS[Role.ADMIN],
    )


class MainAlone:
    """A hosted repository, of which `main` alone exists."""

    async def refs(self, project_id: str) -> dict[str, str]:
        return {"refs/heads/main": "0" * 40}


@dataclass(frozen=True, slots=True)
class ManyBuilds:
    path: Path
    project_id: str
    account_id: str

    def insert(
        self, count: int, *, steps: int = 1, artifacts: int = 0, shared_blobs: int | None = None
    ) -> None:
        """Failed ones of `main`, each a second older than the next; the artifacts are spread over
        the steps, and of `shared_blobs` different contents if that is given."""
        with closing(sqlite3.connect(self.path)) as connection, connection:
            first = 1 + connection.execute("SELECT count(*) FROM builds").fetchone()[0]
            numbers = range(first, first + count)
            self._insert(connection, "builds", (self._build(number) for number in numbers))
            its_steps = ((number, step) for number in numbers for step in range(steps))
            self._insert(connection, "steps", (self._step(*one) for one in its_steps))
            its_steps = ((number, step) for number in numbers for step in range(steps))
            self._insert(connection, "attempts", (self._attempt(*one) for one in its_steps))
            files = (
                self._artifact(number, place, steps, shared_blobs)
                for number in numbers
                for place in range(artifacts)
            )
            self._insert(connection, "artifacts", files)
            connection.execute("DELETE FROM build_counts")
            for branch in ("", "main"):
                connection.execute(
                    "INSERT INTO build_counts (branch, account_id, project_id, state, builds)"
                    " SELECT ?, account_id, project_id, state, count(*)"
                    " FROM builds GROUP BY 2, 3, 4",
                    (branch,),
                )
            self._count_bytes(connection)

    @staticmethod
    def _insert(connection: sqlite3.Connection, table: str, rows: Any) -> None:
        rows = iter(rows)
        row = next(rows, None)
        if row is None:
            return
        names, places = ", ".join(row), ", ".join(f":{name}" for name in row)
        statement = f"INSERT INTO {table} ({names}) VALUES ({places})"
        connection.execute(statement, row)
        connection.executemany(statement, rows)

    def id_of(self, number: int) -> str:
        return f"build-{number}"

    def _build(self, number: int) -> dict[str, Any]:
        at = EPOCH_MICROSECONDS + number * 1_000_000
        return {
            "id": self.id_of(number),
            "project_id": self.project_id,
            "account_id": self.account_id,
            "workflow_name": "ci",
            "number": number,
            "state": "failed",
            "event": "push",
            "version": 1,
            "problems": "[]",
            "branch": "main",
            "ordinal": number,
            "created_at": at,
            "updated_at": at,
            "finished_at": at,
        }

    def _step(self, number: int, step: int) -> dict[str, Any]:
        return {
            "id": f"step-{number}-{step}",
            "build_id": self.id_of(number),
            "project_id": self.project_id,
            "account_id": self.account_id,
            "position": step,
            "name": f"step {step}",
            "state": "failed",
            "definition": "{}",
            "depends_on": "[]",
            "labels": "{}",
            "needs": "[]",
            "epoch": 1,
            "attempt": 1,
            "lost_count": 0,
        }

    def _attempt(self, number: int, step: int) -> dict[str, Any]:
        return {
            "step_id": f"step-{number}-{step}",
            "epoch": 1,
            "number": 1,
            "state": "failed",
            "holder": "agent",
            "log_bytes": len(LOG),
            "started_at": EPOCH_MICROSECONDS,
        }

    def _artifact(
        self, number: int, place: int, steps: int, shared_blobs: int | None
    ) -> dict[str, Any]:
        content = blob(number if shared_blobs is None else number % shared_blobs, place)
        return {
            "step_id": f"step-{number}-{place % steps}",
            "epoch": 1,
            "name": f"file {place}",
            "size": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "mode": 0o644,
        }

    def execute(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            return connection.execute(statement, values).fetchall()

    def share_log(self, *, of: int, by: int) -> None:
        """As when a result is taken: the log of one is the other's."""
        self.execute(
            "UPDATE attempts SET log_of = ? WHERE step_id = ?", f"step-{of}-0-1", f"step-{by}-0"
        )
        with closing(sqlite3.connect(self.path)) as connection, connection:
            self._count_bytes(connection)

    def pin(self, number: int) -> None:
        self.execute("UPDATE builds SET pinned_by = 'me' WHERE number = ?", number)

    def succeed(self, *numbers: int) -> None:
        for number in numbers:
            self.execute("UPDATE builds SET state = 'succeeded' WHERE number = ?", number)

    def finish(self, number: int, *, at: datetime) -> None:
        microseconds = int(at.timestamp() * 1_000_000)
        self.execute("UPDATE builds SET finished_at = ? WHERE number = ?", microseconds, number)

    def as_if_migrated(self) -> None:
        self.execute("UPDATE retention SET enforced = 0 WHERE scope_id = ''")

    def numbers(self) -> list[int]:
        return [number for (number,) in self.execute("SELECT number FROM builds ORDER BY number")]

    def counted_bytes(self) -> tuple[int, int]:
        """Of all, and of logs."""
        query = "SELECT stored_bytes, log_bytes FROM projects WHERE id = ?"
        [found] = self.execute(query, self.project_id)
        return found[0], found[1]

    def summed_bytes(self) -> tuple[int, int]:
        with closing(sqlite3.connect(self.path)) as connection:
            return self._sums(connection)

    def _count_bytes(self, connection: sqlite3.Connection) -> None:
        connection.execute(
            "UPDATE projects SET stored_bytes = ?, log_bytes = ? WHERE id = ?",
            (*self._sums(connection), self.project_id),
        )

    def _sums(self, connection: sqlite3.Connection) -> tuple[int, int]:
        whose = [self.project_id]
        [files] = connection.execute(
            "SELECT coalesce(sum(size), 0) FROM artifacts JOIN steps ON steps.id = step_id"
            " WHERE project_id = ?",
            whose,
        ).fetchone()
        [logs] = connection.execute(
            "SELECT coalesce(sum(log_bytes), 0) FROM attempts JOIN steps ON steps.id = step_id"
            " JOIN builds ON builds.id = build_id WHERE log_of IS NULL AND logs_gone_at IS NULL"
            " AND builds.project_id = ?",
            whose,
        ).fetchone()
        return files + logs, logs


def blob(number: int, place: int) -> bytes:
    return f"{number} {place}".encode()


async def put_objects(core: Core, many: ManyBuilds) -> None:
    """The log of each attempt that has one of its own, and each artifact's bytes."""
    step_ids = many.execute("SELECT step_id FROM attempts WHERE log_of IS NULL")
    for number, (step_id,) in enumerate(step_ids):
        name = f"{step_id}-1"
        await core.logs.append(name, 0, [Frame(stream=Stream.STDOUT, data=LOG, time_ms=0)])
        if number % 2:  # the others are in the database as yet
            await core.logs.close(name)
    wanted = {digest for (digest,) in many.execute("SELECT sha256 FROM artifacts")}
    contents = (blob(number, place) for number in range(100) for place in range(10))
    for content in contents:
        if hashlib.sha256(content).hexdigest() in wanted:
            async with core.blob_claims.arriving(many.account_id) as arrived:
                await core.blobs.put(
                    many.account_id, _once(content), max_bytes=100, arrived=arrived
                )


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def left_in_store(core: Core, many: ManyBuilds) -> set[str]:
    """Names of logs and of blobs; logs may be in the database, too."""
    objects = core.settings.data / "objects"
    logs = {path.parent.name for path in (objects / "logs").rglob("*") if path.is_file()}
    logs |= {name for (name,) in many.execute("SELECT DISTINCT attempt_id FROM log_tails")}
    blobs = {path.name for path in (objects / "blobs").rglob("*") if path.is_file()}
    return logs | blobs


def named_by_rows(path: Path) -> set[str]:
    """What the builds that are there name."""
    with closing(sqlite3.connect(path)) as connection:
        logs = connection.execute(
            "SELECT coalesce(log_of, step_id || '-1') FROM attempts"
            " JOIN steps ON steps.id = step_id JOIN builds ON builds.id = build_id"
            " WHERE logs_gone_at IS NULL"
        )
        names = {name for (name,) in logs}
        return names | {name for (name,) in connection.execute("SELECT sha256 FROM artifacts")}
