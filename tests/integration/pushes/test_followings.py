"""Builds that another project's success starts, from a real push to the build."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from coordinator.services.core import utc_now
from coordinator.services.pushes.followings import Followings
from tests.integration.coordinator_fixture import (
    AgentCaller,
    Caller,
    Coordinator,
    WorkTree,
    eventually,
    new_work_tree,
)
from tests.integration.core_fixture import builds_over

STEPS = "\nsteps: [{name: a, image: b, run: 'true'}]\n"
PUSHED = "name: ci\non: {push: {}, tag: ['v*']}" + STEPS
AFTER_LIB = "name: app\non: {build: [{project: lib, workflow: ci%s}]}" + STEPS


@pytest.fixture
def admin(coordinator: Coordinator) -> Caller:
    return coordinator.admin


async def project_of(
    admin: Caller, folder: Path, name: str, workflow: str
) -> tuple[dict[str, Any], WorkTree]:
    project = await admin.new_project(name=name)
    tree = await new_work_tree(folder, admin, project, name)
    await pushed(tree, workflow)
    return project, tree


async def pushed(tree: WorkTree, workflow: str, *refs: str) -> str:
    await tree.commit({".pushrod.yml": workflow})
    return (await tree.push(*refs)).errors


async def ended(agent: AgentCaller, **how: Any) -> dict[str, Any]:
    """The spec of the next step, which is done."""
    spec = await agent.take()
    (await agent.complete(spec, **how)).expect(200)
    return spec


async def following(admin: Caller, project: Mapping[str, Any], count: int = 1) -> Any:
    """The project's builds, once there are so many; newest first."""

    async def there() -> list[dict[str, Any]] | None:
        builds = await admin.builds(project)
        return builds if len(builds) >= count else None

    return await eventually(there)


def written_down(coordinator: Coordinator) -> int:
    with sqlite3.connect(coordinator.data / "pushrod.db") as connection:
        [(count,)] = connection.execute("SELECT count(*) FROM followings").fetchall()
    connection.close()
    return int(count)


async def test_a_success_starts_the_workflows_of_others_that_wait_for_it(
    admin: Caller, coordinator: Coordinator, tmp_path: Path
) -> None:
    app, tree = await project_of(admin, tmp_path, "app", AFTER_LIB % ", branches: [main]")
    _, lib = await project_of(admin, tmp_path, "lib", PUSHED)
    agent = await admin.new_agent()
    await ended(agent)
    [build] = await following(admin, app)
    tip = (await tree.git("rev-parse", "HEAD")).output
    assert (build["branch"], build["commitHash"], build["state"]) == ("main", tip, "queued")
    spec = await ended(agent)
    upstream = (await lib.git("rev-parse", "HEAD")).output
    variables = {name: value for name, value in spec["env"].items() if "UPSTREAM" in name}
    assert spec["env"]["PUSHROD_EVENT"] == "build"
    assert variables.pop("PUSHROD_UPSTREAM_BUILD_ID")
    shown = (await admin.build(build["id"]))["upstream"]
    assert shown == {
        "project": "lib",
        "workflow": "ci",
        "buildId": spec["env"]["PUSHROD_UPSTREAM_BUILD_ID"],
        "buildNumber": 1,
        "commit": upstream,
        "branch": "main",
        "url": f"{coordinator.url}/builds/{spec['env']['PUSHROD_UPSTREAM_BUILD_ID']}",
    }
    assert variables == {
        "PUSHROD_UPSTREAM_PROJECT": "lib",
        "PUSHROD_UPSTREAM_WORKFLOW": "ci",
        "PUSHROD_UPSTREAM_BUILD_NUMBER": "1",
        "PUSHROD_UPSTREAM_COMMIT": upstream,
        "PUSHROD_UPSTREAM_BRANCH": "main",
    }
    # What failed, is of another branch, a tag or another workflow starts nothing.
    await pushed(lib, PUSHED)
    await ended(agent, status="failed", exitCode=1)
    await lib.git("checkout", "-q", "-b", "side")
    await pushed(lib, PUSHED, "side")
    await ended(agent)
    await lib.git("tag", "v1")
    await lib.push("v1")
    await ended(agent)
    await lib.git("checkout", "-q", "main")
    await pushed(lib, PUSHED.replace("name: ci", "name: other"))
    await ended(agent)
    assert written_down(coordinator) == 0
    assert len(await admin.builds(app)) == 1


async def test_only_the_default_branchs_file_counts_while_it_says_so(
    admin: Caller, coordinator: Coordinator, tmp_path: Path
) -> None:
    app, tree = await project_of(admin, tmp_path, "app", PUSHED.replace("push: {}", "manual: {}"))
    await tree.git("checkout", "-q", "-b", "side")
    await pushed(tree, AFTER_LIB % "", "side")
    _, lib = await project_of(admin, tmp_path, "lib", PUSHED)
    agent = await admin.new_agent()
    await ended(agent)
    assert written_down(coordinator) == 0
    await tree.git("push", "-q", "-f", "origin", "side:main")
    await lib.git("commit", "-q", "--allow-empty", "-m", "again")
    await lib.push()
    await ended(agent)
    [build] = await following(admin, app)
    assert build["event"] == "build"


def execute(coordinator: Coordinator, statement: str) -> None:
    with sqlite3.connect(coordinator.data / "pushrod.db") as connection:
        connection.execute(statement)
    connection.close()


async def left_written_down(admin: Caller, coordinator: Coordinator, folder: Path) -> Any:
    """A project whose build is to follow; it is as if the coordinator had been killed then."""
    app, _ = await project_of(admin, folder, "app", AFTER_LIB % "")
    await project_of(admin, folder, "lib", PUSHED)
    refuse = "CREATE TRIGGER refuse BEFORE INSERT ON builds BEGIN SELECT RAISE(ABORT, 'no'); END"
    execute(coordinator, refuse)
    await ended(await admin.new_agent())
    await coordinator.stop()
    assert written_down(coordinator) == 1
    execute(coordinator, "DROP TRIGGER refuse")
    return app


async def test_what_follows_outlasts_a_restart_and_is_built_once(
    admin: Caller, coordinator: Coordinator, tmp_path: Path
) -> None:
    app = await left_written_down(admin, coordinator, tmp_path)
    await coordinator.start()
    await following(admin, app)
    await coordinator.restart()
    assert written_down(coordinator) == 0
    assert len(await admin.builds(app)) == 1


async def test_of_several_coordinators_one_builds_what_follows(
    admin: Caller, coordinator: Coordinator, tmp_path: Path
) -> None:
    app = await left_written_down(admin, coordinator, tmp_path)
    async with (
        builds_over(coordinator.data, utc_now) as one,
        builds_over(coordinator.data, utc_now) as other,
    ):
        both = [Followings(one), Followings(other)]
        await asyncio.gather(*(each.build_all() for each in (*both, *both)))
    assert written_down(coordinator) == 0
    await coordinator.start()
    assert len(await admin.builds(app)) == 1


class _Later:
    """A clock that its test moves."""

    def __init__(self) -> None:
        self.time = utc_now()

    def now(self) -> datetime:
        return self.time


def paused(coordinator: Coordinator, now: datetime) -> float:
    """Until the one that follows is tried again, in seconds; 0 where there is none any more."""
    with sqlite3.connect(coordinator.data / "pushrod.db") as connection:
        found = connection.execute("SELECT due_at FROM followings").fetchall()
    connection.close()
    return found[0][0] / 1e6 - now.timestamp() if found else 0


async def test_what_can_never_be_made_is_tried_more_and_more_seldom_and_told_at_last(
    admin: Caller, coordinator: Coordinator, tmp_path: Path
) -> None:
    app = await left_written_down(admin, coordinator, tmp_path)
    execute(coordinator, "UPDATE followings SET faults = 0, due_at = NULL")
    # A fault of ours: every build of the workflow is refused, but not a failed one that tells it.
    execute(
        coordinator,
        "CREATE TRIGGER refuse BEFORE INSERT ON builds WHEN NEW.state != 'failed' "
        "BEGIN SELECT RAISE(ABORT, 'no'); END",
    )
    clock, pauses = _Later(), []
    async with builds_over(coordinator.data, clock.now) as builds:
        followings = Followings(builds)
        while written_down(coordinator):
            await followings.build_all()
            pause = paused(coordinator, clock.now())
            # Whoever looks sooner does nothing.
            clock.time += timedelta(seconds=max(pause - 1, 0))
            await followings.build_all()
            pauses.append(pause)
            clock.time += timedelta(seconds=1)
    assert [round(pause, 3) for pause in pauses] == [15, 30, 60, 120, 240, 0]
    execute(coordinator, "DROP TRIGGER refuse")
    await coordinator.start()
    [build] = await admin.builds(app)
    assert (build["state"], build["workflow"]) == ("failed", "app")
    reason = (await admin.build(build["id"]))["reason"]
    assert reason.startswith(
        "the coordinator could not make this build, in 6 tries: internal error (IntegrityError)"
    )


async def test_what_can_not_even_be_told_is_kept_and_others_are_built(
    admin: Caller, coordinator: Coordinator, tmp_path: Path
) -> None:
    app = await left_written_down(admin, coordinator, tmp_path)
    refuse = "CREATE TRIGGER refuse BEFORE INSERT ON builds BEGIN SELECT RAISE(ABORT, 'no'); END"
    execute(coordinator, refuse)
    execute(coordinator, "UPDATE followings SET faults = 40, due_at = NULL")
    clock = _Later()
    async with builds_over(coordinator.data, clock.now) as builds:
        await Followings(builds).build_all()
    assert written_down(coordinator) == 1
    execute(coordinator, "DROP TRIGGER refuse")
    await coordinator.start()  # which tries it at once
    [build] = await following(admin, app)
    assert build["state"] != "failed"


async def test_a_workflow_that_is_gone_is_a_failed_build_that_says_so(
    admin: Caller, coordinator: Coordinator, tmp_path: Path
) -> None:
    app = await left_written_down(admin, coordinator, tmp_path)
    execute(coordinator, "UPDATE followings SET path = '.pushrod/gone.yml'")
    await coordinator.start()
    [build] = await following(admin, app)
    assert build["state"] == "failed"
    assert ".pushrod/gone.yml" in (await admin.build(build["id"]))["reason"]


async def test_an_archived_project_builds_nothing_and_a_deleted_one_leaves_nothing(
    admin: Caller, coordinator: Coordinator, tmp_path: Path
) -> None:
    app = await left_written_down(admin, coordinator, tmp_path)
    execute(coordinator, f"UPDATE projects SET archived_at = created_at WHERE id = '{app['id']}'")
    await coordinator.start()

    async def none_left() -> bool:
        return written_down(coordinator) == 0

    await eventually(none_left)
    assert await admin.builds(app) == []
    (await admin.call("DELETE", f"/api/projects/{app['id']}")).expect(204)
    with sqlite3.connect(coordinator.data / "pushrod.db") as connection:
        assert connection.execute("SELECT * FROM build_listeners").fetchall() == []
    connection.close()


async def test_only_the_accounts_own_projects_are_waited_for(
    admin: Caller, coordinator: Coordinator, tmp_path: Path
) -> None:
    app, _ = await project_of(admin, tmp_path, "app", AFTER_LIB % "")
    project = await admin.new_project("acme", "lib")
    await pushed(await new_work_tree(tmp_path, admin, project, "lib"), PUSHED)
    await ended(await admin.new_agent())
    assert written_down(coordinator) == 0
    assert await admin.builds(app) == []


async def test_a_cancelled_build_starts_nothing_and_a_retry_that_succeeds_starts_one(
    admin: Caller, coordinator: Coordinator, tmp_path: Path
) -> None:
    app, _ = await project_of(admin, tmp_path, "app", AFTER_LIB % "")
    lib, _ = await project_of(admin, tmp_path, "lib", PUSHED)
    [first] = await admin.builds(lib)
    path = f"/api/projects/{lib['id']}/builds/{first['id']}"
    (await admin.post(f"{path}/cancel")).expect(200)
    assert (await admin.build(first["id"]))["state"] == "cancelled"
    agent = await admin.new_agent()
    for outcome in ({"status": "failed", "exitCode": 1}, {}):
        assert written_down(coordinator) == 0
        assert await admin.builds(app) == []
        (await admin.post(f"{path}/retry")).expect(201)
        await ended(agent, **outcome)
    [build] = await following(admin, app)
    spec = await ended(agent)
    assert (spec["buildId"], spec["env"]["PUSHROD_UPSTREAM_BUILD_NUMBER"]) == (build["id"], "3")
    assert len(await admin.builds(app)) == 1


async def test_a_superseded_build_starts_nothing(
    admin: Caller, coordinator: Coordinator, tmp_path: Path
) -> None:
    app, _ = await project_of(admin, tmp_path, "app", AFTER_LIB % "")
    one_at_a_time = PUSHED.replace(STEPS, "\nconcurrency: {group: g, cancelRunning: true}" + STEPS)
    lib, tree = await project_of(admin, tmp_path, "lib", one_at_a_time)
    await pushed(tree, one_at_a_time + "# again\n")
    newest, first = await admin.builds(lib)
    assert first["state"] == "cancelled"
    await ended(await admin.new_agent())
    [build] = await following(admin, app)
    assert written_down(coordinator) == 0
    spec = await ended(await admin.new_agent())
    assert spec["env"]["PUSHROD_UPSTREAM_BUILD_ID"] == newest["id"]
    assert [one["id"] for one in await admin.builds(app)] == [build["id"]]


async def test_two_projects_that_start_each_other_end_after_ten_builds(
    admin: Caller, coordinator: Coordinator, tmp_path: Path
) -> None:
    app, _ = await project_of(admin, tmp_path, "app", AFTER_LIB % "")
    both = "name: ci\non: {push: {}, build: [{project: app}]}" + STEPS
    lib, _ = await project_of(admin, tmp_path, "lib", both)
    agent = await admin.new_agent()
    for _ in range(11):  # the push's and ten that follow
        await ended(agent)
    assert written_down(coordinator) == 0
    assert len(await admin.builds(lib)) == 6
    assert len(await admin.builds(app)) == 5
    [last, *others] = [await admin.build(one["id"]) for one in await admin.builds(lib)]
    assert last["state"] == "succeeded"
    assert last["reason"].startswith("starts no other project's workflow: 10 builds in a row")
    assert not any(one.get("reason") for one in others)


async def test_a_project_that_waits_for_itself_is_told_so(admin: Caller, tmp_path: Path) -> None:
    lib, tree = await project_of(admin, tmp_path, "lib", PUSHED)
    await pushed(tree, (AFTER_LIB % "").replace("{build", "{push: {}, build"))
    [build, _] = await admin.builds(lib)
    assert build["state"] == "failed"
    [problem] = (await admin.build(build["id"]))["problems"]
    assert problem["message"].startswith("`build` names `lib`, which is this project")
    assert (problem["line"], problem["column"]) == (2, 14 + len("push: {}, "))
