"""Clean builds: which caches a step is given, before and after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import (
    AgentCaller,
    Caller,
    new_work_tree,
    step_of,
)

CACHED = step_of("test", cacheDirs=["/var/cache/a", "~/.cache/b"])


async def take(agent: AgentCaller) -> dict[str, Any]:
    [offer] = (await agent.poll(capabilities=["imageBuilds"]))["offers"]
    return dict((await agent.accept(offer)).expect(200).json)


class Bench:
    """A project with one workflow, and an agent that runs its builds."""

    def __init__(self, admin: Caller, project: dict[str, Any], workflow: str, agent: AgentCaller):
        self.admin, self.project, self.workflow, self.agent = admin, project, workflow, agent

    async def begin(self, **wanted: Any) -> dict[str, Any]:
        """Create a build and take its step: the spec."""
        path = f"/api/projects/{self.project['id']}/builds"
        made = await self.admin.post(path, {"workflowId": self.workflow, **wanted})
        made.expect(201)
        return await take(self.agent)

    async def run(self, status: str = "success", **wanted: Any) -> dict[str, Any]:
        spec = await self.begin(**wanted)
        code = 0 if status == "success" else 1
        (await self.agent.complete(spec, status=status, exitCode=code)).expect(200)
        return spec


@pytest.fixture
async def bench(admin: Caller) -> Bench:
    project = await admin.new_project()
    workflow = await admin.new_workflow(project, CACHED)
    return Bench(admin, project, workflow, await admin.new_agent())


def caches(spec: dict[str, Any]) -> list[str]:
    return [cache["id"] for cache in spec["cacheDirs"]]


async def test_other_branches_have_caches_beside_those_of_the_default_branch(
    admin: Caller, tmp_path: Path
) -> None:
    project = await admin.new_project(name="branches")
    tree = await new_work_tree(tmp_path, admin, project)
    folders = "[/a, {path: /b, scope: project}, {path: /c, scope: branch, key: x.lock}]"
    steps = [f"{{name: {name}, image: i, run: 'true', cacheDirs: {folders}}}" for name in "st"]
    await tree.commit({".pushrod.yml": f"on: {{push: {{}}, tag: }}\nsteps: [{', '.join(steps)}]\n"})
    await tree.git("tag", "v1")
    agent = await admin.new_agent()
    known: dict[str, list[dict[str, Any]]] = {}
    for ref in ("main", "main:one", "main:two", "v1"):
        await tree.push(ref)
        for _ in steps:
            spec = await take(agent)
            known[f"{ref} {spec['name']}"] = spec["cacheDirs"]
            (await agent.complete(spec)).expect(200)

    def ids(name: str) -> list[str]:
        return [cache["id"] for cache in known[name]]

    assert [cache["beginsAs"] for cache in known["main s"]] == [[]] * 3
    assert [cache["key"] for cache in known["main s"]] == [[], [], ["x.lock"]]
    for name in ("main:one", "main:two", "v1"):
        for step in "st":
            begins_as = [cache["beginsAs"] for cache in known[f"{name} {step}"]]
            assert begins_as == [[one] for one in ids(f"main {step}")]
            assert set(ids(f"{name} {step}")).isdisjoint(ids(f"main {step}"))
    assert ids("main:one s")[:2] == ids("main:two s")[:2] == ids("v1 s")[:2]
    assert len({ids(f"{name} s")[2] for name in ("main", "main:one", "main:two", "v1")}) == 4
    for name in ("main", "main:one"):
        same = [a == b for a, b in zip(ids(f"{name} s"), ids(f"{name} t"), strict=True)]
        assert same == [False, True, False]


async def test_a_clean_builds_caches_are_its_own_and_later_builds_get_them(bench: Bench) -> None:
    before = await bench.run()
    clean = await bench.run(cleanBuild=True)
    after, again = await bench.run(), await bench.run()
    assert not before["clean"]
    assert clean["clean"]
    assert not after["clean"]
    assert set(caches(before)).isdisjoint(caches(clean))
    assert caches(after) == caches(again) == caches(clean)
    assert [cache["replaces"] for cache in after["cacheDirs"]] == caches(before)


async def test_a_clean_build_that_fails_changes_nobodys_caches(bench: Bench) -> None:
    before = await bench.run()
    failed = await bench.run("failed", cleanBuild=True)
    assert set(caches(failed)).isdisjoint(caches(before))
    assert caches(await bench.run()) == caches(before)


async def test_each_attempt_of_a_clean_build_begins_with_empty_caches(bench: Bench) -> None:
    first = await bench.begin(cleanBuild=True)
    lost = {"status": "failed", "reason": "lost", "epoch": first["epoch"]}
    (await bench.agent.post(f"/api/runner/{first['stepId']}/complete", lost)).expect(200)
    second = await bench.agent.take()
    assert second["stepId"] == first["stepId"]
    assert set(caches(second)).isdisjoint(caches(first))


async def test_the_spec_of_a_clean_attempt_is_the_same_each_time(bench: Bench) -> None:
    spec = await bench.begin(cleanBuild=True)
    accept = {"headers": {"Accept": "application/json"}}
    again = await bench.agent.call("GET", f"/api/runner/{spec['stepId']}", **accept)
    assert caches(again.expect(200).json) == caches(spec)


async def test_a_clean_build_tried_again_is_clean_and_says_so(bench: Bench, admin: Caller) -> None:
    spec = await bench.run(cleanBuild=True)
    old = await admin.build(spec["buildId"])
    assert old["cleanBuild"] is True
    assert spec["env"]["PUSHROD_CLEAN_BUILD"] == "true"
    path = f"/api/projects/-/builds/{spec['buildId']}/retry"
    assert (await admin.post(path)).expect(201).json["cleanBuild"] is True
    assert (await bench.agent.take())["clean"] is True


async def test_other_builds_do_not_speak_of_it(bench: Bench, admin: Caller) -> None:
    spec = await bench.run()
    assert "cleanBuild" not in await admin.build(spec["buildId"])
    assert "PUSHROD_CLEAN_BUILD" not in spec["env"]


async def test_other_steps_and_projects_keep_their_caches(bench: Bench, admin: Caller) -> None:
    other = Bench(
        admin,
        project := await admin.new_project(name="other"),
        await admin.new_workflow(project, CACHED),
        bench.agent,
    )
    before = await other.run()
    await bench.run(cleanBuild=True)
    assert caches(await other.run()) == caches(before)


async def test_a_clean_image_build_has_cache_mounts_of_its_own_too(
    admin: Caller, tmp_path: Path
) -> None:
    project = await admin.new_project(name="images")
    tree = await new_work_tree(tmp_path, admin, project)
    await tree.commit({".pushrod.yml": "steps: [{name: image, build: {context: .}}]\n"})
    await tree.push()
    agent = await admin.new_agent()
    [pushed] = await admin.builds(project)
    bench = Bench(admin, project, pushed["workflowId"], agent)
    first = await take(agent)
    (await agent.complete(first)).expect(200)
    failed = await bench.run("failed", cleanBuild=True)
    before = await bench.run()
    clean = await bench.run(cleanBuild=True)
    after = await bench.run()
    scopes = [spec["build"]["cacheScope"] for spec in (first, failed, before, clean, after)]
    assert scopes[0] == scopes[2]
    assert scopes[3] == scopes[4]
    assert len(set(scopes)) == 3


async def test_the_default_branchs_cache_mounts_are_its_own_builds_alone(
    admin: Caller, tmp_path: Path
) -> None:
    project = await admin.new_project(name="images")
    tree = await new_work_tree(tmp_path, admin, project)
    await tree.commit(
        {".pushrod.yml": "on: {push: {}, tag: ['v*']}\nsteps: [{name: image, build: {}}]\n"}
    )
    agent, scopes = await admin.new_agent(), {}

    async def built(ref: str) -> None:
        await tree.push(ref)
        spec = await take(agent)
        (await agent.complete(spec)).expect(200)
        scopes[ref] = spec["build"]["cacheScope"]

    await built("main")
    for branch in ("side", "other"):
        await tree.git("checkout", "-q", "-b", branch)
        await tree.git("commit", "-q", "--allow-empty", "-m", branch)
        await built(branch)
    await tree.git("tag", "v1")
    await built("v1")
    await tree.git("checkout", "-q", "main")
    await tree.git("commit", "-q", "--allow-empty", "-m", "more")
    before = scopes["main"]
    await built("main")

    assert scopes["main"] == before
    assert scopes["side"] == scopes["other"] == scopes["v1"] != before


@pytest.mark.parametrize("value", ["true", 1, []])
async def test_clean_build_is_true_or_false(bench: Bench, value: object) -> None:
    body = {"workflowId": bench.workflow, "cleanBuild": value}
    answer = await bench.admin.post(f"/api/projects/{bench.project['id']}/builds", body)
    assert answer.expect(400).json["details"][0]["path"] == "cleanBuild"
