"""Check runs by a GitHub App, against a server that asks for what GitHub's documents say."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from coordinator.domain.errors import Invalid
from coordinator.domain.lifecycle import BuildState
from coordinator.domain.model import Build, Project
from coordinator.domain.outbox.calls import Answered, Call, Outcome, Reply
from coordinator.domain.outbox.forge_place import AppKey
from coordinator.domain.outbox.messages import Message, MessageState, RecipientKind, facts_of
from coordinator.domain.outbox.recipients import Recipient
from coordinator.domain.results.stored import StepResults
from coordinator.domain.results.values import Result, TestResult
from coordinator.forges import APIS
from coordinator.forges.github.checks import GitHubChecks
from coordinator.ports import RemoteFailed
from coordinator.services.outbox.checks import Checks
from coordinator.services.outbox.forge_tokens import ForgeAccess, ForgeTokens
from coordinator.services.outbox.statuses import Statuses
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.outbox.recipients import find_recipient
from coordinator.storage.outputs.results import Portion, add_tests, begin_results, finish_results
from tests.integration.core_fixture import START, TestedCore, open_core, step_of
from tests.integration.outbox.test_sender import MAINTAINER

KEY = RSAKey.generate_key(2048)
API = "https://api.github.com"


@dataclass(slots=True)
class App:
    """GitHub, as an App sees it."""

    tested: TestedCore
    installed: bool = True
    runs: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    """Method, path, and body."""
    there: list[dict[str, Any]] = field(default_factory=list)
    """The check runs as they are."""
    answers: bool = True
    """Else what was asked is done, and no answer comes."""
    looked: int = 0
    tokens: int = 0

    def server_of(self, url: str) -> str:
        return url

    async def send(self, call: Call) -> Reply:
        path = call.url.removeprefix(API)
        bearer = call.headers["Authorization"].removeprefix("Bearer ")
        if path in ("/repos/shop/site/installation", "/app/installations/5/access_tokens"):
            claims = jwt.decode(bearer, KEY, algorithms=["RS256"]).claims
            now = self.tested.clock.now().timestamp()
            assert (claims["iss"], claims["iat"] <= now < claims["exp"]) == ("77", True)
            assert claims["exp"] - claims["iat"] <= 600
            if path.endswith("installation"):
                if not self.installed:
                    return _json(404, {"message": "Not Found"})
                return _json(200, {"id": 5})
            self.tokens += 1
            return _json(201, {"token": f"installation-{self.tokens}"})
        if bearer != f"installation-{self.tokens}":
            return _json(401, {"message": "Bad credentials"})
        if call.method == "GET":
            return self._found(path)
        assert re.fullmatch(r"/repos/shop/site/check-runs(/\d+)?", path)
        body = json.loads(call.body)
        self.runs.append((call.method, path, body))
        run = self._kept(call.method, path, body)
        if not self.answers:
            raise RemoteFailed("api.github.com did not answer", permanent=False)
        return _json(201, run)

    def _kept(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        if method == "POST":
            self.there.append({"id": 9 + len(self.there), **body})
            return self.there[-1]
        [run] = [one for one in self.there if str(one["id"]) == path.rpartition("/")[2]]
        run.update(body)
        return run

    def _found(self, path: str) -> Reply:
        self.looked += 1
        url = urlsplit(path)
        assert url.path == f"/repos/shop/site/commits/{'a' * 40}/check-runs"
        [name] = parse_qs(url.query)["check_name"]
        found = [one for one in self.there if one["name"] == name]
        return _json(200, {"total_count": len(found), "check_runs": found[::-1]})


def _json(status: int, body: object) -> Reply:
    return Reply(status=status, headers={}, body=json.dumps(body).encode())


@dataclass(frozen=True, slots=True)
class Installed:
    """A project that an App tells GitHub of."""

    tested: TestedCore
    github: App
    project: Project
    recipient: Recipient | None

    def process(self) -> Callable[..., Awaitable[Outcome]]:
        """Of the coordinator: what it has in memory goes with it."""
        core = self.tested.core
        checks = Checks(core, self.github, GitHubChecks())
        statuses = Statuses(core, self.github, APIS, checks)

        async def tell(state: BuildState, **more: Any) -> Outcome:
            return await statuses.deliver(message_of(state, **more), self.recipient, self.project)

        return tell


@asynccontextmanager
async def installed(folder: Path) -> AsyncIterator[Installed]:
    async with open_core(folder) as tested:
        project = replace(await tested.new_project(), repo_url="https://github.com/shop/site.git")
        app = AppKey(id=77, key=KEY.as_pem(private=True).decode())
        tokens = ForgeTokens(tested.core, APIS, lambda _: None)
        await tokens.set(MAINTAINER, project, ForgeAccess(token=None, app=app))
        recipient = await tested.core.database.read(
            lambda connection: find_recipient(connection, project.id)
        )
        yield Installed(tested, App(tested), project, recipient)


async def test_a_check_run_is_made_changed_and_ended_with_annotations(tmp_path: Path) -> None:
    async with installed(tmp_path) as at:
        github, tested, tell = at.github, at.tested, at.process()
        github.installed = False
        refused = await tell(BuildState.QUEUED)
        assert refused.answered is Answered.REFUSED
        assert (refused.reason or "").startswith("the App is not installed in this repository (404")

        github.installed = True
        problem = {"file": ".pushrod.yml", "line": 3, "column": 1, "message": "no such key"}
        for state, more in (
            (BuildState.QUEUED, {}),
            (BuildState.RUNNING, {}),
            (BuildState.FAILED, {"reason": "step test failed: exit code 1", "problems": [problem]}),
        ):
            assert (await tell(state, **more)).answered is Answered.TAKEN
        assert github.tokens == 1
        methods = [(method, path.rpartition("/")[2]) for method, path, _ in github.runs]
        assert methods == [("POST", "check-runs"), ("PATCH", "9"), ("PATCH", "9")]
        first, running, last = (body for _, _, body in github.runs)
        assert (first["name"], first["head_sha"], first["status"]) == (
            "pushrod/ci/push",
            "a" * 40,
            "queued",
        )
        assert running["status"] == "in_progress"
        assert (last["status"], last["conclusion"]) == ("completed", "failure")
        assert last["output"]["title"] == "test failed: exit code 1"
        [annotation] = last["output"]["annotations"]
        assert (annotation["path"], annotation["start_line"]) == (".pushrod.yml", 3)

        tested.clock.seconds += 3600  # the token is no longer good
        github.tokens += 1
        assert (await tell(BuildState.QUEUED)).answered is Answered.TAKEN
        assert github.runs[-1][0] == "PATCH"
        assert (len(github.there), github.looked) == (1, 2)


async def test_failed_tests_are_shown_beside_the_code(tmp_path: Path) -> None:
    async with installed(tmp_path) as at:
        build = await at.tested.new_build(at.project, step_of("unit"))
        await report_a_failed_test(at.tested, build)

        for state in (BuildState.RUNNING, BuildState.FAILED):
            assert (await at.process()(state, id=build.id)).answered is Answered.TAKEN

        running, last = (body["output"]["annotations"] for _, _, body in at.github.runs)
        assert running == []
        [annotation] = last
        assert (annotation["path"], annotation["start_line"]) == ("tests/a.py", 7)
        assert annotation["message"] == "test_x failed in unit: no"


async def report_a_failed_test(tested: TestedCore, build: Build) -> None:
    [step] = await tested.steps(build)
    results = StepResults(
        step_id=step.id,
        epoch=1,
        build_id=build.id,
        project_id=build.project_id,
        build_number=build.number,
        series="s",
        inputs="i",
        branch=None,
        created_at=START,
    )
    test = TestResult(
        suite="s",
        name="test_x",
        result=Result.FAILED,
        milliseconds=1,
        message="no",
        file="tests/a.py",
        line=7,
    )

    async def save(connection: AsyncConnection) -> None:
        tests_id = await begin_results(connection, results)
        portion = Portion(
            tests_id=tests_id,
            project_id=build.project_id,
            workflow_name="ci",
            step_name=step.name,
            first=0,
            tests=[test],
        )
        await add_tests(connection, portion)
        await finish_results(connection, replace(results, tests_id=tests_id))

    await tested.core.database.write(save)


@pytest.mark.parametrize("answered", [True, False])
async def test_a_run_is_not_made_twice_by_a_process_that_does_not_know_of_it(
    tmp_path: Path, answered: bool
) -> None:
    """Killed after GitHub's answer, or before it came: nothing of it was written down."""
    async with installed(tmp_path) as at:
        github = at.github
        github.answers = answered
        first = await at.process()(BuildState.QUEUED)
        assert first.answered is (Answered.TAKEN if answered else Answered.BUSY)
        github.answers = True
        github.there.append({"id": 3, "name": "pushrod/ci/push", "external_id": "of another"})
        tell = at.process()
        for state in (BuildState.QUEUED, BuildState.RUNNING, BuildState.SUCCEEDED):
            assert (await tell(state)).answered is Answered.TAKEN
        methods = [(method, path.rpartition("/")[2]) for method, path, _ in github.runs]
        assert methods == [("POST", "check-runs"), ("PATCH", "9"), ("PATCH", "9"), ("PATCH", "9")]
        assert github.there[0]["conclusion"] == "success"


async def test_a_key_that_signs_nothing_and_another_forge_are_refused(tmp_path: Path) -> None:
    async with open_core(tmp_path) as tested:
        tokens = ForgeTokens(tested.core, APIS, lambda _: None)
        project = replace(await tested.new_project(), repo_url="https://github.com/shop/site.git")
        bad = AppKey(id=1, key="-----BEGIN RSA PRIVATE KEY-----\nx\n-----END RSA PRIVATE KEY-----")
        with pytest.raises(Invalid, match="RSA, PEM"):
            await tokens.set(MAINTAINER, project, ForgeAccess(token=None, app=bad))
        with pytest.raises(Invalid, match="for GitHub alone"):
            await tokens.set(MAINTAINER, project, ForgeAccess(token=None, app=bad, forge="gitlab"))
        with pytest.raises(Invalid, match="either a token"):
            await tokens.set(MAINTAINER, project, ForgeAccess(token="t", app=bad))


def message_of(state: BuildState, **more: Any) -> Message:
    build = Build(
        id=more.pop("id", "b1"),
        project_id="acme-shop",
        account_id="acme",
        workflow_id=None,
        workflow_name="ci",
        number=1,
        state=state,
        event="push",
        version=1,
        commit_hash="a" * 40,
        created_at=START,
        updated_at=START,
        **more,
    )
    return Message(
        id=1,
        project_id="acme-shop",
        recipient_id="acme-shop",
        kind=RecipientKind.STATUS,
        stream="s",
        build_id=build.id,
        build_number=1,
        facts=facts_of(build).to_json(),
        state=MessageState.WAITING,
        reason=None,
        attempts=0,
        next_try_at=START,
        tried_since=START,
        created_at=START,
        finished_at=None,
    )
