"""Steps that build images, as the coordinator hands them out, and the logins that they get."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import (
    AgentCaller,
    Caller,
    Coordinator,
    WorkTree,
    new_work_tree,
    open_coordinator,
)

WORKFLOW = """
on: {push: {}, manual: {params: {stage: {oneOf: [test, "live/eu:1"]}}}}
steps:
  - name: image
    build:
      context: web
      args: {SHA: "${{ sha }}", STAGE: "${{ params.stage }}"}
      tags: ["registry.example:5000/shop:${{ build.number }}-${{ params.stage }}"]
  - name: deploy
    image: registry.example:5000/tools:1
    run: "true"
    dependsOn: [image]
"""
DIGEST = f"sha256:{'a' * 64}"
BUILDER = ["imageBuilds", "somethingNewer"]


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    settings = {"insecure_registries": "registry.example:5000, other.example"}
    async with open_coordinator(tmp_path, **settings) as coordinator:
        yield coordinator


@pytest.fixture
def admin(coordinator: Coordinator) -> Caller:
    return coordinator.admin


@pytest.fixture
async def project(admin: Caller) -> dict[str, Any]:
    return await admin.new_project("acme", "shop")


@pytest.fixture
async def tree(tmp_path: Path, admin: Caller, project: dict[str, Any]) -> WorkTree:
    tree = await new_work_tree(tmp_path, admin, project)
    await tree.commit({".pushrod.yml": WORKFLOW})
    return tree


async def take(agent: AgentCaller) -> dict[str, Any]:
    [offer] = (await agent.poll(capabilities=BUILDER))["offers"]
    return dict((await agent.accept(offer)).expect(200).json)


async def put(caller: Caller, path: str, **body: str) -> None:
    (await caller.call("PUT", path, json=body)).expect(200)


async def test_only_an_agent_that_can_build_images_is_offered_one(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    await tree.push()
    [build] = await admin.builds(project)

    async def waits_for() -> str:
        return str((await admin.build(build["id"]))["steps"][0]["waitsFor"])

    assert (await waits_for()).startswith("no agent is connected")
    simple = await admin.new_agent("simple")
    polling = asyncio.create_task(simple.poll())
    while "no agent is connected" in await waits_for():
        await asyncio.sleep(0)
    assert await waits_for() == (
        "no connected agent can build images: start one with `pushrod agent --engine buildkit`"
    )
    builder = await admin.new_agent("builder")
    spec = await take(builder)

    assert spec["name"] == "image"
    assert not polling.done()
    polling.cancel()


async def test_the_spec_has_every_value_filled_in(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    sha = (await tree.git("rev-parse", "HEAD")).output
    await tree.push()
    spec = await take(await admin.new_agent())

    assert spec["script"] == ""
    assert "image" not in spec
    scope = spec["build"].pop("cacheScope")
    assert len(scope) == 40
    assert spec["build"] == {
        "maySplit": False,
        "part": False,
        "platforms": [],
        "provenance": False,
        "sbom": False,
        "context": "web",
        "dockerfile": "Dockerfile",
        "args": {"SHA": sha, "STAGE": "test"},
        "tags": ["registry.example:5000/shop:1-test"],
        "push": True,
        "insecureRegistries": ["registry.example:5000", "other.example"],
        "settledImages": {},
    }


async def test_a_parameter_cant_change_the_repository_of_a_tag(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    await tree.push()
    agent = await admin.new_agent()
    await agent.complete(await take(agent), status="failed")
    [build] = await admin.builds(project)
    body = {"workflowId": build["workflowId"], "params": {"stage": "live/eu:1"}}
    (await admin.post(f"/api/projects/{project['id']}/builds", body)).expect(201)

    spec = await take(agent)

    assert spec["build"]["tags"] == ["registry.example:5000/shop:2-live-eu-1"]
    assert spec["build"]["args"]["STAGE"] == "live/eu:1"


async def test_the_script_of_a_worker_cant_build_an_image(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    await tree.push()
    [build] = await admin.builds(project)
    step = (await admin.build(build["id"]))["steps"][0]

    answer = (await admin.get(f"/api/runner/{step['id']}")).expect(409)

    assert answer.json["error"] == (
        "step 'image' builds an image, which no script can: it is for an agent with BuildKit "
        "(`pushrod agent --engine buildkit`)"
    )
    assert (await admin.build(build["id"]))["steps"][0]["status"] == "READY"


async def test_what_was_pushed_stands_on_the_step(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    await tree.push()
    [build] = await admin.builds(project)
    agent = await admin.new_agent()
    images = [{"reference": "registry.example:5000/shop:1-test", "digest": DIGEST}]
    spec = await take(agent)

    for wrong in ("sha256:12", "latest"):
        refused = [{"reference": "registry.example:5000/shop:1-test", "digest": wrong}]
        (await agent.complete(spec, images=refused)).expect(400)
    (await agent.complete(spec, images=images)).expect(200)
    (await agent.complete(spec, images=images)).expect(200)

    image, deploy = (await admin.build(build["id"]))["steps"]
    assert (image["status"], image["images"]) == ("SUCCESS", images)
    assert "images" not in deploy
    script = await take(agent)
    refused = await agent.complete(script, images=images)
    assert refused.expect(400).json["error"] == "step 'deploy' builds no image: leave `images` out"


async def test_a_failed_build_has_the_true_cause_as_its_message(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    await tree.push()
    [build] = await admin.builds(project)
    agent = await admin.new_agent()
    message = "web/Dockerfile:2: unknown instruction: RUNN"
    await agent.complete(
        await take(agent), status="failed", exitCode=None, reason="image", message=message
    )

    step = (await admin.build(build["id"]))["steps"][0]

    assert (step["status"], step["reason"], step["message"]) == ("FAILED", "image", message)


async def test_a_projects_login_comes_before_its_accounts(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    own, shared = f"/api/projects/{project['id']}/registries", "/api/accounts/acme/registries"
    await put(admin, f"{shared}/registry.example:5000", username="acme", password="of-account")
    await put(admin, f"{own}/Registry.Example:5000", username="shop", password="of-project")
    await put(admin, f"{shared}/docker.io", username="hub", password="of-hub")
    await put(admin, f"{own}/registry.example:5000", username="shop", password="newer")
    other = await admin.new_project("acme", "other")
    await put(
        admin, f"/api/projects/{other['id']}/registries/a.example", username="o", password="no"
    )

    listed = (await admin.get(own)).expect(200).json
    await tree.push()
    agent = await admin.new_agent()
    build = await take(agent)
    await agent.complete(build)
    script = await take(agent)

    assert [(one["host"], one["username"], one["of"]) for one in listed] == [
        ("docker.io", "hub", "account"),
        ("registry.example:5000", "acme", "account"),
        ("registry.example:5000", "shop", "project"),
    ]
    shop = {"host": "registry.example:5000", "username": "shop", "password": "newer"}
    hub = {"host": "docker.io", "username": "hub", "password": "of-hub"}
    assert sorted(build["registries"], key=lambda one: str(one["host"])) == [hub, shop]
    assert script["registries"] == [shop], "a script's image needs no other login"


async def test_the_spec_that_a_step_itself_can_read_has_no_login(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    path = f"/api/projects/{project['id']}/registries/registry.example:5000"
    await put(admin, path, username="shop", password="secret-password")
    await tree.push()
    agent = await admin.new_agent()
    spec = await take(agent)
    itself = Caller(admin.coordinator, spec["token"])

    answer = await itself.call(
        "GET", f"/api/runner/{spec['stepId']}", headers={"Accept": "application/json"}
    )

    assert answer.expect(200).json.get("registries", []) == []
    assert "secret-password" not in answer.text


async def test_a_login_is_forgotten(admin: Caller, project: dict[str, Any], tree: WorkTree) -> None:
    path = f"/api/projects/{project['id']}/registries/registry.example:5000"
    await put(admin, path, username="shop", password="x")
    (await admin.call("DELETE", path)).expect(200)
    (await admin.call("DELETE", path)).expect(404)
    await tree.push()

    assert (await take(await admin.new_agent())).get("registries", []) == []
    entries = (await admin.get(f"/api/audit-logs?projectId={project['id']}")).json["auditLogs"]
    actions = {entry["action"]: entry["details"] for entry in entries}
    assert actions["registry.login"]["registry"] == "registry.example:5000"
    assert actions["registry.logout"]["registry"] == "registry.example:5000"


@pytest.mark.parametrize(
    ("host", "body", "said"),
    [
        ("registry", {"username": "a", "password": "b"}, "is no registry"),
        ("a..example", {"username": "a", "password": "b"}, "is no registry"),
        ("a.example%2Fx", {"username": "a", "password": "b"}, "is no registry"),
        ("a.example", {"username": "a b", "password": "b"}, "one word"),
        ("a.example", {"username": "a:b", "password": "b"}, "one word"),
        ("a.example", {"username": "a"}, "password"),
        ("a.example", {"username": "a", "password": "x" * 20_000}, "16 KiB"),
        ("a.example", {"username": "a", "password": "x", "token": "y"}, "token"),
    ],
)
async def test_an_impossible_login_is_refused(
    admin: Caller, project: dict[str, Any], host: str, body: dict[str, str], said: str
) -> None:
    path = f"/api/projects/{project['id']}/registries/{host}"

    answer = (await admin.call("PUT", path, json=body)).expect(400)

    assert said in answer.text
    assert "xxxx" not in answer.text


async def test_a_project_for_an_image_that_can_not_be_stored_leaves_no_repository(
    coordinator: Coordinator, admin: Caller
) -> None:
    request = {"name": "my-agent", "files": {"agent.py": "print()"}, "entry_point": "agent.py"}
    with closing(sqlite3.connect(coordinator.data / "pushrod.db")) as database:
        database.execute(
            "CREATE TRIGGER full BEFORE INSERT ON image_projects "
            "BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
        )
    (await admin.post("/api/builds", request)).expect(500)
    assert list((coordinator.data / "repositories").glob("*.git")) == []
    with closing(sqlite3.connect(coordinator.data / "pushrod.db")) as database:
        database.execute("DROP TRIGGER full")
    (await admin.post("/api/builds", request)).expect(202)
    assert len(list((coordinator.data / "repositories").glob("*.git"))) == 1
