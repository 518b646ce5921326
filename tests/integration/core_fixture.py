"""The core of a coordinator without its HTTP: a real database, and a clock that a test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from coordinator.domain.model import Account, Build, Project, Step
from coordinator.git.repositories import HostedRepositories
from coordinator.objects.blobs import ObjectBlobStore
from coordinator.objects.log_tails import DatabaseLogTails
from coordinator.objects.logs import ObjectLogStore
from coordinator.objects.places import open_objects
from coordinator.reading.processes import ReadingProcesses
from coordinator.services.builds.builds import Builds
from coordinator.services.builds.drafts import Origin, draft
from coordinator.services.builds.forge_source import ForgeSource
from coordinator.services.builds.saved_drafts import save_asked_for
from coordinator.services.core import Core
from coordinator.services.keys import KeyPlace, load_keys
from coordinator.services.news import News
from coordinator.services.steps.dispatch import Dispatch
from coordinator.settings import Settings
from coordinator.storage.builds import builds as stored
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.database import Database
from coordinator.storage.people import accounts as stored_accounts
from coordinator.storage.projects import projects as stored_projects
from pipelines_schema import Step as WorkflowStep
from pipelines_schema import Triggers, Workflow
from tests.empty_database import put_empty_database
from tests.empty_objects import objects_of

START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Clock:
    """Seconds for leases, and the time of day that goes with them."""

    seconds: float = 1000.0

    def __call__(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)


@dataclass(frozen=True, slots=True)
class TestedCore:
    __test__ = False

    core: Core
    clock: Clock

    async def new_project(self, name: str = "shop", account: str = "acme") -> Project:
        now = self.clock.now()
        project = Project(
            id=f"{account}-{name}",
            account_id=account,
            account_slug=account,
            name=name,
            slug=name,
            repo_url=None,
            build_count=0,
            created_at=now,
            updated_at=now,
        )

        async def save(connection: AsyncConnection) -> None:
            if await stored_accounts.find_account(connection, account) is None:
                owner = Account(id=account, slug=account, name=account)
                await stored_accounts.insert_account(connection, owner, now)
            await stored_projects.insert_project(connection, project)

        await self.core.database.write(save)
        return project

    async def new_build(self, project: Project, *steps: WorkflowStep) -> Build:
        workflow = Workflow(name="ci", file=None, triggers=Triggers(), steps=steps)
        wanted = draft(
            workflow, project, Origin(event="manual"), None, self.clock.now(), answers={}
        )
        return await self.core.database.write(
            lambda connection: save_asked_for(self.core, connection, project, wanted)
        )

    async def build(self, build: Build) -> Build:
        found = await self.core.database.read(
            lambda connection: stored.find_build(connection, build.id)
        )
        assert found is not None
        return found

    async def steps(self, build: Build) -> Sequence[Step]:
        return await self.core.database.read(
            lambda connection: stored.steps_of_build(connection, build.id)
        )


def step_of(name: str, *depends_on: str, **more: Any) -> WorkflowStep:
    return WorkflowStep(name=name, image="base", script="true", depends_on=depends_on, **more)


@asynccontextmanager
async def open_core(folder: Path, **settings: Any) -> AsyncIterator[TestedCore]:
    """`settings` are those of coordinator.settings."""
    clock, database = Clock(), await Database.open(put_empty_database(folder))
    store = open_objects(objects_of(folder))
    try:
        core = Core(
            database=database,
            repositories=cast("Any", None),
            remotes=cast("Any", None),
            readings=cast("Any", None),
            logs=ObjectLogStore(store, DatabaseLogTails(database)),
            blobs=ObjectBlobStore(store),
            news=News(),
            keys=load_keys(KeyPlace(data=folder)),
            settings=Settings(data=folder, **settings),
            public_url="http://127.0.0.1:1",
            now=clock.now,
        )
        yield TestedCore(core, clock)
    finally:
        await database.close()


@asynccontextmanager
async def builds_over(data: Path, now: Callable[[], datetime]) -> AsyncIterator[Builds]:
    """As one of several coordinators has them, with a database connection of its own."""
    database = await Database.open(data / "pushrod.db")
    readings = ReadingProcesses()
    try:
        core = Core(
            database=database,
            repositories=HostedRepositories(data / "repositories", max_input_bytes=1_000_000),
            remotes=cast("Any", None),
            logs=cast("Any", None),
            blobs=cast("Any", None),
            readings=readings,
            news=News(),
            keys=load_keys(KeyPlace(data=data)),
            settings=Settings(data=data),
            public_url="http://127.0.0.1:1",
            now=now,
        )
        yield Builds(core, Dispatch(core), ForgeSource(core, cast("Any", None)))
    finally:
        await readings.close()
        await database.close()
