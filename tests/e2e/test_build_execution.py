"""The Build Execution API through a real agent: as the guide's page and the document show it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.processes import Pushrod, Repository, running

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "build-execution-api.md"
SPECIFICATION = ROOT.parent / "shared" / "specs" / "001_2002b7078ed4b6fb.txt"
NODE_MODULES = Path("/usr/share/nodejs")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SECONDS = 60
WORKFLOW = """
steps:
  - {name: prepare, image: any, run: echo prepared}
  - {name: test, image: any, dependsOn: [prepare], run: "echo tested; echo careful >&2"}
"""
EMAIL, PASSWORD = "user@imagefactory.local", "__SET_BEFORE_LOGIN__"

needs_specification = pytest.mark.skipif(
    not SPECIFICATION.exists(), reason="the specifications are not beside us"
)


@pytest.fixture(scope="module")
def pushrod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pushrod]:
    with running(tmp_path_factory.mktemp("pushrod")) as pushrod:
        yield pushrod


@dataclass(frozen=True, kw_only=True)
class Member:
    """A user who logged in, and a project whose workflow was pushed and built once."""

    pushrod: Pushrod
    project: str
    tenant: str
    token: str
    folder: Path

    def v1(self, method: str, path: str, body: object = None) -> Any:
        headers = {"Authorization": f"Bearer {self.token}", "X-Tenant-ID": self.tenant}
        api = self.pushrod.api
        status, answer, _ = api.request(method, f"/api/v1{path}", body, headers)
        assert status < 300, (method, path, status, answer)
        return json.loads(answer) if answer else None

    def created(self) -> str:
        body = {"project_id": self.project, "git_branch": "main"}
        return str(self.v1("POST", "/builds", body)["id"])

    def started(self) -> str:
        build = self.created()
        self.v1("POST", f"/builds/{build}/start")
        return build

    def run(self, *command: str, given: str | None = None, **environment: str) -> str:
        """What a program prints; its standard input stays open unless something is `given`."""
        with subprocess.Popen(
            command,
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "NODE_PATH": str(NODE_MODULES), **environment},
        ) as process:
            assert process.stdin is not None
            if given is not None:
                process.stdin.write(given)
                process.stdin.close()
            try:
                process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
            assert process.stdout is not None
            assert process.stderr is not None
            output, errors = process.stdout.read(), process.stderr.read()
        assert process.returncode == 0, (command[0], output, errors)
        return output


@pytest.fixture(scope="module")
def member(pushrod: Pushrod, tmp_path_factory: pytest.TempPathFactory) -> Member:
    folder = tmp_path_factory.mktemp("member")
    made = pushrod.command("user", "create", EMAIL, "--role", "maintainer", given=PASSWORD + "\n")
    assert made.returncode == 0, made.stderr
    project = pushrod.create_project()
    build = pushrod.push_workflow(Repository.create(folder / "tree"), project, WORKFLOW)
    assert pushrod.api.wait_finished(build["id"])["state"] == "succeeded"
    body = {"email": EMAIL, "password": PASSWORD}
    login = pushrod.api.post("/api/v1/auth/login", body)
    (folder / "login.json").write_text(json.dumps(body))
    return Member(
        pushrod=pushrod,
        project=project["id"],
        tenant=login["tenants"][0]["id"],
        token=login["token"],
        folder=folder,
    )


def node() -> str:
    if shutil.which("node") is None or not (NODE_MODULES / "ws").exists():
        pytest.skip("no Node with ws here: apt-get install nodejs node-ws")
    return "node"


def test_a_build_is_made_started_watched_and_deleted(member: Member) -> None:
    build = member.started()
    member.pushrod.api.wait_finished(build)
    status = member.v1("GET", f"/builds/{build}/status")
    assert (status["status"], status["progress"]["percentage"]) == ("success", 100)
    logs = member.v1("GET", f"/builds/{build}/logs")
    said = [(one["level"], one["metadata"]["step"], one["message"]) for one in logs["logs"][:-1]]
    assert [one for one in said if one[2] == "prepared"] == [("INFO", "prepare", "prepared")]
    assert [one for one in said if one[2] == "careful"] == [("INFO", "test", "careful")]
    assert logs["logs"][-1]["message"] == "build succeeded"
    member.v1("DELETE", f"/builds/{build}")
    status_code, _, _ = member.pushrod.api.request("GET", f"/api/projects/-/builds/{build}")
    assert status_code == 404


def test_the_estimate_of_a_running_build_is_in_the_future_of_its_start(member: Member) -> None:
    build = member.started()
    running_build = member.pushrod.api.wait(build, lambda b: b["state"] != "queued")
    status = member.v1("GET", f"/builds/{build}/status")
    if status["status"] == "in_progress":
        assert status["estimated_completion"] > running_build["startedAt"]
    member.pushrod.api.wait_finished(build)


def test_users_are_kept_by_the_command_line(member: Member, tmp_path: Path) -> None:
    def user(*arguments: str, given: str = "") -> str:
        ran = member.pushrod.command("user", *arguments, given=given)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def log_in(password: str) -> int:
        body = {"email": "bob@example.org", "password": password}
        return member.pushrod.api.request("POST", "/api/v1/auth/login", body)[0]

    (tmp_path / "password").write_text("first password\n")
    file = ("--password-file", str(tmp_path / "password"))
    made = json.loads(user("create", "Bob@example.org", "--role", "viewer", *file, "--json"))
    assert made["email"] == "bob@example.org"
    assert log_in("first password") == 200
    user("password", "bob@example.org", given="second password")
    assert (log_in("first password"), log_in("second password")) == (401, 200)
    user("disable", "bob@example.org")
    assert log_in("second password") == 401
    listed = {one["email"]: one for one in json.loads(user("list", "--json"))}
    assert listed["bob@example.org"]["disabled"] is True
    assert "viewer in default" in user("list")
    user("enable", made["id"])
    user("role", "bob@example.org", "developer", "--account", "default")
    user("role", "bob@example.org", "none", "--account", "default")
    assert json.loads(user("list", "--json"))[0]["memberships"] == []
    assert log_in("second password") == 200
    user("rotate-keys")
    refused = member.pushrod.command("user", "create", "x@example.org", given="short")
    assert refused.returncode != 0
    assert "8" in refused.stderr
    refused = member.pushrod.command("user", "disable", "nobody@example.org")
    assert "no such user" in refused.stderr


# The guide's page


def blocks(language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(PAGE.read_text()) if kind == language]


def test_the_guides_shell_lines_run_as_written(member: Member) -> None:
    programs = f'export PATH="{Path(sys.executable).parent}:$PATH"\n'
    script = "set -euo pipefail\n" + programs + "\n".join(blocks("sh"))
    command = ("bash", "-c", script)
    printed = member.run(*command, URL=member.pushrod.api.url, PROJECT=member.project)
    assert '"status":"queued"' in printed
    messages = [
        json.loads(line)["message"] for line in printed.splitlines() if '"metadata"' in line
    ]
    # Once followed over HTTP, and once more by websocat.
    assert messages.count("build succeeded") == 2
    assert messages.count("tested") == 2


def test_the_guides_python_runs_as_written(member: Member) -> None:
    [script] = blocks("python")
    printed = member.run(
        sys.executable,
        "-",
        given=script,
        URL=member.pushrod.api.url,
        TOKEN=member.token,
        TENANT=member.tenant,
        PROJECT=member.project,
    )
    assert re.fullmatch(r"build \d+: success\n", printed)


def test_the_guides_node_runs_as_written(member: Member) -> None:
    [script] = [text for text in blocks("js") if "require" in text]
    printed = member.run(
        node(),
        "-e",
        script,
        URL=member.pushrod.api.url,
        TOKEN=member.token,
        TENANT=member.tenant,
        BUILD=member.started(),
    )
    assert "[INFO] tested\n[INFO] careful\n" in printed
    assert printed.endswith("1000 build success\n")


# The document's own examples: host, port, token and ids replaced, the tenant's header that its text
# asks for added where an example leaves it out, and the quotes mended that no shell looks into.


def shell_examples() -> list[str]:
    """Every call of curl and websocat in the document."""
    found: list[str] = []
    pending = ""
    for line in SPECIFICATION.read_text().splitlines():
        if not pending and not line.startswith(("curl ", "websocat ")):
            continue
        pending += line + "\n"
        if line.endswith("\\") or not _is_whole(pending):
            continue
        found.append(pending)
        pending = ""
    return found


def _is_whole(command: str) -> bool:
    try:
        shlex.split(command)
    except ValueError:
        return False
    return True


def mended(member: Member, example: str, build: str) -> str:
    url = member.pushrod.api.url
    for old, new in {
        "http://localhost:8080": url,
        "ws://localhost:8080": url.replace("http", "ws", 1),
        "YOUR_JWT_TOKEN": member.token,
        "your-jwt-token": member.token,
        "your-build-id": build,
        "<tenant-uuid>": member.tenant,
        "550e8400-e29b-41d4-a716-446655440000": member.project,
        "/{id}": f"/{build}",
        "project_id=UUID": f"project_id={member.project}",
        "'Authorization: Bearer $TOKEN'": '"Authorization: Bearer $TOKEN"',
        # Python's headers, and Node's.
        "'Content-Type': 'application/json'": "'Content-Type': 'application/json', "
        f"'X-Tenant-ID': '{member.tenant}'",
        "{ headers: { Authorization: `Bearer ${token}` } }": "{ headers: { Authorization: "
        f"`Bearer ${{token}}`, 'X-Tenant-ID': '{member.tenant}' }} }}",
    }.items():
        example = example.replace(old, new)
    return example


@needs_specification
def test_each_curl_of_the_document_runs_as_written(member: Member) -> None:
    build, statuses = member.created(), []
    examples = [one for one in shell_examples() if one.startswith("curl")]
    assert len(examples) == 6
    for example in examples:
        script = "curl() { command curl -sS -w '\\n%{http_code}' \"$@\"; }\n"
        command = ("bash", "-uc", script + mended(member, example, build))
        body, _, status = member.run(*command, TOKEN=member.token).rpartition("\n")
        statuses.append((status, frozenset(json.loads(body))))
    listed = {"builds", "total_count", "page", "limit", "has_more"}
    shown = {"id", "project_id", "build_number", "git_branch", "status", "created_at", "updated_at"}
    wanted = [
        ("200", listed),
        ("200", {"token"}),
        ("201", shown),
        ("200", shown),
        ("200", {"build_id", "status", "progress"}),
        ("200", listed),
    ]
    for (status, members), (wanted_status, wanted_members) in zip(statuses, wanted, strict=True):
        assert status == wanted_status
        assert wanted_members <= members
    member.pushrod.api.wait_finished(build)


@needs_specification
def test_the_websocat_line_of_the_document_streams_a_build(member: Member) -> None:
    [example] = [one for one in shell_examples() if one.startswith("websocat")]
    build = member.started()
    environment = {**os.environ, "TOKEN": member.token}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    with subprocess.Popen(
        ["bash", "-uc", mended(member, example, build)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        messages = []
        for line in process.stdout:
            messages.append(json.loads(line))
            if messages[-1]["message"] == "build succeeded":
                break
        # It ends with what it is given, which a person would end by Ctrl-D.
        process.stdin.close()
        assert process.wait(SECONDS) == 0
    assert messages[-1]["message"] == "build succeeded"
    for one in messages:
        assert set(one) == {"build_id", "timestamp", "level", "message", "metadata"}
        assert one["build_id"] == build
        assert all(isinstance(value, str) for value in one["metadata"].values())


def between(start: str, end: str) -> str:
    """The document's lines from the first one that begins so after `start`'s heading to `end`."""
    lines = SPECIFICATION.read_text().splitlines()
    first = lines.index(start)
    return "\n".join(lines[first + 1 : lines.index(end, first)]) + "\n"


@needs_specification
def test_the_python_of_the_document_runs_as_written(member: Member) -> None:
    script = mended(member, between("Python", "Node.js"), "")
    printed = member.run(sys.executable, "-", given=script)
    assert re.fullmatch(r"Created build [0-9a-f-]{36}\nStatus: queued\n", printed)


def run_node(member: Member, script: str, **environment: str) -> str:
    """As a module, for its `await`; `WebSocket` is that of ws, which takes headers."""
    (member.folder / "preload.cjs").write_text('globalThis.WebSocket = require("ws");\n')
    (member.folder / "example.mjs").write_text(script)
    return member.run(node(), "--require", "./preload.cjs", "example.mjs", **environment)


@needs_specification
def test_the_websocket_example_of_the_document_runs_as_written(member: Member) -> None:
    script = between("Connecting to WebSocket", "Log Message Format")
    printed = run_node(member, mended(member, script, member.started()))
    assert "[INFO] tested\n[INFO] careful\n" in printed
    assert printed.endswith("Connection closed\n")


@needs_specification
def test_the_node_example_of_the_document_runs_as_written(member: Member) -> None:
    """It makes a build and streams it, which somebody else has to start."""
    known = {build["id"] for build in builds(member)}
    script = mended(member, between("Node.js", "cURL"), "")
    starter = (
        "const made = console.log;\n"
        "console.log = (text, ...more) => {\n"
        "  made(text, ...more);\n"
        f"  const start = '{member.pushrod.api.url}/api/v1/builds/';\n"
        "  const id = /^Created build (.+)$/.exec(text)?.[1];\n"
        f"  const headers = {{ Authorization: 'Bearer {member.token}', "
        f"'X-Tenant-ID': '{member.tenant}' }};\n"
        "  if (id) fetch(start + id + '/start', { method: 'POST', headers });\n"
        "};\n"
    )
    printed = run_node(member, starter + script)
    [build] = [one for one in builds(member) if one["id"] not in known]
    assert f"Created build {build['id']}\n" in printed
    assert "message: 'tested'" in printed
    assert build["status"] == "success"


def builds(member: Member) -> list[Mapping[str, Any]]:
    return list(member.v1("GET", "/builds?limit=100")["builds"])
