"""A repository of modules, and the shapes of what is answered of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tests.integration.coordinator_fixture import Answer, Caller

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
