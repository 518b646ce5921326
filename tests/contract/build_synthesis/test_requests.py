"""Wrong requests by the specification of builds of modules."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.contract.build_synthesis.modules import TRIGGER, UNKNOWN, check_error, trigger
from tests.integration.coordinator_fixture import (
    Caller,
    new_work_tree,
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
