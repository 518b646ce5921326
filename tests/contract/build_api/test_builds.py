"""The Build API (specification 002) over real HTTP: what a build is asked for with and becomes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.contract.build_api.calls import AGENT, DEPLOY, MOMENT, REQUEST, start, status, take
from tests.integration.coordinator_fixture import (
    AgentCaller,
    Caller,
    Coordinator,
    open_coordinator,
    try_git,
)

REQUEST_FIELDS = {
    # field: (type, required)
    "name": ("string", True),
    "files": ("object", True),
    "entry_point": ("string", False),
    "requirements": ("string", False),
    "framework": ("string", False),
}
RESPONSE_FIELDS = ("id", "status", "image", "created_at")


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


@pytest.mark.parametrize(
    ("name", "meant"), [("entrypoint", "entry_point"), ("requirement", "requirements")]
)
async def test_a_misspelt_field_of_a_build_is_refused(admin: Caller, name: str, meant: str) -> None:
    body = {"name": "x", "files": {"agent.py": ""}, name: "agent.py"}
    [detail] = (await admin.post("/api/builds", body)).expect(400).json["details"]
    assert detail["path"] == name
    assert f"did you mean {meant!r}?" in detail["message"]


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
