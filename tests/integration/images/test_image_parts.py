"""An image that no engine can build whole: its parts, and the step that waits for them and joins
them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
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

TAG = "registry.example:5000/shop:1"
PLATFORMS = ["linux/amd64", "linux/arm64"]
PARTS = ["image (linux-amd64)", "image (linux-arm64)"]
WHOLE = ["imageBuilds", "imageOptions"]
AMD, ARM = ([*WHOLE, "imageParts", f"platform:{one}"] for one in PLATFORMS)
MESSAGE = "the engine of this agent runs no programs of linux/arm64"


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path) as found:
        yield found


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    admin: Caller
    agent: AgentCaller
    project: Mapping[str, Any]
    build_id: str

    async def step(self, name: str = "image") -> dict[str, Any]:
        return self.named((await self.admin.build(self.build_id))["steps"], name)

    @staticmethod
    def named(steps: list[dict[str, Any]], name: str) -> dict[str, Any]:
        return next(one for one in steps if one["name"] == name)

    async def statuses(self) -> dict[str, str]:
        build = await self.admin.build(self.build_id)
        return {step["name"]: step["status"] for step in build["steps"]}

    async def split(self) -> Mapping[str, Any]:
        """The step is taken by an agent of amd64, which asks for parts; the spec it had."""
        spec = await self.agent.take(capabilities=AMD)
        assert spec["name"] == "image"
        await asks_for_parts(self.agent, spec)
        return spec

    async def build_part(self, capabilities: list[str]) -> str:
        """The next part that such an agent is given, built; its reference."""
        spec = await self.agent.take(capabilities=capabilities)
        return await self.end_part(spec)

    async def end_part(self, spec: Mapping[str, Any]) -> str:
        image = digest_image(spec["build"]["platforms"][0])
        (await self.agent.complete(spec, images=[image])).expect(200)
        return str(image["reference"])

    async def fail(self, spec: Mapping[str, Any]) -> None:
        (await self.agent.complete(spec, status="failed", exitCode=3)).expect(200)


def digest_image(platform: str) -> dict[str, str]:
    digest = "sha256:" + platform.encode().hex().ljust(64, "0")
    return {"reference": f"registry.example:5000/shop@{digest}", "digest": digest}


async def asks_for_parts(agent: AgentCaller, spec: Mapping[str, Any], **more: Any) -> None:
    body = {"status": "failed", "reason": "image", "message": MESSAGE, "parts": PLATFORMS}
    answer = (await agent.complete(spec, **body, **more)).expect(200).json
    assert answer["stepStatus"] == "BLOCKED"
    assert not answer["buildComplete"]


async def begun(coordinator: Coordinator, image: str = "", workflow: str = "") -> Begun:
    """A build of `image`, of two platforms, and of a step after it."""
    admin = coordinator.admin
    project, agent = await admin.new_project(), await admin.new_agent()
    tree = await new_work_tree(coordinator.data.parent, admin, project)
    text = f"""
on: {{push: {{}}}}
{workflow}
steps:
  - {{name: before, image: base, run: "true"}}
  - name: image
    dependsOn: [before]
    build: {{tags: ["{TAG}"], platforms: [linux/amd64, linux/arm64], cacheTo: "{TAG}-cache"}}
    {image}
  - {{name: after, image: base, run: "true", dependsOn: [image]}}
"""
    await tree.commit({".pushrod.yml": text})
    await tree.push()
    [build] = await admin.builds(project)
    before = await agent.take()
    (await agent.complete(before)).expect(200)
    return Begun(admin=admin, agent=agent, project=project, build_id=build["id"])


async def test_an_image_is_built_in_parts_by_agents_of_each_platform_and_joined(
    coordinator: Coordinator,
) -> None:
    one = await begun(coordinator)
    spec = await one.split()
    assert spec["build"]["maySplit"]
    assert await one.statuses() == {
        "before": "SUCCESS",
        "image": "BLOCKED",
        "after": "BLOCKED",
        **dict.fromkeys(PARTS, "READY"),
    }
    waiting = await one.step()
    assert waiting["waitsFor"] == f"waits for {', '.join(PARTS)}"
    assert waiting["message"] == MESSAGE

    part = await one.agent.take(capabilities=ARM)
    assert part["name"] == PARTS[1]
    assert part["build"]["platforms"] == ["linux/arm64"]
    assert part["build"]["tags"] == [TAG]
    assert part["build"]["part"]
    assert not part["build"]["maySplit"]
    assert part["source"] == spec["source"]
    assert [one["name"] for one in part["dependencies"]] == ["before"]
    built = [await one.end_part(part), await one.build_part(AMD)]

    joining = await one.agent.take(capabilities=ARM)
    assert joining["name"] == "image"
    assert joining["build"]["parts"] == dict(zip(PLATFORMS, reversed(built), strict=True))
    assert joining["build"]["platforms"] == PLATFORMS
    assert not joining["build"]["maySplit"]
    assert "source" not in joining
    assert joining["dependencies"] == []
    index = {"reference": TAG, "digest": f"sha256:{'b' * 64}"}
    (await one.agent.complete(joining, images=[index])).expect(200)

    ended = await one.step()
    assert (ended["status"], ended["images"]) == ("SUCCESS", [index])
    await one.agent.complete(await one.agent.take())
    assert (await one.admin.build(one.build_id))["state"] == "succeeded"


async def test_a_part_waits_for_an_agent_of_its_platform_and_says_so(
    coordinator: Coordinator,
) -> None:
    one = await begun(coordinator)
    await one.split()
    await one.build_part(AMD)

    assert (await one.agent.poll(capabilities=AMD, free=0))["offers"] == []
    said = (await one.step(PARTS[1]))["waitsFor"]
    assert said.startswith("waits for an agent of linux/arm64: start one there with")
    await one.build_part(ARM)
    # An older agent knows nothing of parts: it must not build the whole under the tags.
    joining = await one.agent.take(capabilities=[*WHOLE, "imageParts"])
    assert joining["name"] == "image"


async def test_a_part_that_fails_fails_the_step_and_what_depends_on_it_is_skipped(
    coordinator: Coordinator,
) -> None:
    one = await begun(coordinator)
    await one.split()
    await one.fail(await one.agent.take(capabilities=ARM))

    assert await one.statuses() == {
        "before": "SUCCESS",
        "image": "FAILED",
        "after": "SKIPPED",
        PARTS[0]: "READY",
        PARTS[1]: "FAILED",
    }
    failed = await one.step()
    assert (failed["reason"], failed["message"]) == (f"part {PARTS[1]}", "failed: exit code 3")
    await one.build_part(AMD)  # which a retry takes over
    build = await one.admin.build(one.build_id)
    assert (build["state"], build["reason"]) == (
        "failed",
        f"step {PARTS[1]} failed: exit code 3",
    )


async def test_a_part_that_fails_is_not_joined_where_the_step_may_fail(
    coordinator: Coordinator,
) -> None:
    one = await begun(coordinator, "allowFailure: true")
    await one.split()
    await one.build_part(AMD)
    await one.fail(await one.agent.take(capabilities=ARM))

    assert (await one.step())["status"] == "FAILED"
    await one.agent.complete(await one.agent.take())
    assert (await one.admin.build(one.build_id))["state"] == "succeeded"


async def test_tries_are_each_parts_own_and_finding_that_it_must_be_split_is_none(
    coordinator: Coordinator,
) -> None:
    one = await begun(coordinator, "retries: {max: 1, on: [failed]}")
    await one.split()
    await one.fail(await one.agent.take(capabilities=ARM))
    assert (await one.step(PARTS[1]))["status"] == "READY"
    await one.build_part(ARM)
    await one.build_part(AMD)

    for status in ("READY", "FAILED"):
        await one.fail(await one.agent.take(capabilities=AMD))
        assert (await one.step())["status"] == status


async def test_failed_parts_are_built_again_and_joined_with_those_that_were_built(
    coordinator: Coordinator,
) -> None:
    one = await begun(coordinator)
    await one.split()
    await one.fail(await one.agent.take(capabilities=ARM))
    amd = await one.build_part(AMD)

    again = await retried(one, failed=True)
    statuses = await again.statuses()
    assert (statuses[PARTS[0]], statuses[PARTS[1]]) == ("SUCCESS", "READY")
    assert statuses["image"] == "BLOCKED"
    arm = await again.build_part(ARM)
    joining = await again.agent.take(capabilities=AMD)
    assert joining["build"]["parts"] == {"linux/amd64": amd, "linux/arm64": arm}
    await again.fail(joining)

    joined = await retried(again, steps=["image"])  # its parts are there
    joining = await joined.agent.take(capabilities=AMD)
    assert joining["build"]["parts"] == {"linux/amd64": amd, "linux/arm64": arm}
    (await joined.agent.complete(joining, images=[])).expect(200)
    await joined.agent.complete(await joined.agent.take())

    whole = await retried(joined, steps=["image"])  # which had succeeded: all of it is built anew
    assert PARTS[0] not in await whole.statuses()
    assert (await whole.agent.take(capabilities=AMD))["build"]["maySplit"]


async def test_a_whole_retry_begins_without_parts(coordinator: Coordinator) -> None:
    one = await begun(coordinator)
    await one.split()
    await one.fail(await one.agent.take(capabilities=ARM))
    await one.build_part(AMD)
    again = await retried(one)
    assert set(await again.statuses()) == {"before", "image", "after"}
    assert (await again.step())["dependsOn"] == ["before"]


async def retried(one: Begun, **body: Any) -> Begun:
    path = f"/api/projects/{one.project['id']}/builds/{one.build_id}/retry"
    build = (await one.admin.post(path, body or None)).expect(201).json
    return Begun(admin=one.admin, agent=one.agent, project=one.project, build_id=build["id"])


async def test_a_cancelled_step_takes_its_parts_with_it(coordinator: Coordinator) -> None:
    one = await begun(coordinator)
    await one.split()
    running = await one.agent.take(capabilities=ARM)
    path = f"/api/projects/{one.project['id']}/builds/{one.build_id}/cancel"
    (await one.admin.post(path, {"steps": ["image"]})).expect(200)

    statuses = await one.statuses()
    assert (statuses["image"], statuses[PARTS[0]]) == ("CANCELLED", "CANCELLED")
    poll = await one.agent.poll(free=0, leases=[{"stepId": running["stepId"], "epoch": 1}])
    assert [cancel["stepId"] for cancel in poll["cancels"]] == [running["stepId"]]
    await one.agent.complete(running, status="failed", reason="cancelled")
    assert (await one.statuses())[PARTS[1]] == "CANCELLED"


async def test_a_cancelled_part_cancels_the_step(coordinator: Coordinator) -> None:
    one = await begun(coordinator)
    await one.split()
    path = f"/api/projects/{one.project['id']}/builds/{one.build_id}/cancel"
    (await one.admin.post(path, {"steps": [PARTS[0]]})).expect(200)
    await one.build_part(ARM)

    assert (await one.step())["status"] == "CANCELLED"
    assert (await one.step())["reason"].startswith(f"part {PARTS[0]}: cancelled by")
    assert (await one.admin.build(one.build_id))["state"] == "cancelled"


async def test_a_step_that_was_asked_to_end_is_not_split(coordinator: Coordinator) -> None:
    one = await begun(coordinator)
    spec = await one.agent.take(capabilities=AMD)
    path = f"/api/projects/{one.project['id']}/builds/{one.build_id}/cancel"
    (await one.admin.post(path)).expect(200)
    body = {"status": "failed", "reason": "image", "parts": PLATFORMS}
    (await one.agent.complete(spec, **body)).expect(200)
    assert set(await one.statuses()) == {"before", "image", "after"}
    assert (await one.step())["status"] == "CANCELLED"


async def test_a_report_that_is_repeated_splits_once(coordinator: Coordinator) -> None:
    one = await begun(coordinator)
    spec = await one.split()
    await asks_for_parts(one.agent, spec)
    assert len(await one.statuses()) == 5


async def test_only_an_image_of_several_platforms_is_split(coordinator: Coordinator) -> None:
    one = await begun(coordinator)
    await one.split()
    part = await one.agent.take(capabilities=ARM)
    body = {"status": "failed", "reason": "image", "parts": PLATFORMS}
    assert (await one.agent.complete(part, **body)).expect(200).json["stepStatus"] == "FAILED"
    assert len(await one.statuses()) == 5


async def test_the_parts_are_in_the_steps_group_and_the_step_holds_no_place_meanwhile(
    coordinator: Coordinator,
) -> None:
    one = await begun(coordinator, "concurrency: {group: builders, limit: 1}")
    await one.split()
    statuses = await one.statuses()
    assert (statuses[PARTS[0]], statuses[PARTS[1]]) == ("READY", "BLOCKED")
    await one.build_part(AMD)
    await one.build_part(ARM)
    assert (await one.agent.take(capabilities=AMD))["name"] == "image"


async def test_fail_fast_ends_the_other_parts_and_the_build_says_which_failed(
    coordinator: Coordinator,
) -> None:
    one = await begun(coordinator, workflow="failFast: true")
    await one.split()
    await one.fail(await one.agent.take(capabilities=ARM))
    statuses = await one.statuses()
    assert (statuses["image"], statuses[PARTS[0]]) == ("FAILED", "CANCELLED")
    build = await one.admin.build(one.build_id)
    assert (build["state"], build["reason"]) == ("failed", f"step {PARTS[1]} failed: exit code 3")


async def test_a_restart_in_between_changes_nothing(coordinator: Coordinator) -> None:
    one = await begun(coordinator)
    await one.split()
    part = await one.agent.take(capabilities=ARM)
    await coordinator.restart()
    await one.end_part(part)
    await coordinator.restart()
    await one.build_part(AMD)
    assert (await one.agent.take(capabilities=AMD))["build"]["parts"].keys() == set(PLATFORMS)


async def test_parts_of_a_dockerfile_with_late_values_have_them_too(
    coordinator: Coordinator,
) -> None:
    admin = coordinator.admin
    project, agent = await admin.new_project(), await admin.new_agent()
    tree = await new_work_tree(coordinator.data.parent, admin, project)
    text = """
on: {push: {}}
steps:
  - {name: plan, image: base, run: "true"}
  - name: image
    dependsOn: [plan]
    when: outputs.plan.go == "yes"
    build:
      tags: ["registry.example:5000/shop:${{ outputs.plan.version }}"]
      platforms: [linux/amd64, linux/arm64]
"""
    await tree.commit({".pushrod.yml": text})
    await tree.push()
    [build] = await admin.builds(project)
    plan = await agent.take()
    (await agent.complete(plan, outputs={"version": "7.1", "go": "yes"})).expect(200)
    one = Begun(admin=admin, agent=agent, project=project, build_id=build["id"])
    await one.split()
    part = await agent.take(capabilities=ARM)
    assert part["build"]["tags"] == ["registry.example:5000/shop:7.1"]
    await one.end_part(part)
    await one.build_part(AMD)
    joining = await agent.take(capabilities=AMD)
    assert joining["build"]["tags"] == ["registry.example:5000/shop:7.1"]
    assert len(joining["build"]["parts"]) == 2
