"""Projects and builds as the API gives them, for the page's tests and for looking at it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.e2e.fake_api import FakeApi, Log

ACCOUNT = {"id": "a-1", "slug": "default", "name": "default"}


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
    return build(
        id_, 12, "running", startedAt=moment(75),
        steps=[
            step("s-report", "report", "BLOCKED", dependsOn=["test", "image"], waitsFor="waits for test, image"),
            step("s-lint", "lint", "SUCCESS", exitCode=0, startedAt=moment(75), finishedAt=moment(66.6)),
            step("s-test", "test", "RUNNING", dependsOn=["lint"], startedAt=moment(66), attempt=2),
            step("s-image", "image", "READY", dependsOn=["lint"], waitsFor="all agents that fit are busy"),
        ],
    )  # fmt: skip


def problem_build(id_: str = "b-bad") -> dict[str, Any]:
    return build(
        id_, 3, "failed", reason="the workflow can’t be read", workflow=".pushrod/ci.yml",
        startedAt=moment(50), finishedAt=moment(50),
        problems=[
            {"file": ".pushrod/ci.yml", "line": 4, "column": 3, "message": "unknown key `stpes`: did you mean `steps`?"},
            {"file": ".pushrod/ci.yml", "line": 11, "column": 17, "message": "there is no step `biuld`: did you mean `build`?"},
        ],
    )  # fmt: skip


COLORED = (
    b"\x1b[1m== collecting\x1b[0m\n\x1b[32m\xe2\x9c\x93\x1b[0m tests/test_log.py::test_tail \x1b[2m(0.31 s)\x1b[0m\n"
    b"\x1b[30;42m PASS \x1b[0m 41 tests \x1b[7;31m FAIL \x1b[0m 1 test\n"
    b"\x1b[31mAssertionError\x1b[0m: expected \x1b[38;5;208m3\x1b[0m, got \x1b[38;2;80;160;255m4\x1b[0m\n"
    b"10%\r50%\r100% downloaded\n<script>alert('log')</script> <b>not bold</b>\n"
)


def sample() -> FakeApi:
    api = FakeApi(
        accounts=[ACCOUNT],
        projects=[project("p-1", "hello"), project("p-2", "website"), project("p-3", "compiler")],
        builds=[
            running_build(),
            problem_build(),
            build("b-ok", 11, "succeeded", startedAt=moment(4000), finishedAt=moment(3800), createdAt=moment(4002)),
            build("b-off", 7, "cancelled", project_id="p-2", startedAt=moment(9000), finishedAt=moment(8990),
                  createdAt=moment(9010), branch="feature/a-rather-long-branch-name-that-wraps", reason="cancelled by ada"),
            build("b-queue", 8, "queued", project_id="p-2", createdAt=moment(3)),
        ],
    )  # fmt: skip
    lines = b"".join(b"%5d  compiling module_%d.c\n" % (n, n) for n in range(400))
    api.logs[("s-test", 2)] = Log(lines + COLORED)
    api.logs[("s-test", 1)] = Log(b"the first try\nlost its agent\n", complete=True)
    api.logs[("s-lint", 1)] = Log(b"all good\n", complete=True)
    api.artifacts["s-lint"] = [
        {"name": "reports/lint.xml", "size": 4123, "sha256": "0" * 64, "mode": 420, "url": "/api/blob/1"},
        {"name": "dist/hello-1.0-py3-none-any.whl", "size": 1_830_211, "sha256": "1" * 64, "mode": 420, "url": "/api/blob/2"},
    ]  # fmt: skip
    return api
