"""All steps of a build mean one image by one tag."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import (
    AgentCaller,
    Caller,
    Coordinator,
    new_work_tree,
    open_coordinator,
)

OLD, NEW = (f"sha256:{letter * 64}" for letter in "ab")
TAG = "127.0.0.1:5000/default/app:1"


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path) as coordinator:
        yield coordinator


@pytest.fixture
def admin(coordinator: Coordinator) -> Caller:
    return coordinator.admin


async def settle(agent: AgentCaller, spec: Mapping[str, Any], digest: str) -> str:
    body = {"epoch": spec["epoch"], "digest": digest}
    answer = await agent.post(f"/api/runner/{spec['stepId']}/image", body)
    return str(answer.expect(200).json["digest"])


async def build_of(admin: Caller, tmp_path: Path, workflow: str) -> dict[str, Any]:
    project = await admin.new_project()
    tree = await new_work_tree(tmp_path, admin, project)
    await tree.commit({".pushrod.yml": workflow})
    await tree.push()
    return project


async def test_what_the_first_step_found_under_a_tag_is_meant_by_all_others(
    admin: Caller, tmp_path: Path
) -> None:
    short, whole = "busybox", "docker.io/library/busybox:latest"
    steps = "".join(
        f"  - {{name: {name}, image: '{image}', run: ls}}\n"
        for name, image in {"one": short, "two": short, "three": whole}.items()
    )
    await build_of(admin, tmp_path, f"steps:\n{steps}")
    first, second = await admin.new_agent("first"), await admin.new_agent("second")
    one, two = await first.take(), await second.take()

    assert one["settlesImages"] is True
    assert "imageDigest" not in one
    assert "imageDigest" not in two
    assert await settle(first, one, OLD) == OLD
    assert await settle(second, two, NEW) == OLD
    assert await settle(first, one, NEW) == OLD
    (await second.complete(two)).expect(200)
    assert (await second.take())["imageDigest"] == OLD


async def test_another_try_of_a_step_means_the_image_of_the_first(
    admin: Caller, tmp_path: Path
) -> None:
    await build_of(admin, tmp_path, "steps: [{name: a, image: b:1, run: ls, retries: 1}]\n")
    first, second = await admin.new_agent("first"), await admin.new_agent("second")
    spec = await first.take()
    await settle(first, spec, OLD)
    (await first.complete(spec, status="failed", exitCode=1)).expect(200)
    again = await second.take()

    assert (again["attempt"], again["imageDigest"]) == (2, OLD)


async def test_whoever_depends_on_a_step_that_pushed_a_tag_means_what_it_pushed(
    admin: Caller, tmp_path: Path
) -> None:
    script = f"image: '{TAG}', run: ls"
    await build_of(
        admin,
        tmp_path,
        f"""
steps:
  - {{name: before, {script}}}
  - {{name: push, dependsOn: [before], build: {{tags: ['{TAG}']}}}}
  - {{name: between, dependsOn: [push], image: 'debian:12', run: ls}}
  - {{name: after, dependsOn: [between], {script}}}
  - {{name: beside, dependsOn: [before], {script}}}
""",
    )
    agent = await admin.new_agent()
    found: dict[str, str | None] = {}
    for _ in range(5):
        [offer] = (await agent.poll(capabilities=["imageBuilds"]))["offers"]
        spec = (await agent.accept(offer)).expect(200).json
        found[spec["name"]] = spec.get("imageDigest")
        images = [{"reference": TAG, "digest": NEW}] if spec["name"] == "push" else None
        if spec["name"] == "before":
            await settle(agent, spec, OLD)
        (await agent.complete(spec, **({"images": images} if images else {}))).expect(200)

    assert found == {"before": None, "push": None, "between": None, "after": NEW, "beside": OLD}


async def test_only_who_holds_a_step_settles_its_image(admin: Caller, tmp_path: Path) -> None:
    await build_of(admin, tmp_path, "steps: [{name: a, image: b:1, run: ls}]\n")
    holder, stranger = await admin.new_agent("holder"), await admin.new_agent("stranger")
    spec = await holder.take()
    path = f"/api/runner/{spec['stepId']}/image"

    (await stranger.post(path, {"epoch": spec["epoch"], "digest": NEW})).expect(409)
    (await holder.post(path, {"epoch": spec["epoch"] + 1, "digest": NEW})).expect(409)
    (await holder.post(path, {"epoch": spec["epoch"], "digest": "latest"})).expect(400)
    assert await settle(holder, spec, OLD) == OLD


async def test_an_image_named_by_its_digest_needs_no_settling(
    admin: Caller, tmp_path: Path
) -> None:
    await build_of(admin, tmp_path, f"steps: [{{name: a, image: 'b:1@{OLD}', run: ls}}]\n")
    agent = await admin.new_agent()
    spec = await agent.take()
    body = {"epoch": spec["epoch"], "digest": NEW}

    assert "imageDigest" not in spec
    (await agent.post(f"/api/runner/{spec['stepId']}/image", body)).expect(400)


async def test_a_build_whose_images_are_settled_can_be_deleted(
    admin: Caller, tmp_path: Path
) -> None:
    project = await build_of(admin, tmp_path, "steps: [{name: a, image: b:1, run: ls}]\n")
    agent = await admin.new_agent()
    spec = await agent.take()
    await settle(agent, spec, OLD)
    (await agent.complete(spec)).expect(200)
    tenant = {"X-Tenant-ID": project["accountId"]}

    (await admin.call("DELETE", f"/api/v1/builds/{spec['buildId']}", headers=tenant)).expect(204)
