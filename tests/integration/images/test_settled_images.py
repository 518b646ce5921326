"""All steps of a build mean one image by one tag."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from coordinator.services.steps.settled_images import MAX_SETTLED_TAGS
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


FOREIGN = "127.0.0.1:5000/others/app:1"
HUB = "docker.io/library/busybox:latest"


async def settle_tag(
    agent: AgentCaller, spec: Mapping[str, Any], tag: str, digest: str, status: int = 200
) -> Any:
    body = {"epoch": spec["epoch"], "digest": digest, "reference": tag}
    return (await agent.post(f"/api/runner/{spec['stepId']}/image", body)).expect(status).json


async def take(agent: AgentCaller) -> dict[str, Any]:
    [offer] = (await agent.poll(capabilities=["imageBuilds"]))["offers"]
    return dict((await agent.accept(offer)).expect(200).json)


async def test_a_dockerfile_means_the_image_that_the_build_means(
    admin: Caller, tmp_path: Path
) -> None:
    await build_of(admin, tmp_path, "steps: [{name: one, build: {}}, {name: two, build: {}}]\n")
    first, second = await admin.new_agent("first"), await admin.new_agent("second")
    one, two = await take(first), await take(second)

    assert one["build"]["settledImages"] == two["build"]["settledImages"] == {}
    assert (await settle_tag(first, one, HUB, OLD))["digest"] == OLD
    assert (await settle_tag(second, two, HUB, NEW))["digest"] == OLD


async def test_what_a_script_runs_in_is_what_a_dockerfile_begins_with(
    admin: Caller, tmp_path: Path
) -> None:
    await build_of(
        admin,
        tmp_path,
        "steps:\n"
        "  - {name: one, image: busybox, run: ls}\n"
        "  - {name: two, dependsOn: [one], build: {}}\n"
        "  - {name: three, dependsOn: [two], image: 'debian:12', run: ls}\n",
    )
    agent = await admin.new_agent()
    one = await take(agent)
    await settle(agent, one, OLD)
    (await agent.complete(one)).expect(200)
    two = await take(agent)
    await settle_tag(agent, two, "docker.io/library/debian:12", NEW)
    (await agent.complete(two)).expect(200)

    assert two["build"]["settledImages"] == {HUB: OLD}
    assert (await take(agent))["imageDigest"] == NEW


async def test_a_dockerfile_after_a_push_begins_with_what_was_pushed(
    admin: Caller, tmp_path: Path
) -> None:
    await build_of(
        admin,
        tmp_path,
        f"""
steps:
  - {{name: before, build: {{}}}}
  - {{name: push, dependsOn: [before], build: {{tags: ['{TAG}']}}}}
  - {{name: after, dependsOn: [push], build: {{}}}}
  - {{name: beside, dependsOn: [before], build: {{}}}}
""",
    )
    agent = await admin.new_agent()
    known, answered = {}, {}
    for _ in range(4):
        spec = await take(agent)
        name = spec["name"]
        known[name] = spec["build"]["settledImages"]
        digest = OLD if name == "before" else NEW
        answered[name] = (await settle_tag(agent, spec, TAG, digest))["digest"]
        images = [{"reference": TAG, "digest": NEW}] if name == "push" else None
        (await agent.complete(spec, **({"images": images} if images else {}))).expect(200)

    assert known == {"before": {}, "push": {TAG: OLD}, "after": {TAG: NEW}, "beside": {TAG: OLD}}
    assert answered == {"before": OLD, "push": OLD, "after": NEW, "beside": OLD}


async def test_a_step_settles_no_tag_that_it_may_not_read_or_that_is_none(
    admin: Caller, tmp_path: Path
) -> None:
    await build_of(admin, tmp_path, "steps: [{name: a, build: {}}]\n")
    agent = await admin.new_agent()
    spec = await take(agent)

    refused = await settle_tag(agent, spec, FOREIGN, NEW, status=403)
    assert "not your account's to read" in refused["error"]
    for text in ("busybox", "docker.io/library/busybox", f"{TAG}@{OLD}", "docker.io/A:1"):
        assert "reference" in (await settle_tag(agent, spec, text, NEW, status=400))["error"]


async def test_a_scripts_step_settles_its_own_image_alone(admin: Caller, tmp_path: Path) -> None:
    await build_of(admin, tmp_path, "steps: [{name: a, image: b:1, run: ls}]\n")
    agent = await admin.new_agent()
    spec = await agent.take()

    refused = await settle_tag(agent, spec, HUB, NEW, status=400)
    assert "builds no image" in refused["error"]


async def test_a_builds_tags_are_kept_up_to_a_number(
    coordinator: Coordinator, admin: Caller, tmp_path: Path
) -> None:
    await build_of(admin, tmp_path, "steps: [{name: a, build: {}}]\n")
    agent = await admin.new_agent()
    spec = await take(agent)
    kept = [(spec["buildId"], f"docker.io/library/a:{n}", OLD) for n in range(MAX_SETTLED_TAGS)]
    with closing(sqlite3.connect(coordinator.data / "pushrod.db")) as connection:
        connection.executemany("INSERT INTO build_images VALUES (?, ?, ?, NULL)", kept)
        connection.commit()

    refused = await settle_tag(agent, spec, HUB, NEW, status=409)
    assert "more than 1000 images" in refused["error"]
    assert (await settle_tag(agent, spec, "docker.io/library/a:7", NEW))["digest"] == OLD


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
    tenant = {"X-Tenant-ID": project["accountUuid"]}

    (await admin.call("DELETE", f"/api/v1/builds/{spec['buildId']}", headers=tenant)).expect(204)
