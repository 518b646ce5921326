"""The sender by a clock that the test moves: order, patience, and who holds up whom."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from coordinator.domain.lifecycle import BuildState
from coordinator.domain.model import Build, Project
from coordinator.domain.outbox.calls import Answered, Call, Outcome, Reply
from coordinator.domain.outbox.messages import Message, MessageState, RecipientKind
from coordinator.domain.outbox.recipients import Recipient
from coordinator.domain.people.permissions import Principal, PrincipalKind, Right
from coordinator.forges import APIS
from coordinator.forges.github.checks import GitHubChecks
from coordinator.ports import RemoteFailed
from coordinator.services.outbox.checks import Checks
from coordinator.services.outbox.forge_tokens import ForgeAccess, ForgeTokens
from coordinator.services.outbox.outbox import Outbox
from coordinator.services.outbox.sender import AT_ONCE, OF_A_PROJECT_AT_ONCE, Sender
from coordinator.services.outbox.statuses import Statuses
from coordinator.services.outbox.telling import Telling
from coordinator.storage.outbox.messages import list_messages
from coordinator.storage.projects.projects import update_project
from pipelines_schema import Notify, Occasion
from tests.integration.coordinator_fixture import eventually
from tests.integration.core_fixture import TestedCore, open_core
from tests.integration.statements import collected

pytestmark = pytest.mark.usefixtures("each_database")

COMMIT = "a" * 40
MAINTAINER = Principal(
    kind=PrincipalKind.PERSON,
    name="mara",
    token_id="t",
    account_id="acme",
    rights=frozenset({Right.MANAGE, Right.BUILD}),
)
TAKEN = Reply(status=201, headers={})


@dataclass(slots=True)
class Server:
    """Other people's servers: what each host answers, and what it was asked."""

    answers: dict[str, Callable[[], Reply]] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """Host, commit and state."""
    stalled: dict[str, asyncio.Event] = field(default_factory=dict)
    """By host, or by commit: no answer comes before."""

    async def send(self, call: Call) -> Reply:
        _, _, host, *_, commit = call.url.split("/")
        self.asked.append((host, commit, json.loads(call.body)["state"]))
        for one in (host, commit):
            if one in self.stalled:
                await self.stalled[one].wait()
        await asyncio.sleep(0)
        return self.answers.get(host, lambda: TAKEN)()

    def server_of(self, url: str) -> str:
        return url

    def states(self, host: str = "gitea.example") -> list[str]:
        return [state for asked, _, state in self.asked if asked == host]


@dataclass(frozen=True, slots=True)
class Office:
    tested: TestedCore
    server: Server
    sender: Sender

    async def project(self, name: str = "shop", host: str = "gitea.example") -> Project:
        core = self.tested.core
        project = await self.tested.new_project(name)
        url = f"https://{host}/acme/{name}.git"
        await core.database.write(
            lambda connection: update_project(connection, project.id, repo_url=url)
        )
        project = replace(project, repo_url=url, tells=True)
        tokens = ForgeTokens(core, APIS, self.sender.released)
        await tokens.set(MAINTAINER, project, ForgeAccess(token="secret-token"))
        return project

    async def move(self, project: Project, state: BuildState, number: int = 1, **more: Any) -> None:
        """A build of the project comes to that state."""
        now = self.tested.clock.now()
        build = Build(
            **{
                "id": f"{project.id}-{number}",
                "project_id": project.id,
                "account_id": project.account_id,
                "workflow_id": None,
                "workflow_name": "ci",
                "number": number,
                "state": state,
                "event": "push",
                "version": 1,
                "commit_hash": COMMIT,
                "tells": True,
                "created_at": now,
                "updated_at": now,
                **more,
            }
        )
        moved = self.tested.core.announcements.moved
        await self.tested.core.database.write(lambda connection: moved(connection, build))

    async def messages(self, project: Project) -> list[Message]:
        """Oldest first."""
        found, _ = await self.tested.core.database.read(
            lambda connection: list_messages(connection, project.id, 1000, 0)
        )
        return list(reversed(found))

    async def until(self, project: Project, *states: MessageState) -> list[Message]:
        async def look() -> list[Message] | None:
            found = await self.messages(project)
            return found if [one.state for one in found] == list(states) else None

        return list(await eventually(look))

    async def tried(self, project: Project, attempts: int) -> Message:
        async def look() -> Message | None:
            newest = (await self.messages(project))[-1]
            return newest if newest.attempts == attempts else None

        message: Message = await eventually(look)
        return message

    async def round(self, beacon: Project) -> None:
        """The sender has looked at all that was there before: something newer was sent."""
        number = len(await self.messages(beacon)) + 1
        await self.move(beacon, BuildState.QUEUED, number, commit_hash=f"{number:040x}")
        await self.until(beacon, *[MessageState.SENT] * number)

    def pass_time(self, seconds: float) -> None:
        self.tested.clock.seconds += seconds
        self.sender.wake()


@asynccontextmanager
async def running(sender: Sender) -> AsyncIterator[None]:
    task = asyncio.create_task(sender.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with open_core(tmp_path) as tested:
        server = Server()
        checks = Checks(tested.core, server, GitHubChecks())
        statuses = Statuses(tested.core, server, APIS, checks)
        sender = Sender(tested.core, {RecipientKind.STATUS: statuses})
        Telling(tested.core, sender.wake).begin()
        yield Office(tested, server, sender)


async def test_a_change_of_state_costs_one_statement_and_only_where_somebody_is_told(
    office: Office,
) -> None:
    project = await office.project()
    with collected() as statements:
        await office.move(project, BuildState.QUEUED)
    assert [text.split(" (")[0] for text, _ in statements if not is_of_transactions(text)] == [
        "INSERT INTO outbox"
    ]
    with collected() as statements:
        await office.move(project, BuildState.QUEUED, 2, commit_hash=None)
    assert [text for text, _ in statements if not is_of_transactions(text)] == []


def is_of_transactions(text: str) -> bool:
    """Each has it, whatever it does."""
    return text == "BEGIN IMMEDIATE" or "pg_current_xact_id_if_assigned" in text


async def test_only_the_last_state_of_a_context_is_sent(office: Office) -> None:
    project = await office.project()
    for state in (BuildState.QUEUED, BuildState.RUNNING, BuildState.SUCCEEDED):
        await office.move(project, state)
    async with running(office.sender):
        await office.until(
            project, MessageState.SUPERSEDED, MessageState.SUPERSEDED, MessageState.SENT
        )
    assert office.server.states() == ["success"]


async def test_an_older_build_of_the_commit_never_speaks_over_a_newer_one(office: Office) -> None:
    project = await office.project()
    async with running(office.sender):
        await office.move(project, BuildState.QUEUED, 2)
        await office.until(project, MessageState.SENT)
        await office.move(project, BuildState.SUCCEEDED, 1)
        await office.until(project, MessageState.SENT, MessageState.SUPERSEDED)
    assert office.server.states() == ["pending"]


async def test_a_state_that_comes_while_one_is_under_way_follows_it(office: Office) -> None:
    project, beacon = await office.project(), await office.project("beacon", "gitea.other")
    office.server.stalled[COMMIT] = asyncio.Event()
    async with running(office.sender):
        await office.move(project, BuildState.QUEUED)
        await eventually(lambda: _is(bool(office.server.asked)))
        await office.move(project, BuildState.FAILED)
        await office.round(beacon)
        assert office.server.states() == ["pending"]
        office.server.stalled[COMMIT].set()
        await office.until(project, MessageState.SENT, MessageState.SENT)
    assert office.server.states() == ["pending", "failure"]


async def test_a_server_that_says_when_is_not_asked_before(office: Office) -> None:
    project, beacon = await office.project(), await office.project("beacon", "gitea.other")
    headers = {"x-ratelimit-remaining": "0", "retry-after": "90"}
    office.server.answers["gitea.example"] = lambda: Reply(status=403, headers=headers)
    async with running(office.sender):
        await office.move(project, BuildState.QUEUED)
        await office.tried(project, 1)
        office.server.answers.clear()
        await office.move(project, BuildState.QUEUED, 7, commit_hash="b" * 40)
        office.pass_time(89)
        await office.round(beacon)
        assert len(office.server.states()) == 1
        office.pass_time(2)
        await office.until(project, MessageState.SENT, MessageState.SENT)


async def test_a_refusal_is_given_up_visibly_and_can_be_sent_again(office: Office) -> None:
    project = await office.project()
    body = b'{"message": "secret-token is not good for this"}'
    office.server.answers["gitea.example"] = lambda: Reply(status=404, headers={}, body=body)
    async with running(office.sender):
        await office.move(project, BuildState.QUEUED)
        for attempts in range(1, 6):
            await office.tried(project, attempts)
            office.pass_time(60)
        [dead] = await office.until(project, MessageState.DEAD)
        assert dead.reason == (
            "404: *** is not good for this; there is no such repository or commit there, "
            "or the token may not see it"
        )
        office.server.answers.clear()
        outbox = Outbox(office.tested.core, office.sender.released)
        await outbox.retry(MAINTAINER, project, dead.id)
        await office.until(project, MessageState.SENT)


async def test_a_server_that_is_away_for_hours_gets_everything_but_no_storm(
    office: Office,
) -> None:
    project, beacon = await office.project(), await office.project("beacon", "gitea.other")

    def away() -> Reply:
        raise RemoteFailed("gitea.example can't be reached", permanent=False)

    office.server.answers["gitea.example"] = away
    async with running(office.sender):
        for number in range(1, 51):
            await office.move(project, BuildState.QUEUED, number, commit_hash=f"{number:040x}")
        for _ in range(36):  # six hours
            office.pass_time(600)
            await office.round(beacon)
        assert 10 < len(office.server.states()) < 60
        office.server.answers.clear()
        office.pass_time(900)
        await office.until(project, *[MessageState.SENT] * 50)


async def test_a_stalled_server_holds_up_nobody_else(office: Office) -> None:
    office.server.stalled["gitea.stalled"] = asyncio.Event()
    stalled = await office.project("stalled", "gitea.stalled")
    other = await office.project("other")
    async with running(office.sender):
        for number in range(1, 700):
            await office.move(stalled, BuildState.QUEUED, number, commit_hash=f"{number:040x}")
        await office.move(other, BuildState.QUEUED)
        await office.until(other, MessageState.SENT)
    assert len(office.server.states("gitea.stalled")) == 4


async def test_people_whose_servers_stall_hold_up_no_status_and_their_own_project_alone(
    office: Office,
) -> None:
    """A mail server that stalls, or webhooks somebody named to hold up others."""
    project = await office.project()
    stalled = asyncio.Event()
    begun: list[str] = []

    class Stalled:
        async def deliver(
            self, message: Message, recipient: Recipient | None, project: Project
        ) -> Outcome:
            begun.append(message.project_id)
            await stalled.wait()
            return Outcome(answered=Answered.TAKEN)

    deliveries = {**office.sender.deliveries, RecipientKind.EMAIL: Stalled()}
    office.sender.deliveries = deliveries
    notify = tuple(
        Notify(on=(Occasion.FAILED,), email=(f"{number}@example.org",)) for number in range(50)
    )
    others = [await office.tested.new_project(f"other{number}") for number in range(20)]
    async with running(office.sender):
        for other in others:
            for number in range(1, 3):
                await office.move(other, BuildState.FAILED, number, notify=notify)
        await eventually(lambda: _is(len(begun) == AT_ONCE))
        await office.move(project, BuildState.FAILED)
        await office.until(project, MessageState.SENT)
    assert max(Counter(begun).values()) <= OF_A_PROJECT_AT_ONCE


async def test_two_hundred_builds_that_move_at_once_are_all_told_in_order(office: Office) -> None:
    project = await office.project()
    builds = [(number, f"{number:040x}") for number in range(1, 201)]
    states = (BuildState.QUEUED, BuildState.RUNNING, BuildState.SUCCEEDED)
    async with running(office.sender):
        with collected() as statements:
            for state in states:
                async with asyncio.TaskGroup() as group:
                    for number, commit in builds:
                        group.create_task(office.move(project, state, number, commit_hash=commit))
        inserts = [text for text, _ in statements if text.startswith("INSERT INTO outbox")]
        assert len(inserts) == 600

        async def all_over() -> bool:
            found = await office.messages(project)
            return all(one.state is not MessageState.WAITING for one in found)

        await eventually(all_over)
    by_commit: dict[str, list[str]] = {}
    for _, commit, state in office.server.asked:
        by_commit.setdefault(commit, []).append(state)
    assert len(by_commit) == 200
    for told in by_commit.values():
        assert told[-1] == "success"
        assert told == sorted(told)  # pending, pending, success


async def _is(value: bool) -> bool:
    return value
