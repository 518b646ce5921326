"""Projects and builds as the API gives them, for the page's tests and for looking at it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.e2e.fake_api import FakeApi, Log


def moment(seconds_ago: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds_ago)).isoformat()


def project(id_: str, name: str) -> dict[str, Any]:
    push_url = f"http://127.0.0.1:3000/git/default/{name}.git"
    return {
        "id": id_,
        "accountId": "a-1",
        "account": "default",
        "name": name,
        "slug": name,
        "pushUrl": push_url,
        "webhookUrl": "http://127.0.0.1:3000/api/webhooks/generic/" + id_,
        "createdAt": moment(90_000),
        "updatedAt": moment(90_000),
    }


def step(id_: str, name: str, status: str, **more: Any) -> dict[str, Any]:
    begun = status not in ("BLOCKED", "READY", "SKIPPED")
    tried = {"attempt": 1} if begun else {}
    return {"id": id_, "name": name, "status": status, "dependsOn": []} | tried | more


def build(
    id_: str, number: int, state: str, *, project_id: str = "p-1", **more: Any
) -> dict[str, Any]:
    return {
        "id": id_,
        "projectId": project_id,
        "workflow": "ci",
        "number": number,
        "state": state,
        "status": {"succeeded": "SUCCESS", "failed": "FAILED", "running": "RUNNING"}.get(
            state, "PENDING"
        ),
        "commitHash": "9f0f53cdd5b9abd0fb07d05b5147d9da20022b70",
        "branch": "main",
        "commitMessage": "Count the lines of a log once\n\nReading it twice took 40 ms.",
        "commitAuthor": "Ada Lovelace <ada@example.org>",
        "event": "push",
        "url": f"/builds/{id_}",
        "createdAt": moment(80),
        "version": 1,
        "steps": [],
    } | more


def running_build(id_: str = "b-1") -> dict[str, Any]:
    """A diamond in the middle of its run, listed in an order that is not the graph's."""
    steps = [
        step(
            "s-report",
            "report",
            "BLOCKED",
            dependsOn=["test", "image"],
            waitsFor="waits for test, image",
        ),
        step("s-lint", "lint", "SUCCESS", startedAt=moment(75), finishedAt=moment(66.6)),
        step("s-test", "test", "RUNNING", dependsOn=["lint"], startedAt=moment(66), attempt=2),
        step(
            "s-image",
            "image",
            "READY",
            dependsOn=["lint"],
            waitsFor="all agents that fit are busy",
        ),
    ]
    return build(id_, 12, "running", startedAt=moment(75), steps=steps)


def problem_build(id_: str = "b-bad") -> dict[str, Any]:
    problems = [
        problem(4, 3, "unknown key `stpes`: did you mean `steps`?"),
        problem(11, 17, "there is no step `biuld`: did you mean `build`?"),
    ]
    reason = "the workflow can't be read"
    return build(id_, 3, "failed", reason=reason, workflow=".pushrod/ci.yml", problems=problems)


def problem(line: int, column: int, message: str) -> dict[str, Any]:
    return {"file": ".pushrod/ci.yml", "line": line, "column": column, "message": message}


def artifact(name: str, size: int) -> dict[str, Any]:
    url = f"/api/steps/s-lint/artifacts/{name}"
    return {"name": name, "size": size, "sha256": "0" * 64, "mode": 0o644, "url": url}


COLORED = (
    "\x1b[1m== collecting\x1b[0m\n"
    "\x1b[32m\u2713\x1b[0m tests/test_log.py::test_tail \x1b[2m(0.31 s)\x1b[0m\n"
    "\x1b[30;42m PASS \x1b[0m 41 tests \x1b[7;31m FAIL \x1b[0m 1 test\n"
    "\x1b[31mAssertionError\x1b[0m: expected \x1b[38;5;208m3\x1b[0m, "
    "got \x1b[38;2;80;160;255m4\x1b[0m\n"
    "10%\r50%\r100% downloaded\n"
    "<script>alert('log')</script> <b>not bold</b>\n"
).encode()


def sample() -> FakeApi:
    finished = {"startedAt": moment(4000), "finishedAt": moment(3800), "createdAt": moment(4002)}
    cancelled = {
        "project_id": "p-2",
        "branch": "feature/a-rather-long-branch-name-that-wraps",
        "reason": "cancelled by ada",
        "startedAt": moment(9000),
        "finishedAt": moment(8990),
        "createdAt": moment(9010),
    }
    lines = b"".join(b"%5d  compiling module_%d.c\n" % (n, n) for n in range(400))
    return FakeApi(
        projects=[project("p-1", "hello"), project("p-2", "website"), project("p-3", "compiler")],
        builds=[
            running_build(),
            build("b-queue", 8, "queued", project_id="p-2", createdAt=moment(3)),
            problem_build(),
            build("b-ok", 11, "succeeded", **finished),
            build("b-off", 7, "cancelled", **cancelled),
        ],
        logs={
            ("s-test", 2): Log(lines + COLORED),
            ("s-test", 1): Log(b"the first try\nlost its agent\n", complete=True),
            ("s-lint", 1): Log(b"all good\n", complete=True),
        },
        artifacts={
            "s-lint": [
                artifact("reports/lint.xml", 4123),
                artifact("dist/hello-1.0-py3-none-any.whl", 1_830_211),
            ]
        },
    )
