"""`${{ … }}` outside scripts, from a push to what the agent is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import (
    AgentCaller,
    Caller,
    WorkTree,
    new_work_tree,
    open_coordinator,
)

WORKFLOW = """
on: {push: {}, tag: ["*"]}
env: {R: "registry.example:5000", A: "${{ sha }}"}
templates:
  t: {params: {v: }, image: "a:${{ with.v }}", run: 'true'}
steps:
"""


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[Caller]:
    async with open_coordinator(tmp_path, poll_hold_seconds=1) as coordinator:
        yield coordinator.admin


@pytest.fixture
async def tree(tmp_path: Path, admin: Caller) -> WorkTree:
    return await new_work_tree(tmp_path, admin, await admin.new_project())


@pytest.fixture
async def agent(admin: Caller) -> AgentCaller:
    return await admin.new_agent()


async def pushed(admin: Caller, tree: WorkTree, steps: str, ref: str) -> dict[str, Any]:
    """The build of a push to that branch or tag."""
    await tree.commit({".pushrod.yml": WORKFLOW + steps})
    await tree.push(f"HEAD:{ref}")
    newest = (await admin.get("/api/projects/-/builds?limit=1")).expect(200).json["builds"][0]
    return await admin.build(newest["id"])


async def test_images_tags_and_values_of_templates_are_filled_in(
    admin: Caller, tree: WorkTree, agent: AgentCaller
) -> None:
    build = await pushed(
        admin,
        tree,
        "  - {name: a, image: '${{ env.R }}/app:${{ branch }}-${{ shortSha }}', run: 'true'}\n"
        "  - {name: b, use: t, with: {v: '${{ branch }}'}}\n"
        "  - {name: c, build: {tags: ['${{ env.R }}/c:${{ tag }}', 'r.example/c:${{ branch }}']}}\n"
        "  - {name: d, build: {tags: ['r.example/d:${{ tag }}']}}\n",
        "refs/heads/feature/$(id)",
    )
    short = build["commitHash"][:7]
    specs = {}
    for _ in range(4):
        [offer] = (await agent.poll(capabilities=["imageBuilds"]))["offers"]
        spec = (await agent.accept(offer)).expect(200).json
        specs[spec["name"]] = spec
        (await agent.complete(spec, status="failed", exitCode=1)).expect(200)

    assert specs["a"]["image"] == f"registry.example:5000/app:feature---id--{short}"
    assert specs["b"]["image"] == "a:feature---id-"
    assert specs["b"]["env"]["PUSHROD_WITH_V"] == "feature/$(id)"
    assert specs["b"]["env"]["A"] == build["commitHash"]
    assert specs["c"]["build"]["tags"] == ["r.example/c:feature---id-"]
    assert (specs["d"]["build"]["tags"], specs["d"]["build"]["push"]) == ([], False)
    assert "empty in this build" in specs["d"]["build"]["notPushedBecause"]


async def test_an_image_without_a_value_fails_its_step_alone(
    admin: Caller, tree: WorkTree, agent: AgentCaller
) -> None:
    await pushed(
        admin, tree, "  - {name: a, image: 'app:${{ tag }}', run: 'true'}\n", "refs/heads/x"
    )
    spec = await agent.take()
    assert spec.get("image") is None
    assert (
        spec["refused"] == "the image `app:${{ tag }}` can't be used: `tag` is empty in this build"
    )


async def test_labels_are_filled_in_and_again_for_a_build_made_anew(
    admin: Caller, tree: WorkTree
) -> None:
    steps = (
        "  - {name: a, image: app, matrix: {os: [x, y]}, run: 'true',\n"
        "     agents: {os: '${{ matrix.os }}', n: '${{ build.number }}', of: '${{ branch }}'}}\n"
    )
    build = await pushed(admin, tree, steps, "refs/heads/main")
    first, second = [
        await admin.new_agent(labels={"os": "y", "n": str(n), "of": "main"}) for n in (1, 2)
    ]
    spec = await first.take()
    assert spec["name"] == "a (y)"

    (await admin.post(f"/api/projects/-/builds/{build['id']}/cancel", {})).expect(200)
    (await first.complete(spec, status="failed", exitCode=1)).expect(200)
    again = await admin.post(f"/api/projects/-/builds/{build['id']}/retry", {})
    new = again.expect(201).json
    spec = await second.take()
    assert (spec["buildId"], spec["name"]) == (new["id"], "a (y)")


async def test_a_label_without_a_value_fails_the_build_and_says_so(
    admin: Caller, tree: WorkTree
) -> None:
    build = await pushed(
        admin,
        tree,
        "  - {name: a, image: app, run: 'true', agents: {of: '${{ tag }}'}}\n",
        "refs/heads/main",
    )
    assert build["status"] == "FAILED"
    assert (
        "the label `of` of `agents`, `` in this build, is empty" in build["problems"][0]["message"]
    )


async def test_objects_of_a_matrix_reach_scripts_conditions_and_what_waits_for_one(
    admin: Caller, tree: WorkTree, agent: AgentCaller
) -> None:
    steps = (
        "  - {name: t, image: '${{ matrix.p.os }}', run: 'true', when: 'matrix.p.os != \"c\"',\n"
        "     matrix: {p: [{os: a, f: ''}, {os: b, f: -x}, {os: c, f: -y}]}}\n"
        "  - {name: u, image: app, run: 'true', dependsOn: ['t (b, -x)']}\n"
    )
    build = await pushed(admin, tree, steps, "refs/heads/main")
    assert {step["name"]: step["status"] for step in build["steps"]}["t (c, -y)"] == "SKIPPED"
    spec = await agent.take()
    assert (spec["image"], spec["env"]["PUSHROD_MATRIX_P_F"]) == ("a", "")
    (await agent.complete(spec, status="failed", exitCode=1)).expect(200)
    spec = await agent.take()
    assert (spec["image"], spec["env"]["PUSHROD_MATRIX_P_F"]) == ("b", "-x")
    (await agent.complete(spec)).expect(200)
    assert (await agent.take())["name"] == "u"
