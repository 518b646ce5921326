"""Outputs that say themselves how long they stay."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import sqlalchemy as sa

from coordinator.domain.model import Artifact, Build, OutputEntry, Project
from coordinator.services.builds.deletions import Deletions
from coordinator.services.upkeep.retention import Retention
from coordinator.services.upkeep.sweeping import ROWS_AT_ONCE, Sweeping
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.outputs.artifacts import save_artifacts, save_entries
from coordinator.storage.tables import builds
from tests.integration.builds.test_inputs import OLD, Shop, step
from tests.integration.coordinator_fixture import (
    Coordinator,
    eventually,
    new_work_tree,
    open_coordinator,
)
from tests.integration.core_fixture import TestedCore, open_core, step_of
from tests.integration.upkeep.many_builds import MainAlone, operator

FILES = (
    "dist/a.txt",
    "dist/a.whl",
    "reports/a.xml",
    "reports/a.html",
    "v1/app",
    "lone.txt",
)
OUTPUTS: Mapping[str, Any] = {
    "output_paths": ("dist/", "dist/*.whl", "reports/", "reports/*.html", "latest/app", "lone.txt"),
    "output_keeps": {
        "dist/*.whl": 200 * 86_400,
        "reports/": 2 * 86_400,
        "reports/*.html": 100 * 86_400,
        "latest/app": 2 * 86_400,
    },
}
WHEEL, PAGE = {"dist/a.whl"}, {"reports/a.html"}
SHORT = {"reports/a.xml", "v1/app", "latest"}
PLAIN = {"dist/a.txt", "lone.txt"}
ALL = WHEEL | PAGE | SHORT | PLAIN


@dataclass(frozen=True, slots=True)
class House:
    tested: TestedCore
    project: Project
    sweeping: Sweeping

    async def built(self, *, files: Sequence[str] = FILES, **of_build: Any) -> Build:
        """A failed build that has just ended, whose only step left these."""
        core = self.tested.core
        build = await self.tested.new_build(self.project, step_of("make", **OUTPUTS))
        [made] = await self.tested.steps(build)

        async def save(connection: AsyncConnection) -> None:
            artifacts = [
                Artifact(
                    step_id=made.id,
                    epoch=1,
                    name=name,
                    size=len(name),
                    sha256=hashlib.sha256(name.encode()).hexdigest(),
                    mode=0o644,
                )
                for name in files
            ]
            await save_artifacts(connection, artifacts)
            link = OutputEntry(step_id=made.id, epoch=1, name="latest", target="v1", mode=0o777)
            await save_entries(connection, [link])
            values = {"state": "failed", "finished_at": self.tested.clock.now(), **of_build}
            await connection.execute(
                builds.update().where(builds.c.id == build.id).values(**values)
            )

        await core.database.write(save)
        return build

    async def after(self, *, days: float) -> None:
        """So long, and a look."""
        self.tested.clock.seconds += days * 86_400
        await self.sweeping.sweep()

    async def limit(self, **limits: Any) -> None:
        await self.sweeping.retention.set_rules(operator(), self.project, limits)

    async def limit_all(self, **limits: Any) -> None:
        await self.sweeping.retention.set_rules(operator(), None, limits)

    async def left(self, build: Build) -> set[str] | None:
        """None: the build is gone."""
        names = sa.text(
            "SELECT builds.id, left_over.name FROM builds JOIN steps ON build_id = builds.id"
            " LEFT JOIN (SELECT step_id, name FROM artifacts UNION ALL"
            " SELECT step_id, name FROM output_entries) AS left_over ON step_id = steps.id"
            " WHERE builds.id = :id"
        )

        async def read(connection: AsyncConnection) -> set[str] | None:
            found = (await connection.execute(names, {"id": build.id})).all()
            return {row.name for row in found if row.name is not None} if found else None

        return await self.tested.core.database.read(read)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_core(tmp_path) as tested:
        core = replace(tested.core, repositories=cast("Any", MainAlone()))
        tested = replace(tested, core=core)
        sweeping = Sweeping(core, Retention(core), Deletions(core), pause_seconds=0)
        yield House(tested, await tested.new_project(), sweeping)


async def test_each_output_stays_as_long_as_it_says_and_the_rest_as_the_project_does(
    house: House,
) -> None:
    build = await house.built()
    await house.after(days=1.9)
    assert await house.left(build) == ALL
    await house.after(days=0.2)
    # Of a file that two paths name the longer one counts; a link is kept with what it leads to.
    assert await house.left(build) == ALL - SHORT
    await house.after(days=89)
    assert await house.left(build) == WHEEL | PAGE
    await house.after(days=10)
    assert await house.left(build) == WHEEL
    assert (await house.tested.build(build)).artifacts_gone_at is not None
    await house.after(days=100)
    assert await house.left(build) == set()
    [made] = await house.tested.steps(build)
    assert [one.path for one in made.gone_outputs] == [
        "latest/app",
        "reports",
        "reports/*.html",
        "dist/*.whl",
    ]
    # Nothing is left of it that would be looked at again.
    assert (await house.sweeping.outlook(house.project)).count == {}
    await house.after(days=400)
    assert await house.left(build) is None


async def test_no_limit_of_the_project_reaches_what_is_to_be_kept(house: House) -> None:
    build = await house.built()
    await house.limit(builds={"number": 0}, artifacts={"number": 0})
    await house.after(days=0)
    assert await house.left(build) == ALL - PLAIN
    assert (await house.tested.build(build)).logs_gone_at is not None
    await house.after(days=3)
    assert await house.left(build) == WHEEL | PAGE
    await house.after(days=200)
    assert await house.left(build) is None


async def test_the_operator_says_how_long_a_keep_may_last(house: House) -> None:
    build = await house.built()
    await house.limit_all(keep={"days": 1})
    await house.limit(keep={"days": 50})  # a project can't have more
    assert (await house.sweeping.retention.rules(house.project.id)).keep.days == 1
    await house.after(days=1.1)
    assert await house.left(build) == PLAIN
    await house.limit_all(keep={})
    assert (await house.sweeping.retention.rules(house.project.id)).keep.days == 50


async def test_outsiders_keep_nothing_longer_than_the_project_does(house: House) -> None:
    build = await house.built(outside=True)
    await house.after(days=2.1)
    assert await house.left(build) == ALL - SHORT
    await house.after(days=89)
    assert await house.left(build) == set()
    other = await house.built(outside=True)
    await house.limit(builds={"number": 0})
    await house.after(days=0)
    assert await house.left(other) is None


async def test_a_pinned_build_keeps_all_beyond_its_word(house: House) -> None:
    build = await house.built(pinned_by="somebody")
    await house.after(days=500)
    assert await house.left(build) == ALL


async def test_many_go_in_portions_and_what_was_begun_is_ended(house: House) -> None:
    many = [f"reports/{number}.xml" for number in range(2 * ROWS_AT_ONCE)]
    build = await house.built(files=[*FILES, *many])
    house.tested.clock.seconds += 3 * 86_400
    going = await house.sweeping.outlook(house.project)
    assert going.size["keep"] == sum(map(len, [*many, "reports/a.xml", "v1/app"]))  # type: ignore[index]
    write, writes = house.tested.core.database.write, 0

    async def killed(*given: Any, **more: Any) -> Any:
        nonlocal writes
        writes += 1
        if writes == 2:
            raise KeyboardInterrupt
        return await write(*given, **more)

    class Killed:
        def __getattr__(self, name: str) -> Any:
            return killed if name == "write" else getattr(house.tested.core.database, name)

    core = replace(house.tested.core, database=cast("Any", Killed()))
    with pytest.raises(KeyboardInterrupt):
        await replace(house.sweeping, core=core).sweep()
    left = await house.left(build)
    assert left is not None
    assert len(left & set(many)) > 0
    await house.sweeping.sweep()
    assert await house.left(build) == ALL - SHORT
    [made] = await house.tested.steps(build)
    assert [one.path for one in made.gone_outputs] == ["latest/app", "reports"]


WORKFLOW = """
name: ci
on: {push: {}}
steps:
  - name: make
    image: base
    run: make
    inputs: ["src/**"]
    outputPaths: [plain.txt, {path: out/, keep: 2d}]
  - {name: after, image: base, run: after, dependsOn: [make]}
"""


@dataclass(slots=True)
class Days:
    """A time of day that is moved on."""

    passed: timedelta = field(default_factory=timedelta)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.passed


async def test_what_went_is_told_and_its_step_runs_again(tmp_path: Path) -> None:
    days = Days()
    async with open_coordinator(tmp_path, now=days, poll_hold_seconds=1) as coordinator:
        shop = await _shop(coordinator, tmp_path)
        first = await _failed(shop)
        # Pushed once more, its result is taken: that has its own time, from its own build's end.
        days.passed = timedelta(days=0.5)
        taken = await shop.push()
        assert step(taken, "make")["reason"] == f"cached from #{first['number']}"
        assert await shop.run(1, status="failed", exitCode=1) == ["after"]
        days.passed = timedelta(days=2.3)
        await _look(shop)
        assert "goneOutputs" not in step(await shop.admin.build(taken["id"]), "make")
        days.passed = timedelta(days=2.7)
        await _look(shop)

        async def gone() -> Any:
            return step(await shop.admin.build(taken["id"]), "make").get("goneOutputs")

        [one] = await eventually(gone)
        assert (one["path"], one["keptSeconds"]) == ("out", 2 * 86_400)
        made = f"/api/steps/{step(taken, 'make')['id']}"
        refused = (await shop.admin.get(f"{made}/artifacts/out/file")).expect(404)
        assert "it was to be kept for 2d (`keep`)" in refused.text
        (await shop.admin.get(f"{made}/artifacts/plain.txt")).expect(200)
        (await shop.admin.get(f"{made}/artifacts/never")).expect(404)
        path = f"/api/projects/-/builds/{taken['id']}"
        refused = (await shop.admin.post(f"{path}/retry", {"failed": True})).expect(409)
        assert "of step make, out was deleted on" in refused.text

        # What a result was taken from stays as long as the build that took it, so it can be taken
        # once more; when that one is deleted, it goes, and the step runs.
        third = await shop.push()
        assert await shop.settle(await shop.take(), OLD) == 409
        assert await shop.run(1, status="failed", exitCode=1) == ["after"]
        for build in (taken, third):
            path = f"/api/projects/-/builds/{build['id']}"
            (await shop.admin.call("DELETE", path)).expect(204)
        await _look(shop)
        await eventually(lambda: _is_gone(shop, first))
        await shop.push()
        assert await shop.run(1) == ["make"]


async def _is_gone(shop: Shop, build: Mapping[str, Any]) -> bool:
    return "goneOutputs" in step(await shop.admin.build(build["id"]), "make")


async def _shop(coordinator: Coordinator, folder: Path) -> Shop:
    admin = coordinator.admin
    project = await admin.new_project()
    tree = await new_work_tree(folder, admin, project)
    await tree.commit({".pushrod.yml": WORKFLOW, "src/a.py": "1"})
    return Shop(admin, await admin.new_agent(), project, tree)


async def _failed(shop: Shop) -> dict[str, Any]:
    """A build that is no success, so that nothing but limits says what stays of it."""
    build = await shop.push()
    spec = await shop.take()
    assert await shop.settle(spec, OLD) == 200
    for name in ("out/file", "plain.txt"):
        (await shop.agent.upload(spec, name, name.encode())).expect(201)
    (await shop.agent.complete(spec, imageDigest=OLD)).expect(200)
    assert await shop.run(1, status="failed", exitCode=1) == ["after"]
    return await shop.admin.build(build["id"])


async def _look(shop: Shop, **limits: Any) -> None:
    """Retention looks whenever somebody changes the limits."""
    path = f"/api/projects/{shop.project['id']}/retention"
    body = limits or {"logs": {"days": 400}}
    (await shop.admin.call("PATCH", path, json=body)).expect(200)
