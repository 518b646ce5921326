"""Specification 002, the Build API: its facts as a table, each tried over HTTP."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import (
    AgentCaller,
    Caller,
    Coordinator,
    lease_of,
    open_coordinator,
    try_git,
)

AGENT = {
    "agent.py": (
        "from openai import OpenAI\nimport requests\n\nclient = OpenAI()\n\ndef main():\n"
        "    print(client)\n\nif __name__ == '__main__':\n    main()\n"
    ),
    "requirements.txt": "openai>=1.0\nrequests",
}
REQUEST: dict[str, Any] = {"name": "my-agent", "files": AGENT, "entry_point": "agent.py"}
STATUSES = ("PENDING", "BUILDING", "SUCCEEDED", "FAILED")
REQUEST_FIELDS = {
    # field: (type, required)
    "name": ("string", True),
    "files": ("object", True),
    "entry_point": ("string", False),
    "requirements": ("string", False),
    "framework": ("string", False),
}
RESPONSE_FIELDS = ("id", "status", "image", "created_at")
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@pytest.fixture
async def coordinator(each_storage: str, tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path, poll_hold_seconds=1, lease_seconds=60) as coordinator:
        yield coordinator


@pytest.fixture
def admin(coordinator: Coordinator) -> Caller:
    return coordinator.admin


@pytest.fixture
async def agent(admin: Caller) -> AgentCaller:
    registrar = await admin.new_token(kind="registration", account="default")
    return await registrar.new_agent("builder")


CAPABLE = {"capabilities": ["imageBuilds", "ownCommands", "healthChecks"]}


async def take(agent: AgentCaller, **request: Any) -> dict[str, Any]:
    [offer] = (await agent.poll(**CAPABLE, **request))["offers"]
    return dict((await agent.accept(offer)).expect(200).json)


async def start(caller: Caller, **changes: Any) -> dict[str, Any]:
    answer = await caller.post("/api/builds", {**REQUEST, **changes})
    return dict(answer.expect(202).json)


async def status(caller: Caller, build: Mapping[str, Any]) -> dict[str, Any]:
    return dict((await caller.get(f"/api/builds/{build['id']}")).expect(200).json)


async def log(agent: AgentCaller, spec: Mapping[str, Any], text: str) -> dict[str, Any]:
    """What a completion says of the log that was appended."""
    import hashlib

    data = text.encode()
    (await agent.append(spec, 0, data)).expect(204)
    return {"logBytes": len(data), "logSha256": hashlib.sha256(data).hexdigest()}


# Start a build


async def test_a_build_is_answered_at_once_with_its_id_and_its_images_uri(admin: Caller) -> None:
    build = await start(admin)
    assert set(RESPONSE_FIELDS) <= build.keys()
    assert build["id"].startswith("build-")
    assert build["status"] == "PENDING"
    assert re.fullmatch(r"127\.0\.0\.1:5000/default/my-agent:[0-9a-f]{16}", build["image"])
    assert MOMENT.fullmatch(build["created_at"])
    assert build["language"] == "python"
    assert "completed_at" not in build
    assert "error" not in build
    assert None not in build.values()
    assert build["reason"] == "no agent is connected: start one with `pushrod agent`"


@pytest.mark.parametrize("field", REQUEST_FIELDS)
async def test_each_field_is_of_its_type_and_missed_only_where_it_is_required(
    admin: Caller, field: str
) -> None:
    _, required = REQUEST_FIELDS[field]
    for wrong in (7, ["x"], True):
        answer = await admin.post("/api/builds", {**REQUEST, field: wrong})
        assert answer.expect(400).json["details"][0]["path"].startswith(field)
    without = {name: value for name, value in REQUEST.items() if name != field}
    (await admin.post("/api/builds", without)).expect(400 if required else 202)


@pytest.mark.parametrize(
    ("changes", "path", "says"),
    [
        ({"files": {}}, "files", "at least the program"),
        ({"files": {"a.py": 1}}, "files.a.py", "write text"),
        ({"files": {"/a.py": ""}}, "files./a.py", "relative"),
        ({"files": {"../a.py": ""}}, "files.../a.py", "`..`"),
        ({"files": {"x/.git/config": ""}}, "files.x/.git/config", "git's own folder"),
        ({"files": {"a": "", "a/b.py": ""}}, "files.a/b.py", "file and a folder"),
        ({"files": {"a.py": "x\0"}}, "files.a.py", "NUL"),
        ({"files": {f"{n}.py": "" for n in range(1001)}}, "files", "the most is 1000"),
        ({"entry_point": "other.py"}, "entry_point", "not among the files"),
        ({"entry_point": "requirements.txt"}, "entry_point", "no language"),
        ({"name": ""}, "name", "must not be empty"),
        ({"name": "x" * 101}, "name", "at most 100"),
        ({"name": "日本"}, "name", "letters a to z"),
        ({"files": {"agent.py": "def f(:\n"}}, "files.agent.py", "agent.py:1:7: invalid syntax"),
    ],
)
async def test_bad_input_is_a_400_that_names_the_field_and_says_what_to_write(
    admin: Caller, changes: dict[str, Any], path: str, says: str
) -> None:
    answer = (await admin.post("/api/builds", {**REQUEST, **changes})).expect(400)
    assert answer.json["error"]
    [detail] = answer.json["details"]
    assert detail["path"] == path
    assert says in detail["message"]


@pytest.mark.parametrize(
    ("files", "language", "entry_point"),
    [
        ({"src/main.py": "1", ".env": "TOKEN=x"}, "python", "src/main.py"),
        ({"src/main.py": "1", "requirements.txt": ""}, "python", "src/main.py"),
        ({"pkg/__main__.py": "1"}, "python", "pkg/__main__.py"),
        ({"lib/odd.py": "1"}, "python", "lib/odd.py"),
        ({"run.sh": "#!/bin/bash\n"}, "shell", "run.sh"),
        ({"dockerfile": "FROM scratch\n"}, "dockerfile", None),
        ({"index.html": "<p>"}, "static", None),
    ],
)
async def test_a_program_is_found_wherever_it_stands(
    admin: Caller, files: dict[str, str], language: str, entry_point: str | None
) -> None:
    build = (await admin.post("/api/builds", {"name": "found", "files": files})).expect(202).json
    assert (build["language"], build.get("entry_point")) == (language, entry_point)


@pytest.mark.parametrize(
    "files",
    [
        {"Cargo.toml": "", "src/main.rs": ""},
        {"Main.java": ""},
        {"app.rb": ""},
        {"agent.ipynb": "{}"},
        {"README.md": "# x"},
    ],
)
async def test_what_is_no_language_of_ours_is_a_400_that_names_ours(
    admin: Caller, files: dict[str, str]
) -> None:
    answer = (await admin.post("/api/builds", {"name": "x", "files": files})).expect(400)
    for words in ("Python", "Node", "Go", "shell", "index.html", "entry_point", "Dockerfile"):
        assert words in answer.json["error"]
    body = {"agent_name": "x", "source_files": files}
    [detail] = (await admin.post("/api/deploy", body)).expect(400).json["details"]
    assert detail["path"] == "source_files"


async def test_a_body_that_is_no_json_object_is_a_400_and_a_huge_one_a_413(admin: Caller) -> None:
    for body in (b"", b"[]", b'"x"', b"{", b"\xff", b"[" * 100_000):
        answer = await admin.call(
            "POST", "/api/builds", data=body, headers={"Content-Type": "application/json"}
        )
        assert answer.expect(400).json["error"]
    huge = {**REQUEST, "files": {"agent.py": "#" * 9_000_000}}
    refused = (await admin.post("/api/builds", huge)).expect(413).json
    assert refused["error"] == "a request's body may have 8388608 bytes"
    assert (await admin.call("PUT", "/api/builds")).expect(405).headers["Allow"] == "GET,HEAD,POST"


async def test_the_same_inputs_have_the_same_uri_and_each_post_is_a_build(admin: Caller) -> None:
    first, second = await start(admin), await start(admin)
    assert first["image"] == second["image"]
    assert first["id"] != second["id"]
    other = await start(admin, files={**AGENT, "more.txt": "x"})
    assert other["image"] != first["image"]
    renamed = await start(admin, name="My Agent 2")
    assert renamed["image"].startswith("127.0.0.1:5000/default/my-agent-2:")


async def test_the_uri_is_the_same_after_a_restart(coordinator: Coordinator) -> None:
    before = await start(coordinator.admin)
    await coordinator.restart()
    assert (await start(coordinator.admin))["image"] == before["image"]
    assert (await status(coordinator.admin, before))["image"] == before["image"]


# Statuses


async def test_a_build_goes_from_pending_over_building_to_succeeded(
    admin: Caller, agent: AgentCaller
) -> None:
    build = await start(admin)
    assert await status(admin, build) == build
    spec = await take(agent)
    assert spec["build"]["tags"] == [build["image"]]
    assert spec["build"]["push"] is True
    del build["reason"]
    building = await status(admin, build)
    assert building == {**build, "status": "BUILDING"}
    digest = f"sha256:{'a' * 64}"
    done = {"images": [{"reference": build["image"], "digest": digest}]}
    (await agent.complete(spec, **done)).expect(200)
    ended = await status(admin, build)
    assert MOMENT.fullmatch(ended.pop("completed_at"))
    assert ended == {**build, "status": "SUCCEEDED", "digest": digest}
    assert datetime.fromisoformat(ended["created_at"])


async def test_a_build_whose_agent_was_lost_is_still_building(
    admin: Caller, agent: AgentCaller
) -> None:
    build = await start(admin)
    spec = await take(agent)
    (await agent.complete(spec, status="failed", reason="lost")).expect(200)
    assert (await status(admin, build))["status"] == "BUILDING"
    (await agent.complete(await take(agent))).expect(200)
    assert (await status(admin, build))["status"] == "SUCCEEDED"


async def test_a_failed_build_says_in_the_documents_words_why(
    admin: Caller, agent: AgentCaller
) -> None:
    build = await start(admin)
    spec = await take(agent)
    text = (
        "[5/6] RUN pip install --no-cache-dir -r requirements.txt\n"
        "[5/6] ERROR: Could not find a version that satisfies the requirement "
        "nonexistent-package (from versions: none)\n"
        "[5/6] ERROR: No matching distribution found for nonexistent-package\n"
        '[5/6] ERROR: process "/bin/sh -c pip install" did not complete successfully\n'
    )
    end = await log(agent, spec, text)
    message = "Dockerfile:9: RUN pip install --no-cache-dir -r requirements.txt: exit code 1"
    failure = {"status": "failed", "reason": "image", "exitCode": 1, "message": message}
    (await agent.complete(spec, **failure, **end)).expect(200)
    ended = await status(admin, build)
    assert ended["status"] == "FAILED"
    assert ended["error"] == (
        "pip install failed: no matching distribution found for nonexistent-package"
    )
    assert MOMENT.fullmatch(ended["completed_at"])


async def test_a_failure_without_a_log_says_what_the_agent_said(
    admin: Caller, agent: AgentCaller
) -> None:
    build = await start(admin)
    spec = await take(agent)
    failure = {"status": "failed", "reason": "image", "message": "Dockerfile:1: no such image"}
    (await agent.complete(spec, **failure)).expect(200)
    assert (await status(admin, build))["error"] == "Dockerfile:1: no such image"


async def test_a_cancelled_build_has_failed_and_says_who_cancelled_it(admin: Caller) -> None:
    build = await start(admin)
    core_id = build["build_url"].rpartition("/")[2]
    (await admin.post(f"/api/projects/-/builds/{core_id}/cancel")).expect(200)
    ended = await status(admin, build)
    assert (ended["status"], ended["error"]) == ("FAILED", "cancelled by admin")


async def test_builds_are_listed_newest_first_each_account_its_own(admin: Caller) -> None:
    await admin.new_project("neighbours")
    neighbour = await admin.new_token(role="maintainer", account="neighbours")
    mine = await admin.new_token(role="developer", account="default")
    first, second, theirs = await start(admin), await start(admin), await start(neighbour)
    listed = (await mine.get("/api/builds")).expect(200).json
    assert listed["builds"] == [await status(admin, second), await status(admin, first)]
    assert listed["pagination"] == {"total": 2, "limit": 20, "offset": 0, "has_more": False}
    page = (await mine.get("/api/builds?limit=1&offset=1")).expect(200).json
    assert [one["id"] for one in page["builds"]] == [first["id"]]
    everybody = (await admin.get("/api/builds?limit=1")).expect(200).json
    assert everybody["builds"][0]["id"] == theirs["id"]
    assert everybody["pagination"] == {"total": 3, "limit": 1, "offset": 0, "has_more": True}
    (await admin.get("/api/builds?offset=x")).expect(400)


async def test_a_build_is_cancelled_once_and_its_deployment_with_it(
    admin: Caller, agent: AgentCaller
) -> None:
    build = await start(admin)
    cancelled = (await admin.post(f"/api/builds/{build['id']}/cancel")).expect(200).json
    assert (cancelled["status"], cancelled["error"]) == ("FAILED", "cancelled by admin")
    assert "reason" not in cancelled
    again = await admin.post(f"/api/builds/{build['id']}/cancel")
    assert again.expect(409).json["error"] == "this build has finished already"
    (await admin.post("/api/builds/build-x/cancel")).expect(404)

    deployment = (await admin.post("/api/deploy", DEPLOY)).expect(202).json
    spec = await take(agent)
    path = f"/api/builds/{deployment['build_id']}/cancel"
    assert (await admin.post(path)).expect(200).json["status"] == "BUILDING"
    assert (await agent.renew(spec))["cancels"] == [lease_of(spec)]
    (await agent.complete(spec, status="failed", reason="cancelled")).expect(200)
    assert (await deployed(admin, deployment))["status"] == "STOPPED"


async def test_a_deleted_build_is_not_there_any_more(admin: Caller) -> None:
    deployment = (await admin.post("/api/deploy", DEPLOY)).expect(202).json
    (await admin.post(f"/api/deploy/{deployment['id']}/stop")).expect(200)
    core_id = deployment["build_url"].rpartition("/")[2]
    [project] = (await admin.get("/api/projects?accountId=default")).expect(200).json
    tenant = {"X-Tenant-ID": project["accountUuid"]}
    (await admin.call("DELETE", f"/api/v1/builds/{core_id}", headers=tenant)).expect(204)
    (await admin.get(f"/api/builds/{deployment['build_id']}")).expect(404)
    (await admin.get(f"/api/deploy/{deployment['id']}")).expect(404)
    assert (await start(admin))["status"] == "PENDING"


async def test_an_unknown_build_is_the_documents_404(admin: Caller) -> None:
    project = await admin.new_project()
    ordinary = await admin.new_build(project)
    for unknown in ("build-a1b2c3d4", "x", ordinary["id"], "build-" + "0" * 500, "%00"):
        answer = (await admin.get(f"/api/builds/{unknown}")).expect(404)
        assert answer.json == {"error": "build not found"}


async def test_without_a_token_nothing_is_told(coordinator: Coordinator) -> None:
    (await coordinator.nobody.post("/api/builds", REQUEST)).expect(401)
    (await coordinator.nobody.get("/api/builds/build-1")).expect(401)


async def test_a_viewer_reads_and_a_developer_builds(admin: Caller) -> None:
    developer = await admin.new_token(role="developer", account="default")
    viewer = await admin.new_token(role="viewer", account="default")
    await start(admin)  # whose project that makes
    build = await start(developer)
    assert await status(viewer, build) == build
    (await viewer.post("/api/builds", REQUEST)).expect(403)


async def test_another_accounts_build_is_not_there_and_its_uri_is_another(admin: Caller) -> None:
    await admin.new_project("neighbours")
    neighbour = await admin.new_token(role="maintainer", account="neighbours")
    mine, theirs = await start(admin), await start(neighbour)
    assert (await neighbour.get(f"/api/builds/{mine['id']}")).expect(404).json == {
        "error": "build not found"
    }
    assert theirs["image"] != mine["image"]


async def test_what_waits_says_for_what_and_what_to_do(admin: Caller, agent: AgentCaller) -> None:
    deployment = (await admin.post("/api/deploy", DEPLOY)).expect(202).json
    nobody = "no agent is connected: start one with `pushrod agent`"
    assert (deployment["status"], deployment["reason"]) == ("PENDING", nobody)
    await agent.poll()
    pending = await deployed(admin, deployment)
    assert (pending["status"], pending["reason"]) == (
        "PENDING",
        "no connected agent can build images: start one with `pushrod agent --engine buildkit`",
    )
    assert (await status(admin, {"id": deployment["build_id"]}))["reason"] == pending["reason"]
    spec = await take(agent)
    assert "reason" not in await deployed(admin, deployment)
    (await agent.complete(spec)).expect(200)
    starting = await deployed(admin, deployment)
    assert (starting["status"], starting["reason"]) == (
        "STARTING",
        "no connected agent has the labels deploy=true: "
        "start one with `pushrod agent --label deploy=true`",
    )


async def test_a_deployment_on_the_host_engine_says_which_engine_it_needs(
    admin: Caller, host: AgentCaller
) -> None:
    body = {"agent_name": "bot", "image": "registry.example/bot:1"}
    deployment = (await admin.post("/api/deploy", body)).expect(202).json
    await host.poll()  # without the capability to run images
    starting = await deployed(admin, deployment)
    assert starting["status"] == "STARTING"
    assert "`pushrod agent --engine buildkit --label deploy=true`" in starting["reason"]
    await host.poll(free=0, **CAPABLE)
    busy = await deployed(admin, deployment)
    assert "each running deployment keeps a slot" in busy["reason"]


OPTIONAL = {
    "/api/builds": (REQUEST, ("entry_point", "requirements", "framework")),
    "/api/deploy": (
        {"agent_name": "x", "source_files": AGENT},
        ("entry_point", "requirements", "framework", "image", "llm_configs", "health_check"),
    ),
}


@pytest.mark.parametrize("path", OPTIONAL)
async def test_null_is_as_good_as_absent_for_every_optional_field(admin: Caller, path: str) -> None:
    body, names = OPTIONAL[path]
    schema = (await admin.get("/api/openapi.json")).expect(200).json
    content = schema["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    model = schema["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
    optional = model["properties"].keys() - set(model["required"])
    assert optional - {"source_files"} == set(names)
    plain = {name: value for name, value in body.items() if name not in names}
    absent = (await admin.post(path, plain)).expect(202).json
    given = (await admin.post(path, {**plain, **dict.fromkeys(names)})).expect(202).json
    assert given["image"] == absent["image"]


async def test_an_empty_text_is_as_good_as_absent(admin: Caller) -> None:
    absent = await start(admin, entry_point=None)
    assert (await start(admin, entry_point="", framework=""))["image"] == absent["image"]
    given = await start(admin, files={f"./{name}": text for name, text in AGENT.items()})
    assert given["image"] == absent["image"]
    body = {**DEPLOY, "source_files": AGENT, "entry_point": "", "framework": "", "image": ""}
    assert (await admin.post("/api/deploy", body)).expect(202).json["image"] == absent["image"]
    image = {"agent_name": "x", "image": "registry.example/x:1", "entry_point": ""}
    (await admin.post("/api/deploy", image)).expect(202)


# Where it goes


async def test_the_sources_reach_the_agent_as_a_commit_of_a_project_of_that_name(
    coordinator: Coordinator, admin: Caller, agent: AgentCaller, tmp_path: Path
) -> None:
    files = {"agent.py": "import yaml\nimport tools\n", "tools.py": "import os\n"}
    await start(admin, files=files)
    spec = await take(agent)
    assert spec["source"]["url"].endswith("/git/default/my-agent.git")
    folder = tmp_path / "work"
    folder.mkdir()
    await try_git(folder, "init", "-q")
    environment = coordinator.push_environment(Caller(coordinator, spec["token"]))
    source = spec["source"]
    fetched = await try_git(
        folder, "fetch", "-q", source["url"], source["commit"], environment=environment
    )
    assert fetched.exit_code == 0, fetched.errors
    await try_git(folder, "checkout", "-q", "FETCH_HEAD")
    assert (folder / "tools.py").read_text() == "import os\n"
    assert (folder / "requirements.txt").read_text() == "pyyaml\n"
    assert (folder / "Dockerfile").read_text().startswith("FROM python:3.11-slim\n")


async def test_all_builds_of_a_name_are_of_one_project(admin: Caller) -> None:
    await admin.new_project("default", "my-agent")
    await start(admin)
    await start(admin, files={"agent.py": "1"})
    projects = (await admin.get("/api/projects?accountId=default")).expect(200).json
    assert sorted(project["slug"] for project in projects) == ["my-agent", "my-agent-2"]
    made = next(project for project in projects if project["slug"] == "my-agent-2")
    assert [build["number"] for build in await admin.builds(made)] == [2, 1]


@pytest.mark.usefixtures("each_storage")
async def test_a_change_of_settings_shows_in_the_dockerfile_and_the_uri(tmp_path: Path) -> None:
    settings = {
        "image_registry": "registry.example/agents",
        "image_base_python": "registry.example/python:3.12",
        "image_pip_index_url": "http://pip.example/simple",
    }
    async with open_coordinator(tmp_path, **settings) as coordinator:
        build = await start(coordinator.admin)
        assert build["image"].startswith("registry.example/agents/default/my-agent:")


async def test_what_is_posted_stands_in_the_audit_log(admin: Caller) -> None:
    build = await start(admin)
    entries = (await admin.get("/api/audit-logs")).expect(200).json
    listed = entries if isinstance(entries, list) else next(iter(entries.values()))
    details = [entry["details"] for entry in listed if entry["action"] == "build.created"]
    assert json.dumps(details).count(build["image"]) == 1


# Deploy


DEPLOY: dict[str, Any] = {
    "agent_name": "my-agent",
    "source_files": {"agent.py": "...", "requirements.txt": "openai>=1.0"},
    "entry_point": "agent.py",
    "llm_configs": [{"provider": "openai", "model": "gpt-4o-mini"}],
}


@pytest.fixture
async def host(admin: Caller) -> AgentCaller:
    """An agent that deployments run on."""
    registrar = await admin.new_token(kind="registration", account="default")
    return await registrar.new_agent("host", labels={"deploy": "true"})


async def deployed(caller: Caller, deployment: Mapping[str, Any]) -> dict[str, Any]:
    answer = await caller.get(f"/api/deploy/{deployment['id']}")
    return dict(answer.expect(200).json)


async def run_image(caller: Caller, host: AgentCaller, name: str = "bot") -> tuple[Any, Any]:
    """A deployment of an image that is there, and the running spec of its program."""
    body = {"agent_name": name, "image": "registry.example/bot:1"}
    deployment = (await caller.post("/api/deploy", body)).expect(202).json
    return deployment, await take(host)


async def test_sources_without_an_image_are_built_and_then_run(
    admin: Caller, agent: AgentCaller, host: AgentCaller
) -> None:
    deployment = (await admin.post("/api/deploy", DEPLOY)).expect(202).json
    assert deployment["status"] == "PENDING"
    assert deployment["image"].startswith("127.0.0.1:5000/default/my-agent:")
    build = {"id": deployment["build_id"]}
    assert (await status(admin, build))["status"] == "PENDING"

    spec = await take(agent)
    assert (await deployed(admin, deployment))["status"] == "BUILDING"
    done = {"images": [{"reference": deployment["image"], "digest": f"sha256:{'b' * 64}"}]}
    (await agent.complete(spec, **done)).expect(200)
    assert (await status(admin, build))["status"] == "SUCCEEDED"
    starting = await deployed(admin, deployment)
    assert starting["status"] == "STARTING"
    assert starting["reason"]

    program = await take(host)
    assert (program["image"], program["ownCommand"]) == (deployment["image"], True)
    assert json.loads(program["env"]["LLM_CONFIGS"]) == DEPLOY["llm_configs"]
    assert "source" not in program
    running = await deployed(admin, deployment)
    assert running["status"] == "RUNNING"
    assert MOMENT.fullmatch(running["started_at"])
    assert "reason" not in running
    assert (await status(admin, build))["status"] == "SUCCEEDED"


async def test_a_given_image_is_run_without_a_build(admin: Caller, host: AgentCaller) -> None:
    deployment, program = await run_image(admin, host)
    assert "build_id" not in deployment
    assert program["image"] == "registry.example/bot:1"
    (await host.complete(program)).expect(200)
    ended = await deployed(admin, deployment)
    assert ended["status"] == "COMPLETED"
    assert MOMENT.fullmatch(ended["completed_at"])


async def test_only_an_agent_labelled_for_it_runs_deployments(
    admin: Caller, agent: AgentCaller, host: AgentCaller
) -> None:
    body = {"agent_name": "bot", "image": "registry.example/bot:1"}
    (await admin.post("/api/deploy", body)).expect(202)
    assert (await agent.poll(**CAPABLE))["offers"] == []
    assert len((await host.poll(**CAPABLE))["offers"]) == 1


async def test_a_stopped_deployment_ends_once_its_program_is_dead(
    admin: Caller, host: AgentCaller
) -> None:
    deployment, program = await run_image(admin, host)
    (await admin.post(f"/api/deploy/{deployment['id']}/stop")).expect(200)
    cancels = (await host.poll(free=0, leases=[lease_of(program)]))["cancels"]
    assert cancels == [lease_of(program)]
    (await host.complete(program, status="failed", reason="cancelled")).expect(200)
    assert (await deployed(admin, deployment))["status"] == "STOPPED"
    again = await admin.post(f"/api/deploy/{deployment['id']}/stop")
    assert "it is STOPPED" in again.expect(409).json["error"]


async def test_a_newer_deployment_of_the_name_takes_the_olds_place_once_it_runs(
    admin: Caller, host: AgentCaller
) -> None:
    old, old_program = await run_image(admin, host)
    other, _ = await run_image(admin, host, "other")
    body = {"agent_name": "bot", "image": "registry.example/bot:2"}
    new = (await admin.post("/api/deploy", body)).expect(202).json
    assert "replaced_by" not in await deployed(admin, old)
    await take(host)
    assert (await deployed(admin, new))["status"] == "RUNNING"
    replaced = await deployed(admin, old)
    assert (replaced["status"], replaced["replaced_by"]) == ("RUNNING", new["id"])
    renewed = await host.renew(old_program)
    assert renewed["cancels"] == [lease_of(old_program)]
    (await host.complete(old_program, status="failed", reason="cancelled")).expect(200)
    assert (await deployed(admin, old))["status"] == "STOPPED"
    assert (await deployed(admin, other))["status"] == "RUNNING"


async def test_a_lost_agents_program_starts_again_however_often(
    admin: Caller, host: AgentCaller
) -> None:
    deployment, program = await run_image(admin, host)
    for _ in range(7):
        (await host.complete(program, status="failed", reason="lost")).expect(200)
        program = await take(host)
    assert (await deployed(admin, deployment))["status"] == "RUNNING"


async def test_a_program_that_fails_says_how(admin: Caller, host: AgentCaller) -> None:
    deployment, program = await run_image(admin, host)
    end = {"status": "failed", "exitCode": 3, "message": "the program ended with exit code 3"}
    (await host.complete(program, **end)).expect(200)
    ended = await deployed(admin, deployment)
    assert (ended["status"], ended["error"]) == ("FAILED", "the program ended with exit code 3")
    core_id = deployment["build_url"].rpartition("/")[2]
    projects = (await admin.get("/api/projects?accountId=default")).expect(200).json
    again = await admin.post(f"/api/projects/{projects[0]['id']}/builds/{core_id}/retry")
    assert "POST /api/deploy" in again.expect(409).json["error"]


async def test_a_deployment_whose_image_fails_has_failed_for_that_reason(
    admin: Caller, agent: AgentCaller
) -> None:
    deployment = (await admin.post("/api/deploy", DEPLOY)).expect(202).json
    spec = await take(agent)
    failure = {"status": "failed", "reason": "image", "message": "denied: no right to push"}
    (await agent.complete(spec, **failure)).expect(200)
    ended = await deployed(admin, deployment)
    assert (ended["status"], ended["error"]) == ("FAILED", "denied: no right to push")
    built = await status(admin, {"id": deployment["build_id"]})
    assert (built["status"], built["error"]) == ("FAILED", "denied: no right to push")


async def test_a_program_gets_its_projects_secrets(admin: Caller, host: AgentCaller) -> None:
    deployment, _ = await run_image(admin, host)
    projects = (await admin.get("/api/projects?accountId=default")).expect(200).json
    [project] = [one for one in projects if one["name"] == "bot"]
    secret = {"value": "sk-sesame"}
    path = f"/api/projects/{project['id']}/secrets/OPENAI_API_KEY"
    (await admin.call("PUT", path, json=secret)).expect(200)
    _, program = await run_image(admin, host)
    assert program["secrets"] == {"OPENAI_API_KEY": "sk-sesame"}
    assert "sesame" not in json.dumps(await deployed(admin, deployment))


HEALTH = {"port": 8000, "path": "/healthz", "start_seconds": 90}


async def checked_image(
    caller: Caller, host: AgentCaller, name: str = "bot"
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A deployment that is asked for its health, and the running spec of its program."""
    body = {"agent_name": name, "image": "registry.example/bot:1", "health_check": HEALTH}
    deployment = (await caller.post("/api/deploy", body)).expect(202).json
    return deployment, await take(host)


async def tell_healthy(host: AgentCaller, program: Mapping[str, Any]) -> Any:
    path = f"/api/runner/{program['stepId']}/healthy"
    return await host.post(path, {"epoch": program["epoch"]})


async def test_a_deployment_is_starting_until_its_health_check_has_answered(
    admin: Caller, host: AgentCaller
) -> None:
    deployment, program = await checked_image(admin, host)
    assert program["health"] == {"port": 8000, "path": "/healthz", "startSeconds": 90.0}
    starting = await deployed(admin, deployment)
    assert starting["health_check"] == HEALTH
    assert (starting["status"], starting["reason"]) == (
        "STARTING",
        "its health check has not answered yet",
    )
    for _ in range(2):
        (await tell_healthy(host, program)).expect(200)
    running = await deployed(admin, deployment)
    assert (running["status"], running["restarts"]) == ("RUNNING", 0)
    assert "reason" not in running
    words = "health check: port 8000 took no connection 3 times in a row"
    failure = {"status": "failed", "exitCode": 1, "message": words}
    (await host.complete(program, **failure)).expect(200)
    ended = await deployed(admin, deployment)
    assert (ended["status"], ended["error"]) == ("FAILED", words)
    (await tell_healthy(host, program)).expect(409)


async def test_a_restarted_program_is_asked_for_its_health_again(
    admin: Caller, host: AgentCaller
) -> None:
    deployment, program = await checked_image(admin, host)
    (await tell_healthy(host, program)).expect(200)
    lost = {"status": "failed", "reason": "lost", "message": "the agent was stopped"}
    (await host.complete(program, **lost)).expect(200)
    again = await take(host)
    assert again["epoch"] > program["epoch"]
    starting = await deployed(admin, deployment)
    assert (starting["status"], starting["restarts"]) == ("STARTING", 1)
    assert "stale" in (await tell_healthy(host, program)).expect(409).text
    assert (await deployed(admin, deployment))["status"] == "STARTING"
    (await tell_healthy(host, again)).expect(200)
    assert (await deployed(admin, deployment))["status"] == "RUNNING"


async def test_a_newer_deployment_takes_the_olds_place_only_once_it_is_well(
    admin: Caller, host: AgentCaller
) -> None:
    old, _ = await run_image(admin, host)
    new, program = await checked_image(admin, host)
    assert (await deployed(admin, old))["status"] == "RUNNING"
    (await tell_healthy(host, program)).expect(200)
    assert (await deployed(admin, old))["replaced_by"] == new["id"]


async def test_only_a_program_that_is_asked_can_be_told_well_and_only_by_its_holder(
    admin: Caller, host: AgentCaller, agent: AgentCaller
) -> None:
    _, plain = await run_image(admin, host)
    assert "no health check" in (await tell_healthy(host, plain)).expect(409).text
    deployment, program = await checked_image(admin, host, "other")
    assert (await tell_healthy(agent, program)).status in (403, 404, 409)
    assert (await deployed(admin, deployment))["status"] == "STARTING"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"image": "registry.example/x:1"}, "either source_files or an image"),
        ({"source_files": None}, "either source_files or an image"),
        ({"source_files": {}}, "at least the program"),
        ({"source_files": {"../a.py": ""}}, "`..`"),
        ({"source_files": None, "image": "$(id)"}, "write an image's reference, such as"),
        ({"entrypoint": "a.py"}, "did you mean 'entry_point'?"),
        ({"source_files": None, "image": "x", "framework": "flask"}, "framework belong to"),
        ({"source_files": None, "image": "x"}, "belong to source_files"),
        ({"agent_name": "!"}, "letters a to z"),
        ({"health_check": {"port": 0}}, "at least 1"),
        ({"health_check": {"path": "healthz"}}, "health_check"),
        ({"health_check": {"path": "/a b"}}, "health_check"),
        ({"health_check": {"start_seconds": 10_000}}, "3600"),
        ({"llm_configs": [{"provider": "openai"}]}, "missing"),
        ({"llm_configs": [{"provider": "x", "model": "y", "api_key": "z"}]}, "pushrod secret set"),
        ({"llm_configs": [{"provider": "x", "model": "y", "z": "z" * 40_000}]}, "bytes of JSON"),
    ],
)
async def test_a_bad_deployment_is_a_400_that_says_what_to_write(
    admin: Caller, changes: dict[str, Any], says: str
) -> None:
    answer = (await admin.post("/api/deploy", {**DEPLOY, **changes})).expect(400)
    assert says in json.dumps(answer.json["details"], ensure_ascii=False)
    assert all(detail["path"] for detail in answer.json["details"])
    assert "sk-" not in answer.text


@pytest.mark.parametrize(
    ("name", "meant"), [("entrypoint", "entry_point"), ("requirement", "requirements")]
)
async def test_a_misspelt_field_of_a_build_is_refused(admin: Caller, name: str, meant: str) -> None:
    body = {"name": "x", "files": {"agent.py": ""}, name: "agent.py"}
    [detail] = (await admin.post("/api/builds", body)).expect(400).json["details"]
    assert detail["path"] == name
    assert f"did you mean {meant!r}?" in detail["message"]


async def test_deployments_are_listed_newest_first(admin: Caller, host: AgentCaller) -> None:
    first, _ = await run_image(admin, host, "first")
    second, _ = await run_image(admin, host, "second")
    listed = (await admin.get("/api/deploy")).expect(200).json
    assert [one["id"] for one in listed["deployments"]] == [second["id"], first["id"]]
    assert listed["pagination"] == {"total": 2, "limit": 20, "offset": 0, "has_more": False}
    page = (await admin.get("/api/deploy?limit=1&offset=1")).expect(200).json
    assert [one["id"] for one in page["deployments"]] == [first["id"]]
    assert (await admin.get("/api/deploy?limit=1")).json["pagination"]["has_more"] is True
    (await admin.get("/api/deploy?limit=x")).expect(400)
    (await admin.get("/api/deploy/deploy-x")).expect(404)
