"""The Build Synthesis API (specification 000), as a table of our own, over real HTTP."""

from __future__ import annotations

import io
import json
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import (
    AgentCaller,
    Answer,
    Caller,
    new_work_tree,
    open_coordinator,
)

TRIGGER = "/api/build_synthesis/trigger"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
UNKNOWN = "00000000-0000-0000-0000-000000000000"
# The document's objects: member → type, and whether it is always there.
TRIGGERED = {"build_id": (str, True), "status_url": (str, True), "message": (str, True)}
STATUS = {
    "build_id": (str, True),
    "module_name": (str, True),
    "status": (str, True),
    "start_time": (str, False),
    "end_time": (str, False),
    "logs_url": (str, True),
    "artifacts": (list, True),
}
ARTIFACT = {"name": (str, True), "url": (str, True), "size": (int, True)}
STATUS_WORDS = {"pending", "running", "succeeded", "failed"}
MODULES = """
modules:
  data_visualization:
    path: libs/visualization
    targets:
      default: ci
      production_bundle: {workflow: release, step: bundle}
      strict: .pushrod/strict.yml
"""
CI = "name: ci\non: {tag: v*}\nsteps: [{name: test, image: base, run: 'true'}]\n"
RELEASE = """
name: release
on: {tag: v*}
steps:
  - {name: compile, image: base, run: 'true', outputPaths: [dist/], cacheDirs: [~/.cache/x]}
  - {name: bundle, image: base, run: 'true', dependsOn: compile, outputPaths: [dist/]}
  - {name: publish, image: base, run: 'true', dependsOn: bundle}
"""
STRICT = """
name: strict
on:
  manual:
    params:
      level: {oneOf: [low, high]}
      note:
steps: [{name: test, image: base, run: 'true'}]
"""
FILES = {
    ".pushrod/modules.yml": MODULES,
    ".pushrod/ci.yml": CI,
    ".pushrod/release.yml": RELEASE,
    ".pushrod/strict.yml": STRICT,
    "libs/visualization/chart.js": "draw()",
}


def check(table: Mapping[str, tuple[type, bool]], shown: Mapping[str, Any]) -> None:
    """The object has what the document lists, in its own words, and nothing is null."""
    for name, (type_, always) in table.items():
        assert name in shown or not always, (name, shown)
        assert type(shown.get(name)) is type_ or name not in shown, (name, shown)
    for name, value in shown.items():
        assert re.fullmatch("[a-z]+(_[a-z]+)*", name), name
        assert value is not None, f"{name} is null: an absent value is left out"


def check_status(shown: Mapping[str, Any]) -> None:
    check(STATUS, shown)
    assert shown["status"] in STATUS_WORDS
    for name in ("start_time", "end_time"):
        assert name not in shown or TIME.fullmatch(shown[name]), shown
    for artifact in shown["artifacts"]:
        check(ARTIFACT, artifact)


def check_error(answer: Answer) -> dict[str, Any]:
    body: dict[str, Any] = answer.json
    assert isinstance(body["error"], str)
    assert body["error"]
    assert set(body) <= {"error", "details"}
    for detail in body.get("details", []):
        assert set(detail) == {"path", "message"}
    return body


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[Caller]:
    async with open_coordinator(tmp_path, poll_hold_seconds=1) as coordinator:
        yield coordinator.admin


@pytest.fixture
async def project(admin: Caller, tmp_path: Path) -> dict[str, Any]:
    project = await admin.new_project()
    tree = await new_work_tree(tmp_path, admin, project)
    await tree.commit(FILES)
    await tree.push()
    return project


@pytest.fixture
async def agent(admin: Caller) -> AgentCaller:
    return await admin.new_agent()


async def trigger(caller: Caller, **body: Any) -> dict[str, Any]:
    answer = await caller.post(TRIGGER, {"module_name": "data_visualization", **body})
    shown: dict[str, Any] = answer.expect(202).json
    check(TRIGGERED, shown)
    assert set(shown) == set(TRIGGERED)
    return shown


async def status_of(caller: Caller, triggered: Mapping[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = (await caller.get(triggered["status_url"])).expect(200).json
    check_status(shown)
    return shown


# The document's examples


async def test_the_documents_request_is_answered_as_its_example_is(
    admin: Caller, project: dict[str, Any]
) -> None:
    request = json.loads("""
    {
      "module_name": "data_visualization",
      "build_target": "production_bundle",
      "clean_build": true
    }
    """)
    answer = (await admin.post(TRIGGER, request)).expect(202)
    build_id = answer.json["build_id"]
    assert answer.json == {
        "build_id": build_id,
        "status_url": f"/api/build_synthesis/status/{build_id}",
        "message": "Build triggered for data_visualization module.",
    }
    assert answer.headers["Content-Type"].startswith("application/json")


async def test_an_unknown_module_is_refused_in_the_documents_words(
    admin: Caller, project: dict[str, Any]
) -> None:
    answer = await admin.post(TRIGGER, {"module_name": "unknown_module"})
    assert answer.expect(400).json == {
        "error": "Module 'unknown_module' not found or build target invalid.",
        "details": [
            {
                "path": "module_name",
                "message": "a module is declared in `.pushrod/modules.yml` on its project's "
                "default branch; a whole project is one by its slug once it was pushed to",
            }
        ],
    }


async def test_an_unknown_target_is_refused_in_the_documents_words_and_named(
    admin: Caller, project: dict[str, Any]
) -> None:
    body = {"module_name": "data_visualization", "build_target": "docker_image"}
    said = check_error((await admin.post(TRIGGER, body)).expect(400))
    assert said["error"] == "Module 'data_visualization' not found or build target invalid."
    assert said["details"] == [
        {
            "path": "build_target",
            "message": "the module has no target `docker_image`: its targets are `default`, "
            "`production_bundle`, `strict`",
        }
    ]
    assert await admin.builds(project) == []


async def test_a_finished_builds_status_is_as_the_documents_example(
    admin: Caller, project: dict[str, Any], agent: AgentCaller
) -> None:
    triggered = await trigger(admin, build_target="production_bundle", clean_build=True)
    for name in ("compile", "bundle"):
        spec = await agent.take()
        assert spec["name"] == name
        if name == "bundle":
            await agent.upload(spec, "dist/bundle.js", b"bundled")
        (await agent.complete(spec)).expect(200)
    shown = await status_of(admin, triggered)
    [artifact] = shown.pop("artifacts")
    times = shown.pop("start_time"), shown.pop("end_time")
    assert times[0] <= times[1]
    assert shown == {
        "build_id": triggered["build_id"],
        "module_name": "data_visualization",
        "status": "succeeded",
        "logs_url": f"/api/build_synthesis/logs/{triggered['build_id']}",
    }
    assert artifact["name"] == "dist/bundle.js"
    assert artifact["size"] == 7
    download = (await admin.get(artifact["url"])).expect(200)
    assert download.body == b"bundled"
    assert download.headers["Content-Disposition"].startswith("attachment;")
    assert download.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in download.headers["Content-Security-Policy"]


# Targets


async def test_without_a_target_the_default_one_is_built(
    admin: Caller, project: dict[str, Any], agent: AgentCaller
) -> None:
    await trigger(admin)
    spec = await agent.take()
    build = await admin.build(spec["buildId"])
    assert [step["name"] for step in build["steps"]] == ["test"]
    assert build["module"]["target"] == "default"
    assert build["workflow"] == "ci"
    assert spec["clean"] is False


async def test_a_target_that_is_a_step_is_built_with_what_it_depends_on(
    admin: Caller, project: dict[str, Any]
) -> None:
    triggered = await trigger(admin, build_target="production_bundle")
    build = await admin.build(triggered["build_id"])
    assert [step["name"] for step in build["steps"]] == ["compile", "bundle"]


async def test_a_build_is_of_the_default_branchs_tip_and_its_steps_know_their_module(
    admin: Caller, project: dict[str, Any], agent: AgentCaller
) -> None:
    triggered = await trigger(admin, build_target="production_bundle", clean_build=True)
    build = await admin.build(triggered["build_id"])
    assert (build["branch"], build["event"]) == ("main", "manual")
    spec = await agent.take()
    assert spec["source"]["commit"] == build["commitHash"]
    assert spec["clean"] is True
    wanted = {
        "PUSHROD_MODULE": "data_visualization",
        "PUSHROD_MODULE_PATH": "libs/visualization",
        "PUSHROD_BUILD_TARGET": "production_bundle",
        "PUSHROD_CLEAN_BUILD": "true",
    }
    assert wanted.items() <= spec["env"].items()


async def test_the_audit_log_has_who_built_which_module(
    admin: Caller, project: dict[str, Any]
) -> None:
    triggered = await trigger(admin, clean_build=True)
    logged = (await admin.get(f"/api/audit-logs?projectId={project['id']}")).json["auditLogs"]
    [entry] = [one for one in logged if one["action"] == "build.created"]
    details = entry["details"]
    assert details["build"] == triggered["build_id"]
    assert (details["module"]["name"], details["clean"]) == ("data_visualization", True)
    assert details["by"]


# The address of a module's artifacts


async def built(admin: Caller, agent: AgentCaller, content: bytes, **completion: Any) -> str:
    """Id of a build that has ended, with one artifact."""
    triggered = await trigger(admin)
    spec = await agent.take()
    (await agent.upload(spec, "dist/bundle%20%C3%BC.js", content)).expect(201)
    (await agent.complete(spec, **completion)).expect(200)
    return str(triggered["build_id"])


async def test_a_modules_address_gives_the_artifact_of_its_newest_success(
    admin: Caller, project: dict[str, Any], agent: AgentCaller
) -> None:
    address = "/artifacts/data_visualization/dist/bundle%20%C3%BC.js"
    (await admin.get(address)).expect(404)
    await built(admin, agent, b"first")
    newest = await built(admin, agent, b"second")
    failed = await built(admin, agent, b"broken", status="failed")
    answer = (await admin.get(address)).expect(200)
    assert answer.body == b"second"
    assert answer.headers["Content-Disposition"].startswith("attachment;")
    assert (await admin.get(f"{address}?project={project['slug']}")).expect(200).body == b"second"
    pinned = f"{address}?build={failed}"
    assert (await admin.get(pinned)).expect(200).body == b"broken"
    shown = await status_of(admin, {"status_url": f"/api/build_synthesis/status/{failed}"})
    assert [one["url"] for one in shown["artifacts"]] == [pinned]
    for wrong in ("/artifacts/data_visualization/none", f"/artifacts/other/x?build={newest}"):
        (await admin.get(wrong)).expect(404)
    (await admin.get(f"{address}?buidl={newest}")).expect(400)


# Parameters


async def test_any_parameters_reach_the_scripts_of_a_workflow_that_declares_none(
    admin: Caller, project: dict[str, Any], agent: AgentCaller
) -> None:
    given = {"optimization": "O2; rm -rf $HOME", "jobs": 4, "debug": False, "ratio": 0.5}
    await trigger(admin, build_parameters=given)
    env = (await agent.take())["env"]
    assert {name: env[f"PUSHROD_PARAM_{name.upper()}"] for name in given} == {
        "optimization": "O2; rm -rf $HOME",
        "jobs": "4",
        "debug": "false",
        "ratio": "0.5",
    }


async def test_declared_parameters_follow_the_workflows_rules(
    admin: Caller, project: dict[str, Any], agent: AgentCaller
) -> None:
    await trigger(admin, build_target="strict", build_parameters={"note": "x"})
    env = (await agent.take())["env"]
    assert (env["PUSHROD_PARAM_LEVEL"], env["PUSHROD_PARAM_NOTE"]) == ("low", "x")


@pytest.mark.parametrize(
    ("target", "given", "problems"),
    [
        (
            "strict",
            {"level": "middle", "nope": 1},
            {
                "nope": "there is no parameter `nope`: did you mean `note`?",
                "level": "`level` must be one of `low`, `high`, not `middle`",
                "note": "the parameter `note` is missing, and has no default",
            },
        ),
        (
            "default",
            {"a-b": "x", "1": "x", "": "x", "long": "x" * 10_001, "Twice": 1, "TWICE": 2},
            {"a-b": "letters", "1": "letters", "": "letters", "long": "10,000", "TWICE": "same"},
        ),
        ("default", {f"p{n}": n for n in range(51)}, {"p0": "at most 50"}),
    ],
)
async def test_each_wrong_parameter_is_named(
    admin: Caller,
    project: dict[str, Any],
    target: str,
    given: dict[str, Any],
    problems: dict[str, str],
) -> None:
    body = {
        "module_name": "data_visualization",
        "build_target": target,
        "build_parameters": given,
    }
    said = check_error((await admin.post(TRIGGER, body)).expect(400))
    found = {
        one["path"].removeprefix("build_parameters."): one["message"] for one in said["details"]
    }
    assert found.keys() == problems.keys()
    for name, text in problems.items():
        assert text in found[name]
    assert await admin.builds(project) == []


# Status words


async def test_the_status_follows_the_build(
    admin: Caller, project: dict[str, Any], agent: AgentCaller
) -> None:
    triggered = await trigger(admin)
    pending = await status_of(admin, triggered)
    assert pending["status"] == "pending"
    assert not {"start_time", "end_time"} & pending.keys()
    assert pending["artifacts"] == []
    assert "agent" in pending["reason"], "why it waits"
    spec = await agent.take()
    running = await status_of(admin, triggered)
    assert running["status"] == "running"
    assert "reason" not in running
    assert "start_time" in running
    assert "end_time" not in running
    (await agent.complete(spec, status="failed", exitCode=1)).expect(200)
    failed = await status_of(admin, triggered)
    assert failed["status"] == "failed"
    assert "end_time" in failed


async def test_a_cancelled_build_failed_and_says_by_whom_it_was_cancelled(
    admin: Caller, project: dict[str, Any]
) -> None:
    triggered = await trigger(admin)
    cancel = f"/api/projects/-/builds/{triggered['build_id']}/cancel"
    (await admin.post(cancel)).expect(200)
    shown = await status_of(admin, triggered)
    assert shown["status"] == "failed"
    assert shown["reason"].startswith("cancelled by")


async def test_a_retried_build_is_one_of_the_module_too(
    admin: Caller, project: dict[str, Any], agent: AgentCaller
) -> None:
    triggered = await trigger(admin)
    (await agent.complete(await agent.take())).expect(200)
    retry = await admin.post(f"/api/projects/-/builds/{triggered['build_id']}/retry")
    again = retry.expect(201).json["id"]
    shown = await status_of(admin, {"status_url": f"/api/build_synthesis/status/{again}"})
    assert (shown["module_name"], shown["status"]) == ("data_visualization", "pending")


async def test_a_build_that_lacked_a_secret_is_retried_as_the_target_it_was(
    admin: Caller, project: dict[str, Any], tmp_path: Path
) -> None:
    tree = await new_work_tree(tmp_path, admin, project, "second")
    await tree.git("pull", "-q", "origin", "main")
    await tree.commit(
        {".pushrod/release.yml": RELEASE.replace("compile, ", "compile, secrets: KEY, ")}
    )
    await tree.push()
    triggered = await trigger(admin, build_target="production_bundle")
    assert (await status_of(admin, triggered))["reason"] == "missing secret: KEY"
    secret = f"/api/projects/{project['id']}/secrets/KEY"
    (await admin.call("PUT", secret, json={"value": "secret"})).expect(200)
    retry = await admin.post(f"/api/projects/-/builds/{triggered['build_id']}/retry")
    build = await admin.build(retry.expect(201).json["id"])
    assert [step["name"] for step in build["steps"]] == ["compile", "bundle"]
    assert build["module"]["step"] == "bundle"


@pytest.mark.parametrize("what", ["status", "logs"])
async def test_what_is_no_build_of_a_module_is_not_found(
    admin: Caller, project: dict[str, Any], what: str
) -> None:
    other = await admin.new_build(project)
    for build_id in (UNKNOWN, "build_job_456", other["id"], "%00", "%F0%9F%92%A9", "x" * 5000):
        answer = await admin.get(f"/api/build_synthesis/{what}/{build_id}")
        assert check_error(answer.expect(404)) == {"error": "build not found"}


# Artifacts


async def test_different_files_of_one_path_are_told_apart_and_equal_ones_stand_once(
    admin: Caller, project: dict[str, Any], agent: AgentCaller
) -> None:
    triggered = await trigger(admin, build_target="production_bundle")
    for name in ("compile", "bundle"):
        spec = await agent.take()
        await agent.upload(spec, "dist/same", b"same")
        await agent.upload(spec, "dist/report%20%231.txt", f"by {name}".encode())
        if name == "compile":
            assert (await status_of(admin, triggered))["artifacts"] == []
        (await agent.complete(spec)).expect(200)
    artifacts = (await status_of(admin, triggered))["artifacts"]
    assert [artifact["name"] for artifact in artifacts] == [
        "compile/dist/report #1.txt",
        "dist/same",
        "bundle/dist/report #1.txt",
    ]
    bodies = [(await admin.get(one["url"])).expect(200).body for one in artifacts]
    assert bodies == [b"by compile", b"same", b"by bundle"]
    assert [artifact["size"] for artifact in artifacts] == [len(body) for body in bodies]


# Logs


async def test_the_logs_are_those_of_all_steps_in_order(
    admin: Caller, project: dict[str, Any], agent: AgentCaller
) -> None:
    triggered = await trigger(admin, build_target="production_bundle")
    logs_url = (await status_of(admin, triggered))["logs_url"]
    first = await agent.take()
    (await agent.append(first, 0, b"compiling\n")).expect(204)
    running = (await admin.get(logs_url)).expect(200)
    assert running.text == (
        "=== step compile: running ===\ncompiling\n=== step bundle: blocked ===\n"
    )
    (await agent.complete(first)).expect(200)
    second = await agent.take()
    (await agent.append(second, 0, b"no closing newline")).expect(204)
    failure = {"status": "failed", "exitCode": 3, "message": "One thing.\nAnother."}
    (await agent.complete(second, **failure)).expect(200)
    ended = (await admin.get(logs_url)).expect(200)
    assert ended.text == (
        "=== step compile: succeeded ===\n"
        "compiling\n"
        "=== step bundle: failed (exit code 3) ===\n"
        "no closing newline\n"
        "=== One thing.\n"
        "=== Another.\n"
    )
    assert ended.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert ended.headers["X-Content-Type-Options"] == "nosniff"


async def test_each_attempt_of_a_step_has_its_part_of_the_logs(
    admin: Caller, project: dict[str, Any], agent: AgentCaller
) -> None:
    triggered = await trigger(admin)
    first = await agent.take()
    (await agent.append(first, 0, b"one\n")).expect(204)
    (await agent.complete(first, status="failed", exitCode=None, reason="lost")).expect(200)
    second = await agent.take()
    (await agent.append(second, 0, b"two\n")).expect(204)
    (await agent.complete(second)).expect(200)
    text = (await admin.get((await status_of(admin, triggered))["logs_url"])).text
    assert [line for line in text.splitlines() if "===" not in line] == ["one", "two"]
    assert "=== step test, attempt 1: lost" in text
    assert "=== step test, attempt 2: succeeded ===" in text


async def test_long_logs_come_whole(
    admin: Caller, project: dict[str, Any], agent: AgentCaller
) -> None:
    triggered = await trigger(admin)
    spec = await agent.take()
    part = b"".join(b"%07d\n" % number for number in range(100_000))
    for number in range(4):
        (await agent.append(spec, number * len(part), part)).expect(204)
    (await agent.complete(spec)).expect(200)
    whole = (await admin.get((await status_of(admin, triggered))["logs_url"])).expect(200)
    heading, _, body = whole.body.partition(b"\n")
    assert heading == b"=== step test: succeeded ==="
    assert body == part * 4


async def test_the_logs_of_a_build_that_never_had_steps_say_why(
    admin: Caller, project: dict[str, Any], tmp_path: Path
) -> None:
    secret = "name: ci\non: {tag: v*}\nsteps: [{name: a, image: b, run: x, secrets: [KEY]}]\n"
    tree = await new_work_tree(tmp_path, admin, project, "second")
    await tree.git("pull", "-q", "origin", "main")
    await tree.commit({".pushrod/ci.yml": secret})
    await tree.push()
    triggered = await trigger(admin)
    shown = await status_of(admin, triggered)
    assert (shown["status"], shown["reason"]) == ("failed", "missing secret: KEY")
    text = (await admin.get(shown["logs_url"])).expect(200).text
    assert text.startswith(
        "=== build failed ===\n=== missing secret: KEY\n=== .pushrod/ci.yml:3:47: step `a` needs"
    )


# Bad input


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "module_name"),
        ({"module_name": None}, "module_name"),
        ({"module_name": 1}, "module_name"),
        ({"module_name": ""}, "module_name"),
        ({"module_name": "x" * 311}, "module_name"),
        ({"module_name": "x", "build_target": 1}, "build_target"),
        ({"module_name": "x", "build_target": ""}, "build_target"),
        ({"module_name": "x", "clean_build": "yes"}, "clean_build"),
        ({"module_name": "x", "clean_build": 1}, "clean_build"),
        ({"module_name": "x", "build_parameters": []}, "build_parameters"),
        ({"module_name": "x", "build_parameters": {"a": None}}, "build_parameters.a"),
        ({"module_name": "x", "build_parameters": {"a": [1]}}, "build_parameters.a"),
        ({"module_name": "x", "build_parameters": {"a": {"b": 1}}}, "build_parameters.a"),
        ({"module_name": "x", "build_parameters": {"a": "\0"}}, "build_parameters.a"),
        ({"module_name": "x", "clean": True}, "clean"),
    ],
)
async def test_a_wrong_body_is_refused_with_its_field(
    admin: Caller, body: dict[str, Any], path: str
) -> None:
    said = check_error((await admin.post(TRIGGER, body)).expect(400))
    assert [one["path"] for one in said["details"]] == [path]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 100_000, b'{"module_name": NaN}']
)
async def test_what_is_no_json_object_is_refused(admin: Caller, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await admin.call("POST", TRIGGER, data=io.BytesIO(body), headers=headers)
    check_error(answer.expect(400))


async def test_a_huge_body_is_too_large(admin: Caller) -> None:
    body = json.dumps({"module_name": "x", "build_parameters": {"a": "x" * 9_000_000}}).encode()
    answer = await admin.call("POST", TRIGGER, data=io.BytesIO(body))
    check_error(answer.expect(413))


@pytest.mark.parametrize("name", ["../x", "a//b", "/", "a/b/c/d", "'; DROP", "\u202e", "%", "💩"])
async def test_odd_names_are_just_not_found(
    admin: Caller, project: dict[str, Any], name: str
) -> None:
    said = check_error((await admin.post(TRIGGER, {"module_name": name})).expect(400))
    assert said["error"] == f"Module '{name}' not found or build target invalid."


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", TRIGGER, "POST"),
        ("POST", f"/api/build_synthesis/status/{UNKNOWN}", "GET,HEAD"),
        ("DELETE", f"/api/build_synthesis/logs/{UNKNOWN}", "GET"),
    ],
)
async def test_another_method_is_not_allowed(
    admin: Caller, method: str, path: str, allowed: str
) -> None:
    answer = await admin.call(method, path)
    check_error(answer.expect(405))
    assert answer.headers["Allow"] == allowed


async def test_an_image_that_was_pushed_is_among_the_artifacts(
    admin: Caller, tmp_path: Path
) -> None:
    tree = await new_work_tree(tmp_path, admin, await admin.new_project())
    tag, digest = "registry.example:5000/shop:1", f"sha256:{'a' * 64}"
    await tree.commit(
        {
            ".pushrod/modules.yml": "modules:\n"
            "  data_visualization: {path: ., targets: {default: ci}}\n",
            ".pushrod/ci.yml": f"name: ci\non: {{tag: v*}}\n"
            f"steps: [{{name: image, build: {{tags: ['{tag}']}}}}]\n",
            "Dockerfile": "FROM scratch\n",
        }
    )
    await tree.push()
    triggered = await trigger(admin)
    agent = await admin.new_agent()
    spec = await agent.take(capabilities=["imageBuilds"])
    images = [{"reference": tag, "digest": digest}]
    (await agent.complete(spec, images=images)).expect(200)
    shown = (await admin.get(triggered["status_url"])).expect(200).json
    assert shown["status"] == "succeeded"
    assert shown["artifacts"] == [
        {"name": tag, "url": f"docker://{tag}@{digest}", "digest": digest}
    ]
