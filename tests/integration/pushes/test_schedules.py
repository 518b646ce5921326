"""Builds at set times, from a real push to the build."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from coordinator.services.pushes.schedules import Schedules
from tests.integration.coordinator_fixture import (
    Answer,
    Caller,
    Coordinator,
    WorkTree,
    eventually,
    new_work_tree,
    open_coordinator,
)
from tests.integration.core_fixture import builds_over
from tests.integration.forge_fixture import (
    open_forge,
    push_payload,
    remote_project,
    until_settled,
)

AT_THREE = "on: {schedule: [{cron: '0 3 * * *'%s}]%s}\nsteps: [{name: a, image: b, run: 'true'}]\n"
NIGHTLY = AT_THREE % ("", "")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@dataclass(slots=True)
class Clock:
    """It stands until a test moves it."""

    time: datetime = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def at(self, day: int, hour: int, minute: int = 0, month: int = 3) -> None:
        self.time = datetime(2026, month, day, hour, minute, tzinfo=UTC)


async def change(admin: Caller, project: Mapping[str, Any], **wanted: object) -> Answer:
    return await admin.call("PATCH", f"/api/projects/{project['id']}", json=wanted)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def coordinator(tmp_path: Path, clock: Clock) -> AsyncIterator[Coordinator]:
    settings: dict[str, Any] = {"allow_http_repositories": True, "allow_private_addresses": True}
    async with open_coordinator(
        tmp_path, now=clock.now, project_max_queued_builds=3, **settings
    ) as coordinator:
        yield coordinator


@pytest.fixture
def admin(coordinator: Coordinator) -> Caller:
    return coordinator.admin


@pytest.fixture
async def project(admin: Caller) -> dict[str, Any]:
    return await admin.new_project()


@pytest.fixture
async def tree(tmp_path: Path, admin: Caller, project: dict[str, Any]) -> WorkTree:
    return await new_work_tree(tmp_path, admin, project)


async def pushed(tree: WorkTree, workflow: str, *refs: str) -> str:
    await tree.commit({".pushrod.yml": workflow})
    return (await tree.push(*refs)).errors


def next_times(coordinator: Coordinator) -> list[str]:
    with sqlite3.connect(coordinator.data / "pushrod.db") as connection:
        rows = connection.execute("SELECT next_at FROM schedules ORDER BY next_at").fetchall()
    connection.close()
    return [
        datetime.fromtimestamp(micros / 1_000_000, UTC).isoformat(timespec="minutes")[:16]
        for (micros,) in rows
    ]


async def looked(coordinator: Coordinator, clock: Clock) -> None:
    """Until nothing is due any more, with a restart, which looks at once."""
    await coordinator.restart()
    now = clock.now().isoformat()[:16]

    async def none_due() -> bool:
        return all(time > now for time in next_times(coordinator))

    await eventually(none_due)


async def scheduled(admin: Caller, project: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Newest first."""
    builds = await admin.builds(project)
    return [build for build in builds if build["event"] == "schedule"]


async def test_a_schedule_is_built_at_its_time_by_itself(
    admin: Caller, coordinator: Coordinator, clock: Clock, project: dict[str, Any], tree: WorkTree
) -> None:
    clock.at(10, 2, 59)
    await pushed(tree, NIGHTLY)
    assert next_times(coordinator) == ["2026-03-10T03:00"]
    assert await scheduled(admin, project) == []
    clock.at(10, 3)
    # Another push makes it look again; else it would once a minute.
    await pushed(tree, NIGHTLY)
    [build] = await eventually(lambda: scheduled(admin, project))
    tip = (await tree.git("rev-parse", "HEAD")).output
    assert (build["branch"], build["commitHash"], build["state"]) == ("main", tip, "queued")
    assert next_times(coordinator) == ["2026-03-11T03:00"]
    deeds = (await admin.get("/api/audit-logs")).expect(200).json["auditLogs"]
    [made] = [entry for entry in deeds if entry["action"] == "build.created"]
    assert made["details"]["by"] == "schedule"


async def test_scripts_and_conditions_know_that_it_is_a_schedules(
    admin: Caller, coordinator: Coordinator, clock: Clock, project: dict[str, Any], tree: WorkTree
) -> None:
    await pushed(
        tree,
        """on: {push: {}, schedule: [{cron: "0 3 * * *"}]}
steps:
  - {name: long, image: b, run: "true", when: 'event == "schedule"'}
  - {name: short, image: b, run: "true", when: 'event != "schedule"'}
""",
    )
    clock.at(11, 3)
    await looked(coordinator, clock)
    [build] = await scheduled(admin, project)
    steps = {step["name"]: step["status"] for step in (await admin.build(build["id"]))["steps"]}
    assert steps["short"] == "SKIPPED"
    assert steps["long"] != "SKIPPED"
    for other in await admin.builds(project):
        if other["event"] == "push":
            await admin.post(f"/api/projects/{project['id']}/builds/{other['id']}/cancel")
    agent = await admin.new_agent()
    spec = await agent.take()
    assert spec["env"]["PUSHROD_EVENT"] == "schedule"


@pytest.mark.parametrize(("late", "builds"), [(23 * HOUR, 1), (25 * HOUR, 0), (24 * HOUR, 0)])
async def test_a_missed_time_is_made_up_for_once_within_24_hours(
    admin: Caller,
    coordinator: Coordinator,
    clock: Clock,
    project: dict[str, Any],
    tree: WorkTree,
    late: timedelta,
    builds: int,
) -> None:
    await pushed(tree, AT_THREE.replace("0 3 * * *", "0 3 11 * *") % ("", ""))
    await coordinator.stop()
    clock.at(11, 3)
    clock.time += late
    await looked(coordinator, clock)
    assert len(await scheduled(admin, project)) == builds
    await looked(coordinator, clock)
    assert len(await scheduled(admin, project)) == builds
    assert next_times(coordinator) == ["2026-04-11T03:00"]


async def test_of_many_missed_times_one_is_made_up_for(
    admin: Caller, coordinator: Coordinator, clock: Clock, project: dict[str, Any], tree: WorkTree
) -> None:
    await pushed(tree, AT_THREE.replace("0 3", "0 *") % ("", ""))
    await coordinator.stop()
    clock.at(14, 7, 30)
    await looked(coordinator, clock)
    assert len(await scheduled(admin, project)) == 1
    assert next_times(coordinator) == ["2026-03-14T08:00"]


async def test_the_named_branch_is_built_with_the_file_and_parameters_it_has(
    admin: Caller, coordinator: Coordinator, clock: Clock, project: dict[str, Any], tree: WorkTree
) -> None:
    manual = ", manual: {params: {target: {oneOf: [staging, production]}}}"
    await pushed(tree, AT_THREE % (", branch: release/1, params: {target: production}", manual))
    await tree.git("checkout", "-q", "-b", "release/1")
    await pushed(tree, (AT_THREE % ("", manual)).replace("name: a", "name: other"), "release/1")
    clock.at(11, 3)
    await looked(coordinator, clock)
    [build] = await scheduled(admin, project)
    assert build["branch"] == "release/1"
    assert build["params"] == {"target": "production"}
    assert [step["name"] for step in (await admin.build(build["id"]))["steps"]] == ["other"]


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (", branch: gone", "the repository has no branch 'gone'"),
        (", branch: bare", "there is no .pushrod.yml at commit"),
        (", branch: broken", "this workflow has mistakes"),
        (", branch: other, params: {x: '1'}", "the parameters are not those of the workflow"),
    ],
)
async def test_what_cant_be_built_is_a_failed_build_that_says_why(
    admin: Caller,
    coordinator: Coordinator,
    clock: Clock,
    project: dict[str, Any],
    tree: WorkTree,
    extra: str,
    said: str,
) -> None:
    await pushed(tree, AT_THREE % (extra, ", manual: {params: {x: {default: '0'}}}"))
    for branch, workflow in {"broken": "on: {manual: {}}\n", "other": NIGHTLY}.items():
        await tree.git("checkout", "-q", "-b", branch, "main")
        await pushed(tree, workflow, branch)
    await tree.git("checkout", "-q", "-b", "bare", "main")
    (tree.folder / ".pushrod.yml").unlink()
    await tree.commit({"README": "bare"})
    await tree.push("bare")
    clock.at(11, 3)
    await looked(coordinator, clock)
    [build] = await scheduled(admin, project)
    assert build["state"] == "failed"
    assert said in build["reason"]
    assert next_times(coordinator) == ["2026-03-12T03:00"]


async def test_a_full_queue_makes_a_failed_build(
    admin: Caller, coordinator: Coordinator, clock: Clock, project: dict[str, Any], tree: WorkTree
) -> None:
    await pushed(tree, AT_THREE.replace("0 3", "* *") % ("", ""))
    for _ in range(4):
        clock.time += timedelta(minutes=1)
        await looked(coordinator, clock)
    newest, *others = await scheduled(admin, project)
    assert [build["state"] for build in others] == ["queued"] * 3
    assert newest["state"] == "failed"
    assert "project_max_queued_builds" in newest["reason"]


async def test_only_the_default_branchs_file_counts(
    admin: Caller, coordinator: Coordinator, project: dict[str, Any], tree: WorkTree
) -> None:
    await pushed(tree, NIGHTLY)
    await tree.git("checkout", "-q", "-b", "side")
    await pushed(tree, AT_THREE.replace("0 3", "0 5") % ("", ""), "side")
    assert next_times(coordinator) == ["2026-03-11T03:00"]
    (await change(admin, project, defaultBranch="side")).expect(200)
    assert next_times(coordinator) == ["2026-03-11T05:00"]


async def test_a_schedule_that_vanishes_ends_and_one_that_stays_keeps_its_time(
    admin: Caller, coordinator: Coordinator, clock: Clock, project: dict[str, Any], tree: WorkTree
) -> None:
    two = AT_THREE % ("}, {cron: '0 5 * * *'", "")
    await pushed(tree, two)
    assert next_times(coordinator) == ["2026-03-11T03:00", "2026-03-11T05:00"]
    await coordinator.stop()
    clock.at(11, 6)
    with sqlite3.connect(coordinator.data / "pushrod.db") as connection:
        before = connection.execute("SELECT id FROM schedules WHERE definition LIKE '%0 5%'")
        [(kept,)] = before.fetchall()
    connection.close()
    await coordinator.start()
    await pushed(tree, AT_THREE.replace("0 3", "0 5") % ("", ""))
    with sqlite3.connect(coordinator.data / "pushrod.db") as connection:
        assert connection.execute("SELECT id FROM schedules").fetchall() == [(kept,)]
    connection.close()
    await pushed(tree, "on: {push: {}}\nsteps: [{name: a, image: b, run: 'true'}]\n")
    assert next_times(coordinator) == []
    await pushed(tree, NIGHTLY)
    (tree.folder / ".pushrod.yml").unlink()
    await tree.commit({"README": "no workflow"})
    await tree.push()
    assert next_times(coordinator) == []


async def test_while_its_file_has_mistakes_a_schedule_tells_of_them(
    admin: Caller, coordinator: Coordinator, clock: Clock, project: dict[str, Any], tree: WorkTree
) -> None:
    await pushed(tree, NIGHTLY)
    await pushed(tree, NIGHTLY.replace("image: b", "imag: b"))
    clock.at(11, 3)
    await looked(coordinator, clock)
    [build] = await scheduled(admin, project)
    assert (build["state"], build["reason"]) == ("failed", "this workflow has mistakes")


async def test_a_push_tells_of_a_schedule_that_never_fires(tree: WorkTree) -> None:
    errors = await pushed(tree, NIGHTLY.replace("0 3 * * *", "0 0 31 2 *"))
    assert "never fires" in errors


async def test_an_archived_project_builds_nothing_and_makes_up_for_nothing(
    admin: Caller, coordinator: Coordinator, clock: Clock, project: dict[str, Any], tree: WorkTree
) -> None:
    await pushed(tree, NIGHTLY)
    (await change(admin, project, archived=True)).expect(200)
    clock.at(11, 3)
    await looked(coordinator, clock)
    (await change(admin, project, archived=False)).expect(200)
    await coordinator.restart()
    assert next_times(coordinator) == ["2026-03-12T03:00"]
    assert await scheduled(admin, project) == []
    clock.at(12, 3)
    await looked(coordinator, clock)
    assert len(await scheduled(admin, project)) == 1


async def test_a_renamed_project_is_built_and_a_deleted_one_leaves_nothing(
    admin: Caller, coordinator: Coordinator, clock: Clock, project: dict[str, Any], tree: WorkTree
) -> None:
    await pushed(tree, NIGHTLY)
    path = f"/api/projects/{project['id']}"
    (await change(admin, project, name="store")).expect(200)
    clock.at(11, 3)
    await looked(coordinator, clock)
    [build] = await scheduled(admin, project)
    await admin.post(f"{path}/builds/{build['id']}/cancel")
    (await admin.call("DELETE", path)).expect(204)
    assert next_times(coordinator) == []


async def test_a_forges_branch_is_built_as_it_is_then(
    admin: Caller, coordinator: Coordinator, clock: Clock, tmp_path: Path
) -> None:
    async with open_forge(tmp_path) as forge:
        repository = await forge.new_repository(tmp_path / "theirs")
        remote, hook = await remote_project(coordinator, repository.url)
        first = await repository.push({".pushrod.yml": NIGHTLY})
        await hook.github("push", push_payload(repository.url, first), delivery="1")
        await until_settled(hook, "1")
        assert next_times(coordinator) == ["2026-03-11T03:00"]
        second = await repository.push({"README": "pushed without a word"})
        clock.at(11, 3)
        await looked(coordinator, clock)
        [build] = await scheduled(admin, remote)
        assert (build["commitHash"], build["state"]) == (second, "queued")
    clock.at(12, 3)
    await looked(coordinator, clock)
    [build, _] = await scheduled(admin, remote)
    assert build["state"] == "failed"
    assert "could not be fetched" in build["reason"]


@asynccontextmanager
async def schedules_over(data: Path, clock: Clock) -> AsyncIterator[Schedules]:
    """As one of several coordinators has them."""
    async with builds_over(data, clock.now) as builds:
        yield Schedules(builds)


async def test_of_several_coordinators_one_builds_a_schedule(
    admin: Caller, coordinator: Coordinator, clock: Clock, project: dict[str, Any], tree: WorkTree
) -> None:
    await pushed(tree, AT_THREE % ("}, {cron: '0 3 * * 3'", ""))
    await coordinator.stop()
    clock.at(11, 3)
    async with (
        schedules_over(coordinator.data, clock) as one,
        schedules_over(coordinator.data, clock) as other,
    ):
        again: Sequence[datetime] = await asyncio.gather(
            *(schedules.build_due(clock.now()) for schedules in (one, other, one, other))
        )
    assert set(again) == {clock.now() + timedelta(minutes=1)}
    await coordinator.start()
    assert len(await scheduled(admin, project)) == 2


async def test_a_fault_keeps_the_time_and_is_tried_again(
    admin: Caller, coordinator: Coordinator, clock: Clock, project: dict[str, Any], tree: WorkTree
) -> None:
    await pushed(tree, NIGHTLY)
    await coordinator.stop()
    clock.at(11, 3)
    refuse = "CREATE TRIGGER refuse BEFORE INSERT ON builds BEGIN SELECT RAISE(ABORT, 'no'); END"
    async with schedules_over(coordinator.data, clock) as schedules:
        for statement, times in ((refuse, "2026-03-11T03:00"), ("DROP TRIGGER refuse", "")):
            with sqlite3.connect(coordinator.data / "pushrod.db") as connection:
                connection.execute(statement)
            connection.close()
            after = await schedules.build_due(clock.now())
            if times:
                assert after == clock.now() + timedelta(seconds=15)
                assert next_times(coordinator) == [times]
    await coordinator.start()
    assert len(await scheduled(admin, project)) == 1
    assert next_times(coordinator) == ["2026-03-12T03:00"]


async def test_files_pushed_before_an_upgrade_are_read_at_the_next_start(
    coordinator: Coordinator, tree: WorkTree
) -> None:
    await pushed(tree, NIGHTLY)
    await coordinator.stop()
    with sqlite3.connect(coordinator.data / "pushrod.db") as connection:
        connection.execute("DELETE FROM schedules")
        connection.execute("UPDATE module_files SET commit_hash = NULL")  # as the migration does
    connection.close()
    await coordinator.start()

    async def read() -> bool:
        return next_times(coordinator) == ["2026-03-11T03:00"]

    await eventually(read)
