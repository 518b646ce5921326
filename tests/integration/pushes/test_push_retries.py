"""Pushes whose builds can't be made at once: nobody needs to push a second time."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from coordinator.api.http.local import LOCAL
from coordinator.domain.listing import BuildListing, Scope
from coordinator.domain.model import Project
from coordinator.git.repositories import HostedRepositories
from coordinator.reading.processes import ReadingProcesses
from coordinator.services.core import Core
from coordinator.services.keys import Keys
from coordinator.services.news import News
from coordinator.services.projects.projects import make_project
from coordinator.services.pushes.begun_pushes import BegunPushes
from coordinator.services.pushes.ingest import Ingest
from coordinator.services.pushes.push_retries import PushRetries
from coordinator.services.steps.dispatch import Dispatch
from coordinator.settings import Settings
from coordinator.storage.builds.build_lists import list_builds
from tests.integration.coordinator_fixture import (
    ONE_STEP,
    Caller,
    Coordinator,
    WorkTree,
    eventually,
    git,
    new_work_tree,
    open_coordinator,
)
from tests.integration.list_fixture import account_of, open_database, save
from tests.interruption import cancelled_at


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path, database_wait_seconds=0.1) as coordinator:
        yield coordinator


@pytest.fixture
def admin(coordinator: Coordinator) -> Caller:
    return coordinator.admin


@pytest.fixture
async def project(admin: Caller) -> dict[str, Any]:
    return await admin.new_project("acme", "shop")


@pytest.fixture
async def tree(tmp_path: Path, admin: Caller, project: dict[str, Any]) -> WorkTree:
    return await new_work_tree(tmp_path, admin, project)


@contextmanager
def connected(coordinator: Coordinator) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(coordinator.data / "pushrod.db", isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def refuse_builds(connection: sqlite3.Connection) -> None:
    """A fault of ours, as far as the coordinator can tell."""
    connection.execute(
        "CREATE TRIGGER refuse BEFORE INSERT ON builds WHEN NEW.reason IS NULL "
        "BEGIN SELECT RAISE(ABORT, 'refused'); END"
    )


async def test_a_push_into_a_locked_database_gets_its_build_by_itself(
    coordinator: Coordinator, admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    await tree.commit({".pushrod.yml": ONE_STEP})
    with connected(coordinator) as other:
        other.execute("BEGIN IMMEDIATE")
        pushed = await tree.push()
        assert "locked by another process" in pushed.errors
        assert "tried again by itself" in pushed.errors
        shown = (await admin.get(f"/api/projects/{project['id']}")).json
        assert "locked by another process" in shown["pushWaits"]["reason"]
        other.execute("ROLLBACK")
    [build] = await eventually(lambda: admin.builds(project))
    assert (build["number"], build["state"]) == (1, "queued")
    shown = (await admin.get(f"/api/projects/{project['id']}")).json
    assert "pushWaits" not in shown


async def test_a_push_waits_for_a_fault_to_pass(
    coordinator: Coordinator, admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    await tree.commit({".pushrod.yml": ONE_STEP})
    with connected(coordinator) as other:
        refuse_builds(other)
        pushed = await tree.push()
        assert "internal error (IntegrityError)" in pushed.errors
        assert await admin.builds(project) == []
        other.execute("DROP TRIGGER refuse")
    [build] = await eventually(lambda: admin.builds(project))
    assert build["state"] == "queued"


async def test_a_push_that_never_can_be_taken_in_ends_as_a_failed_build(
    coordinator: Coordinator, admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    sha = await tree.commit({".pushrod.yml": ONE_STEP})
    with connected(coordinator) as other:
        refuse_builds(other)
        await tree.push()
        [build] = await eventually(lambda: admin.builds(project))
        assert (build["state"], build["commitHash"], build["branch"]) == ("failed", sha, "main")
        assert "internal error (IntegrityError)" in build["reason"]
        other.execute("DROP TRIGGER refuse")
    # It is over: the next push is built as any.
    await tree.commit({".pushrod.yml": ONE_STEP})
    await tree.push()
    assert [one["state"] for one in await admin.builds(project)] == ["queued", "failed"]


async def test_a_waiting_push_outlives_a_restart(
    coordinator: Coordinator, admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    await tree.commit({".pushrod.yml": ONE_STEP})
    with connected(coordinator) as other:
        refuse_builds(other)
        await tree.push()
        await coordinator.restart()
        await eventually(lambda: waits(admin, project))
        other.execute("DROP TRIGGER refuse")
    [build] = await eventually(lambda: admin.builds(project))
    assert build["state"] == "queued"


async def waits(admin: Caller, project: dict[str, Any]) -> bool:
    return "pushWaits" in (await admin.get(f"/api/projects/{project['id']}")).json


NOWHERE = cast(Any, None)


@asynccontextmanager
async def hosting(folder: Path) -> AsyncIterator[tuple[PushRetries, Project, Path]]:
    """What stands behind a push, without HTTP; and the project's repository, with a commit."""
    repositories = HostedRepositories(folder / "repositories")
    async with open_database(folder / "pushrod.db") as database, ReadingProcesses() as readings:
        core = Core(
            database=database,
            repositories=repositories,
            remotes=NOWHERE,
            logs=NOWHERE,
            blobs=NOWHERE,
            readings=readings,
            news=News(),
            keys=Keys(b"k" * 32),
            settings=Settings(),
            public_url="https://ci.example",
        )
        account = account_of("default")
        await database.write(lambda connection: save(connection, [account]))
        project = await make_project(core, LOCAL, account, name="shop")
        bare = repositories.path(project.id)
        await git(folder, "clone", "-q", str(bare), "work")
        (folder / "work" / ".pushrod.yml").write_text(ONE_STEP)
        await git(folder / "work", "add", "-A")
        await git(folder / "work", "commit", "-q", "-m", "first")
        await git(folder / "work", "push", "-q", "origin", "HEAD:refs/heads/main")
        ingest = Ingest(core, Dispatch(core), BegunPushes(core))
        yield PushRetries(core, ingest), project, bare


async def test_a_comparison_cut_short_at_any_moment_loses_no_push_and_builds_none_twice(
    tmp_path: Path,
) -> None:
    async with hosting(tmp_path) as (pushes, project, bare):
        for moment in range(200):
            await git(bare, "update-ref", f"refs/heads/b{moment}", "refs/heads/main")
            cut = await cancelled_at(moment, pushes.received(project, LOCAL))
            await pushes.received(project, LOCAL)
            built = await branches(pushes.core, project)
            assert built.count(f"b{moment}") == 1, moment
            if not cut:
                return
    raise AssertionError("a comparison waits more often than it should")


async def branches(core: Core, project: Project) -> list[str | None]:
    scope = Scope(account_id=project.account_id, project_id=project.id)
    builds, _ = await core.database.read(
        lambda connection: list_builds(connection, scope, BuildListing(limit=200))
    )
    return [build.branch for build in builds]
