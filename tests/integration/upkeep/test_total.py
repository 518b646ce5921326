"""A limit of all projects together."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from sqlite3 import connect
from typing import Any, cast

import pytest

from coordinator.domain.model import Project
from coordinator.services.builds.deletions import Deletions
from coordinator.services.upkeep.retention import Retention
from coordinator.services.upkeep.sweeping import Sweeping
from tests.integration.coordinator_fixture import open_coordinator
from tests.integration.core_fixture import TestedCore, open_core
from tests.integration.upkeep.many_builds import MainAlone, ManyBuilds, operator


@pytest.fixture
async def tested(tmp_path: Path) -> AsyncIterator[TestedCore]:
    async with open_core(tmp_path) as tested:
        core = replace(tested.core, repositories=cast("Any", MainAlone()))
        yield replace(tested, core=core)


@pytest.fixture
def sweeping(tested: TestedCore) -> Sweeping:
    core = tested.core
    return Sweeping(core, Retention(core), Deletions(core), pause_seconds=0)


def builds_of(path: Path) -> Counter[str]:
    with closing(connect(path)) as connection:
        found = connection.execute("SELECT project_id, count(*) FROM builds GROUP BY 1")
        return Counter(dict(found.fetchall()))


async def filled(tested: TestedCore, path: Path, **counts: int) -> dict[str, Project]:
    """Projects with so many builds, each of seven bytes of log."""
    projects = {}
    for name, count in counts.items():
        project = projects[name] = await tested.new_project(name)
        ManyBuilds(path, project.id, project.account_id).insert(count)
    return projects


async def test_the_oldest_builds_of_the_largest_project_go_until_all_are_within_the_total(
    tested: TestedCore, sweeping: Sweeping, tmp_path: Path
) -> None:
    path = tmp_path / "pushrod.db"
    projects = await filled(tested, path, small=10, middle=40, large=150)
    own = {"builds": {"days": 3650}}
    await sweeping.retention.set_rules(operator(), projects["large"], own)
    await sweeping.retention.set_rules(operator(), None, {"total": {"bytes": 100 * 7}})
    told = await sweeping.outlook(None)
    assert (told.count.total(), told.size.total()) == (100, 700)
    assert (await sweeping.outlook(projects["small"])).count.total() == 0
    await sweeping.sweep()
    assert builds_of(path) == {
        projects["small"].id: 10,
        projects["middle"].id: 40,
        projects["large"].id: 50,
    }
    await sweeping.retention.set_rules(operator(), None, {"total": {"number": 50}})
    await sweeping.sweep()
    assert sorted(builds_of(path).values()) == [10, 20, 20]
    with closing(connect(path)) as connection:
        [oldest] = connection.execute(
            "SELECT min(number) FROM builds WHERE project_id = ?", [projects["large"].id]
        ).fetchone()
        [newest] = connection.execute(
            "SELECT max(number) FROM builds WHERE project_id = ?", [projects["large"].id]
        ).fetchone()
    assert newest - oldest == 19


async def test_a_total_is_of_the_installation_alone(tmp_path: Path) -> None:
    async with open_coordinator(tmp_path) as coordinator:
        admin, project = coordinator.admin, await coordinator.admin.new_project()
        body = {"total": {"bytes": 1000, "number": 5}}
        shown = (await admin.call("PATCH", "/api/retention", json=body)).expect(200).json
        assert shown["limits"]["total"] == {"bytes": 1000, "number": 5}
        assert shown["own"] == ["total"]
        of_project = f"/api/projects/{project['id']}/retention"
        assert "total" not in (await admin.get(of_project)).expect(200).json["limits"]
        body = {"unset": ["total"]}
        shown = (await admin.call("PATCH", "/api/retention", json=body)).expect(200).json
        assert shown["limits"]["total"] == {}
