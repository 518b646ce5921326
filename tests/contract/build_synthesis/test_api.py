"""The Build Synthesis API (specification 000), as a table of our own, over real HTTP."""

from __future__ import annotations

import json
from typing import Any

from tests.contract.build_synthesis.modules import TRIGGER, check_error, status_of, trigger
from tests.integration.coordinator_fixture import (
    AgentCaller,
    Caller,
)

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
