"""pushrod's own processes, started by its command line, and a repository to push from."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from coordinator.storage.postgresql import PostgresPlace
from tests.e2e.nursery import Forked, fork_pushrod, run_pushrod_for_text
from tests.empty_database import put_empty_database
from tests.ports import free_port

PUSHROD = [sys.executable, "-m", "pushrod"]
FORKED = ("coordinator", "agent")
"""What tests start by the hundred; `pushrod up` begins as for users."""
START_SECONDS = 90.0
READY = re.compile(r"^ready (\S+)$", re.MULTILINE)


class Process:
    """One pushrod process; what it prints goes to a file, which a failing test shows."""

    def __init__(
        self,
        *arguments: str,
        log: Path,
        program: Sequence[str] = PUSHROD,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.arguments, self.log, self._program = arguments, log, program
        self._variables = {
            f"PUSHROD_{name.upper()}": text for name, text in (settings or {}).items()
        }
        self._process: subprocess.Popen[bytes] | Forked | None = None

    def start(self, ready: str) -> str:
        """Start it and wait for a line that matches `ready`; return the match's first group."""
        offset = self.log.stat().st_size if self.log.exists() else 0
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PUSHROD_")}
        environment |= {k: v for k, v in os.environ.items() if k.startswith("PUSHROD_ENGINE_")}
        environment |= self._variables
        with self.log.open("ab") as output:
            self._process = self._begin(environment, output)
        return self._await(re.compile(ready, re.MULTILINE), offset)

    def _begin(
        self, environment: Mapping[str, str], output: IO[bytes]
    ) -> subprocess.Popen[bytes] | Forked:
        of_a_test = "PYTEST_VERSION" in os.environ  # benchmarks measure what users have
        if of_a_test and self._program is PUSHROD and self.arguments[0] in FORKED:
            return fork_pushrod(self.arguments, environment, output.fileno())
        return subprocess.Popen(
            [*self._program, *self.arguments],
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            env=environment,
        )

    def _await(self, pattern: re.Pattern[str], offset: int) -> str:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            text = self.log.read_bytes()[offset:].decode(errors="replace")
            if found := pattern.search(text):
                return found.group(1)
            if self._process is None or self._process.poll() is not None:
                break
            time.sleep(0.02)
        told = self.tail()
        self.kill()  # as a service manager does, before it starts it again
        raise AssertionError(f"{self.arguments} did not get ready:\n{told}")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """By itself."""
        return self._process is not None and self._process.poll() is not None

    def interrupt(self) -> None:
        """SIGTERM, without waiting for what comes of it."""
        os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self, seconds: float = 60.0) -> int:
        """SIGTERM, and its exit code."""
        return self._end(signal.SIGTERM, seconds)

    def _end(self, number: int, seconds: float = 60.0) -> int:
        if self._process is None:
            return 0
        self._process.send_signal(number)
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(seconds)
            raise AssertionError(f"{self.arguments} did not stop:\n{self.tail()}") from None
        finally:
            self._process = None

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-5000:] if self.log.exists() else ""


@dataclass
class Api:
    """A person's client of the coordinator: plain HTTP with a bearer token."""

    url: str
    token: str

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, bytes, Mapping[str, str]]:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path,
            data=data,
            method=method,
            headers={"Authorization": f"Bearer {self.token}", **(headers or {})},
        )
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:
                return answer.status, answer.read(), answer.headers
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read(), error.headers

    def get(self, path: str) -> Any:
        return self._json("GET", path, None)

    def post(self, path: str, body: object) -> Any:
        return self._json("POST", path, body)

    def _json(self, method: str, path: str, body: object) -> Any:
        status, answer, _ = self.request(method, path, body)
        assert status in (200, 201, 202), f"{method} {path}: {status} {answer[:500]!r}"
        return json.loads(answer)

    def builds(self, project_id: str = "-") -> list[dict[str, Any]]:
        builds: list[dict[str, Any]] = []
        while True:
            page = self.get(f"/api/projects/{project_id}/builds?limit=100&offset={len(builds)}")
            builds += page["builds"]
            if not page["pagination"]["hasMore"]:
                return builds

    def build(self, build_id: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.get(f"/api/projects/-/builds/{build_id}")
        return answer

    def wait(
        self, build_id: str, until: Callable[[dict[str, Any]], bool], seconds: float = 120
    ) -> dict[str, Any]:
        """The build once `until` is true of it, by held requests."""
        deadline, seen = time.monotonic() + seconds, -1
        while True:
            build: dict[str, Any] = self.get(
                f"/api/projects/-/builds/{build_id}?wait=5&seen={seen}"
            )
            if until(build):
                return build
            seen = build["version"]
            assert time.monotonic() < deadline, f"waited {seconds} s: {build}"

    def wait_finished(self, build_id: str, seconds: float = 180) -> dict[str, Any]:
        return self.wait(
            build_id, lambda b: b["state"] in ("succeeded", "failed", "cancelled"), seconds
        )

    def log(self, step_id: str, attempt: int | None = None) -> bytes:
        """The whole log, followed to its end."""
        data, which = b"", f"&attempt={attempt}" if attempt else ""
        while True:
            status, part, headers = self.request(
                "GET", f"/api/steps/{step_id}/log?offset={len(data)}&wait=10{which}"
            )
            assert status == 200, part
            data += part
            if headers["Log-Complete"] == "true":
                return data

    def wait_for_builds(self, count: int, seconds: float = 90) -> None:
        deadline = time.monotonic() + seconds
        while len(self.builds()) < count:
            assert time.monotonic() < deadline, f"{len(self.builds())} of {count} builds"
            time.sleep(0.05)

    def wait_for_log(self, step_id: str, text: bytes, seconds: float = 90) -> None:
        """Until the running step's log contains `text`."""
        deadline = time.monotonic() + seconds
        while True:
            _, data, _ = self.request("GET", f"/api/steps/{step_id}/log")
            if text in data:
                return
            assert time.monotonic() < deadline, data[-500:]
            time.sleep(0.05)


@dataclass
class Pushrod:
    """A coordinator and its agents, each a process of its own that can be killed."""

    folder: Path
    engine: str = "host"
    settings: str = ""
    """Of the coordinator, as TOML."""
    agents: dict[str, Process] = field(default_factory=dict)
    coordinator: Process = field(init=False)
    api: Api = field(init=False)

    @property
    def data(self) -> Path:
        return self.folder / "coordinator"

    def start_coordinator(self, listen: str | None = None) -> None:
        config = self.folder / "coordinator.toml"
        place = put_empty_database(self.data)
        of_place = f'database = "{place.url}"\n' if isinstance(place, PostgresPlace) else ""
        config.write_text(of_place + self.settings)
        self.coordinator = Process(
            "coordinator",
            "--data",
            str(self.data),
            "--listen",
            listen or f"127.0.0.1:{free_port()}",
            "--config",
            str(config),
            log=self.folder / "coordinator.log",
        )
        url = self.coordinator.start(READY.pattern)
        self.api = Api(url, (self.data / "admin-token").read_text().strip())

    def restart_coordinator(self) -> None:
        """After a kill: on the same port, as a service manager would."""
        self.start_coordinator(self.api.url.removeprefix("http://"))

    def start_agent(
        self,
        name: str = "one",
        *,
        slots: int = 2,
        labels: tuple[str, ...] = (),
        platforms: tuple[str, ...] = (),
        url: str | None = None,
        more: tuple[str, ...] = (),
    ) -> None:
        arguments = [
            "agent",
            "--url",
            url or self.api.url,
            "--token-file",
            str(self.data / "admin-token"),
            "--name",
            name,
            "--slots",
            str(slots),
            "--engine",
            self.engine,
            "--data",
            str(self.folder / f"agent-{name}"),
            *more,
        ]
        for label in labels:
            arguments += ["--label", label]
        for platform in platforms:
            arguments += ["--platform", platform]
        agent = self.agents[name] = Process(*arguments, log=self.folder / f"agent-{name}.log")
        agent.start(r"agent\.worker: engine (\S+)")

    def stop(self) -> None:
        for agent in self.agents.values():
            agent.kill()
        self.coordinator.kill()

    def create_project(self, name: str = "app", account: str = "default") -> dict[str, Any]:
        project: dict[str, Any] = self.api.post(
            "/api/projects", {"accountId": account, "name": name}
        )
        return project

    def push_workflow(
        self, repository: Repository, project: dict[str, Any], workflow: str
    ) -> dict[str, Any]:
        """Commit the workflow, push it, and return the newest build of the project."""
        repository.write(".pushrod.yml", workflow)
        repository.commit("the workflow")
        pushed = repository.push(project["pushUrl"], self.api.token)
        assert pushed.returncode == 0, pushed.stderr
        build: dict[str, Any] = self.api.builds(project["id"])[0]
        return build

    def command(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """The command line, as a person of this coordinator; `given` is its standard input."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PUSHROD_")}
        environment |= {"PUSHROD_URL": self.api.url, "PUSHROD_TOKEN": self.api.token}
        return run_pushrod_for_text(arguments, environment, given=given)

    def notes(self) -> str:
        """What the processes printed, for a failing test."""
        logs = [self.coordinator, *self.agents.values()]
        return "\n".join(f"--- {p.arguments[0]}\n{p.tail()}" for p in logs)


@dataclass
class Repository:
    """A real git repository that a test pushes from."""

    path: Path

    @classmethod
    def create(cls, path: Path) -> Repository:
        path.mkdir(parents=True)
        repository = cls(path)
        repository.git("init", "-q", "-b", "main")
        return repository

    def git(self, *arguments: str, check: bool = True, **environment: str) -> str:
        return self._run(*arguments, check=check, **environment).stdout

    def _run(
        self, *arguments: str, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", *arguments],
            cwd=self.path,
            check=check,
            capture_output=True,
            text=True,
            timeout=120,
            stdin=subprocess.DEVNULL,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.path),
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_TERMINAL_PROMPT": "0",
                "GIT_AUTHOR_NAME": "Ada",
                "GIT_AUTHOR_EMAIL": "ada@example.org",
                "GIT_COMMITTER_NAME": "Ada",
                "GIT_COMMITTER_EMAIL": "ada@example.org",
                **environment,
            },
        )

    def write(self, name: str, content: str | bytes) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    def commit(self, message: str) -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD").strip()

    def push(
        self, url: str, token: str, *refs: str, check: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """The token goes by an environment variable to git's credential helper."""
        helper = '!f() { echo username=pushrod; echo "password=$TEST_TOKEN"; }; f'
        return self._run(
            "-c",
            f"credential.helper={helper}",
            "push",
            url,
            *(refs or ("HEAD",)),
            check=check,
            TEST_TOKEN=token,
        )


@contextmanager
def running(
    folder: Path, engine: str = "host", *, agents: int = 1, settings: str = ""
) -> Iterator[Pushrod]:
    folder.mkdir(parents=True, exist_ok=True)
    pushrod = Pushrod(folder, engine, settings)
    pushrod.start_coordinator()
    try:
        for number in range(agents):
            pushrod.start_agent(f"agent{number + 1}")
        yield pushrod
    except BaseException:
        print(pushrod.notes())  # noqa: T201 - shown by pytest beside the failure
        raise
    finally:
        pushrod.stop()


def step_named(build: Mapping[str, Any], name: str) -> dict[str, Any]:
    step: dict[str, Any] = next(step for step in build["steps"] if step["name"] == name)
    return step


def is_running(name: str) -> Callable[[dict[str, Any]], bool]:
    return lambda build: bool(step_named(build, name)["status"] == "RUNNING")
