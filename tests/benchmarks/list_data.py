"""A database as years of builds leave it, written through the tables in batches."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import psycopg

from coordinator.domain.pushes.deliveries import ForgeEvent
from coordinator.domain.step_definition import StepDefinition
from coordinator.git.repository_folders import create_repository, repository_path
from coordinator.storage import tables
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.database import Database
from coordinator.storage.migrate import migrate
from coordinator.storage.postgresql import PostgresPlace, engine_of
from pipelines_schema import Step as WorkflowStep
from tests.integration.list_fixture import wrong_counts

STEP = StepDefinition(written=WorkflowStep(name="step", image="debian", script="make test"))
DEFINITION = STEP.to_json()

DIALECT = psycopg.dialect()
STEPS_EACH = 2
PROJECTS, ACCOUNTS = 20, 3
MAX_INPUT_BYTES = 1_000_000
BATCH = 2_000
BEGAN = datetime(2024, 1, 1, tzinfo=UTC)
STATES = {"succeeded": 880, "failed": 90, "cancelled": 25, "held": 1, "queued": 3, "running": 1}
ACTIONS = {"build.created": 90, "build.cancelled": 4, "build.retried": 4, "token.created": 2}
OF_STEPS = ("id", "project_id", "account_id", "state", "started_at", "finished_at")
COUNTS = (
    "INSERT INTO build_counts SELECT '', account_id, project_id, state, count(*)"
    " FROM builds GROUP BY 2, 3, 4",
    "INSERT INTO build_counts SELECT branch, account_id, project_id, state, count(*)"
    " FROM builds GROUP BY 1, 2, 3, 4",
    "INSERT INTO audit_counts SELECT '', account_id, action, count(*) FROM audit_log GROUP BY 2, 3",
    "INSERT INTO audit_counts SELECT project_id, account_id, action, count(*)"
    " FROM audit_log GROUP BY 1, 2, 3",
    "UPDATE projects SET"
    " build_count = (SELECT count(*) FROM builds WHERE project_id = projects.id),"
    " delivery_count = (SELECT count(*) FROM deliveries WHERE project_id = projects.id)",
)

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    builds: int = 200_000
    audit_entries: int = 220_000
    deliveries: int = 50_000
    """Of the largest project."""
    crowd: int = 1_000
    """Projects of one account more, with one build each."""


def fill(folder: Path, size: Size | None = None, postgres: PostgresPlace | None = None) -> None:
    """Make a coordinator's data folder; a seed makes it the same each time.

    Into `postgres`, which has no rows yet, or into SQLite's file in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place = postgres or folder / "pushrod.db"
    migrate(place)
    made = Made(random.Random(4), size or Size())
    if isinstance(place, PostgresPlace):
        _copy(place, made)
    else:
        asyncio.run(_fill(place, made))
    assert not wrong_counts(place)
    for project, _ in (*made.projects, *made.crowd):
        create_repository(repository_path(folder / "repositories", project), MAX_INPUT_BYTES)


async def _fill(path: Path, made: Made) -> None:
    database = await Database.open(path)
    try:
        for table, rows in made.tables():
            while batch := list(islice(rows, BATCH)):
                await database.write(_insert(table, batch))
        for statement in COUNTS:
            await database.write(_run(statement))
    finally:
        await database.close()


def _copy(place: PostgresPlace, made: Made) -> None:
    """A million builds in minutes, and what plans of queries stand on."""
    engine = engine_of(place)
    with engine.begin() as connection:
        driver: Any = connection.connection.driver_connection
        for table, rows in made.tables():
            _copy_table(driver, table, rows)
        for statement in COUNTS:
            connection.execute(sa.text(statement))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE"))
    engine.dispose()


def _copy_table(driver: Any, table: sa.Table, rows: Iterator[Row]) -> None:
    """What no row names is what an insert would take; all of a table have the same columns."""
    first = next(rows, None)
    if first is None:
        return
    named = [column for column in table.columns if column.name in first]
    values = [column.type.dialect_impl(DIALECT).bind_processor(DIALECT) for column in named]
    others = {
        column.name: _default(column)
        for column in table.columns
        if column not in named and column.default is not None and column.name != "ordinal"
    }
    order = ["ordinal"] if "ordinal" in table.columns else []
    names = ", ".join([*(column.name for column in named), *others, *order])
    with (
        driver.cursor() as cursor,
        cursor.copy(f"COPY {table.name} ({names}) FROM STDIN") as copy,
    ):
        for number, row in enumerate(chain([first], rows), 1):
            given = [row[column.name] for column in named]
            made = [one if of is None else of(one) for of, one in zip(values, given, strict=True)]
            copy.write_row([*made, *others.values(), *([number] if order else [])])


def _default(column: sa.Column[Any]) -> Any:
    """Empty lists, numbers and booleans."""
    default: Any = column.default
    return "[]" if default.is_callable else default.arg


def _insert(table: sa.Table, batch: Sequence[Row]) -> Callable[[AsyncConnection], Any]:
    async def insert(connection: AsyncConnection) -> None:
        await connection.execute(table.insert(), batch)

    return insert


def _run(statement: str) -> Callable[[AsyncConnection], Any]:
    async def run(connection: AsyncConnection) -> None:
        await connection.execute(sa.text(statement))

    return run


class Made:
    """Rows of every table, projects of unequal size, builds of all projects mixed in time."""

    def __init__(self, chance: random.Random, size: Size) -> None:
        self._chance = chance
        self._size = size
        self.accounts = [self._id() for _ in range(ACCOUNTS + 1)]
        self.projects = [(self._id(), self.accounts[n % ACCOUNTS]) for n in range(PROJECTS)]
        self.crowd = [(self._id(), self.accounts[ACCOUNTS]) for _ in range(size.crowd)]
        self._numbers: dict[str, int] = {}
        self._made: list[Row] = []

    def tables(self) -> Iterator[tuple[sa.Table, Iterator[Row]]]:
        yield (
            tables.accounts,
            iter(
                {"id": key, "slug": f"account-{n}", "name": f"account {n}", "created_at": BEGAN}
                for n, key in enumerate(self.accounts)
            ),
        )
        yield tables.projects, self._projects()
        yield tables.builds, self._builds()
        yield (
            tables.steps,
            (self._step(build, n) for build in self._made for n in range(STEPS_EACH)),
        )
        yield tables.audit_log, (self._entry(n) for n in range(self._size.audit_entries))
        yield tables.deliveries, (self._delivery(n) for n in range(self._size.deliveries))

    def _id(self) -> str:
        return str(UUID(int=self._chance.getrandbits(128), version=4))

    def _project(self) -> tuple[str, str]:
        """The largest has a quarter of all builds, the smallest a hundredth."""
        weights = [1 / (n + 1) for n in range(PROJECTS)]
        return self._chance.choices(self.projects, weights)[0]

    def _projects(self) -> Iterator[Row]:
        for n, (key, account) in enumerate([*self.projects, *self.crowd]):
            yield {
                "id": key,
                "account_id": account,
                "name": f"project {n}",
                "slug": f"project-{n}",
                "created_at": BEGAN + timedelta(seconds=n),
                "updated_at": BEGAN + timedelta(seconds=n),
            }

    def _builds(self) -> Iterator[Row]:
        builds = self._size.builds
        for n in range(builds + self._size.crowd):
            build = self._build(n, self.crowd[n - builds] if n >= builds else None)
            self._made.append({name: build[name] for name in OF_STEPS})
            yield build

    def _build(self, n: int, place: tuple[str, str] | None = None) -> Row:
        project, account = place or self._project()
        number = self._numbers[project] = self._numbers.get(project, 0) + 1
        created = BEGAN + timedelta(minutes=5 * n, seconds=self._chance.random())
        state = self._chance.choices(list(STATES), list(STATES.values()))[0]
        took = timedelta(seconds=self._chance.expovariate(1 / 300))
        ended = state in ("succeeded", "failed", "cancelled")
        return {
            "id": self._id(),
            "project_id": project,
            "account_id": account,
            "workflow_name": "ci",
            "number": number,
            "state": state,
            "event": "push",
            "version": 9,
            "problems": [],
            "commit_hash": f"{self._chance.getrandbits(160):040x}",
            "branch": self._chance.choice(["main", "main", f"feature-{n // 50}"]),
            "commit_message": f"Change number {n}, which says why in a line of the usual length\n",
            "commit_author": "Ada Example <ada@example.org>",
            "created_at": created,
            "updated_at": created + took,
            "started_at": None if state in ("held", "queued") else created,
            "finished_at": created + took if ended else None,
        }

    def _step(self, build: Row, position: int) -> Row:
        """None that is handed out: nobody holds its lease, and it would be lost meanwhile."""
        waits = build["state"] in ("held", "queued", "running")
        return {
            "id": self._id(),
            "build_id": build["id"],
            "project_id": build["project_id"],
            "account_id": build["account_id"],
            "position": position,
            "name": f"step-{position}",
            "state": "blocked" if waits else "succeeded",
            "definition": DEFINITION,
            "depends_on": [f"step-{position - 1}"] if position else [],
            "labels": {},
            "started_at": build["started_at"],
            "finished_at": build["finished_at"],
        }

    def _entry(self, n: int) -> Row:
        project, account = self._project()
        return {
            "id": self._id(),
            "account_id": account,
            "project_id": project,
            "action": self._chance.choices(list(ACTIONS), list(ACTIONS.values()))[0],
            "details": {"by": "admin", "build": self._id(), "number": n},
            "created_at": BEGAN + timedelta(minutes=4 * n),
        }

    def _delivery(self, n: int) -> Row:
        project, account = self.projects[0]
        return {
            "id": self._id(),
            "project_id": project,
            "account_id": account,
            "delivery_id": str(n),
            "forge": "github",
            "event": "push",
            "state": "ignored",
            "payload": ForgeEvent(kind="push").to_json(),
            "builds": [],
            # Of today: those that are a month old are forgotten as soon as a coordinator starts.
            "received_at": datetime.now(UTC) - timedelta(seconds=self._size.deliveries - n),
        }
