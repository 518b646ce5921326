"""Steps from offer to completion: 10,000 wait, and 100 slots of agents that do nothing but answer.

Over SQLite, over PostgreSQL, and by three coordinators of which one leads: the processor time of
each is told, since here all of them, the agents, the database and the store share the cores.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from pipelines_schema.contract import FOR_AGENTS_ALONE
from tests.benchmarks.samples import Row
from tests.e2e.processes import Pushrod
from tests.e2e.several import several
from tests.postgres_server import PostgresServer, running_postgres_server
from tests.s3_server import running_s3_server

QUEUED = 10_000
STEPS_OF_A_BUILD = 100
AGENTS, SLOTS = 6, 16
MEASURED = 2_000
TICKS = os.sysconf("SC_CLK_TCK")
SETTINGS = "project_max_queued_builds = 100000\nproject_max_waiting_steps = 1000000\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Coordinators that run."""

    urls: Sequence[str]
    """Of each of them."""
    token: str
    processes: Mapping[str, int]
    """Their ids."""


def measure(folder: Path) -> list[Row]:
    folder.mkdir(parents=True)
    rows = []
    with running_postgres_server() as postgres:
        for what, place in (
            ("one coordinator, SQLite", alone(folder / "sqlite")),
            ("one coordinator, PostgreSQL", alone(folder / "one", postgres)),
            ("three coordinators, PostgreSQL and S3", three(folder / "three", postgres)),
        ):
            with place as running:
                rows.append(asyncio.run(_measured(what, running)))
    return rows


@contextmanager
def alone(folder: Path, postgres: PostgresServer | None = None) -> Iterator[Place]:
    folder.mkdir()
    of_place = f'database = "{postgres.new_database().url}"\n' if postgres else ""
    pushrod = Pushrod(folder, settings=of_place + SETTINGS)
    pushrod.start_coordinator()
    try:
        yield Place(
            urls=[pushrod.api.url],
            token=pushrod.api.token,
            processes={"coordinator": pushrod.coordinator.pid},
        )
    finally:
        pushrod.stop()


@contextmanager
def three(folder: Path, postgres: PostgresServer) -> Iterator[Place]:
    folder.mkdir()
    with (
        running_s3_server() as store,
        several(folder, postgres, store, range(1, 4), SETTINGS) as coordinators,
    ):
        names = {1: "the leader", 2: "the second", 3: "the third"}
        yield Place(
            urls=[coordinators.url(number) for number in names],
            token=coordinators.token,
            processes={name: coordinators.running[number].pid for number, name in names.items()},
        )


async def _measured(what: str, place: Place) -> Row:
    headers = {"Authorization": f"Bearer {place.token}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        await queue(session, place.urls[0])
        agents = [
            await registered(session, place.urls[number % len(place.urls)], number)
            for number in range(AGENTS)
        ]
    async with aiohttp.ClientSession() as session:
        left = _Left(MEASURED)
        before = {name: processor_seconds(pid) for name, pid in place.processes.items()}
        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for url, token in agents:
                tasks.create_task(_agent(session, url, token, left))
        seconds = time.monotonic() - began
    done = MEASURED - left.count
    used = {
        name: (processor_seconds(pid) - before[name]) / done * 1000
        for name, pid in place.processes.items()
    }
    told = ", ".join(f"{name} {milliseconds:.1f} ms" for name, milliseconds in used.items())
    return Row(
        what=f"steps with {QUEUED} queued on {AGENTS * SLOTS} slots: {what}",
        measured=f"{done / seconds:.0f} steps/s; processor time of a step: {told}",
    )


@dataclass(slots=True)
class _Left:
    count: int


async def queue(
    session: aiohttp.ClientSession, url: str, builds: int = QUEUED // STEPS_OF_A_BUILD
) -> None:
    project = await posted(session, f"{url}/api/projects", accountId="default", name="many")
    steps = [
        {
            "name": f"s{number}",
            "imageSlug": "any",
            "dependsOn": [],
            "runScript": "true",
            "cacheDirs": [],
            "outputPaths": [],
        }
        for number in range(STEPS_OF_A_BUILD)
    ]
    path = f"{url}/api/projects/{project['id']}"
    workflow = await posted(session, f"{path}/workflows", name="nothing", steps=steps)
    for _ in range(builds):
        await posted(session, f"{path}/builds", workflowId=workflow["id"])


async def registered(
    session: aiohttp.ClientSession, url: str, number: int
) -> tuple[str, dict[str, str]]:
    name = f"agent{number}"
    agent = await posted(session, f"{url}/api/agents/register", name=name, slots=SLOTS)
    return url, {
        "Authorization": f"Bearer {agent['token']}",
        "Connection": f"keep-alive, {FOR_AGENTS_ALONE}",
    }


async def _agent(
    session: aiohttp.ClientSession, url: str, token: dict[str, str], left: _Left
) -> None:
    """As an agent does it: a completion brings the next step, a poll fills the free slots, and the
    next poll is sent when its offers are accepted."""
    running: set[asyncio.Task[None]] = set()
    while left.count > 0:
        body = {"free": SLOTS - len(running)}
        polled = await posted(session, f"{url}/api/agents/poll", token, **body)
        accepts = [_accepted(session, url, token, offer) for offer in polled["offers"]]
        for spec in await asyncio.gather(*accepts):
            task = asyncio.create_task(_slot(session, url, token, spec, left))
            running.add(task)
            task.add_done_callback(running.discard)
        while len(running) == SLOTS:
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.gather(*running)


async def _accepted(
    session: aiohttp.ClientSession, url: str, token: dict[str, str], offer: dict[str, Any]
) -> dict[str, Any]:
    path = f"{url}/api/runner/{offer['stepId']}/accept"
    return await posted(session, path, token, epoch=offer["epoch"])


async def _slot(
    session: aiohttp.ClientSession,
    url: str,
    token: dict[str, str],
    given: dict[str, Any],
    left: _Left,
) -> None:
    spec: dict[str, Any] | None = given
    while spec is not None:
        more = {"next": {"instance": "one"}} if left.count > SLOTS * AGENTS else {}
        ended = await posted(
            session,
            f"{url}/api/runner/{spec['stepId']}/complete",
            token,
            status="success",
            exitCode=0,
            epoch=spec["epoch"],
            **more,
        )
        left.count -= 1
        spec = ended.get("next")


async def posted(
    session: aiohttp.ClientSession, url: str, headers: dict[str, str] | None = None, **body: Any
) -> dict[str, Any]:
    async with session.post(url, json=body, headers=headers) as answer:
        assert answer.status < 300, f"{url}: {answer.status} {await answer.text()}"
        found: dict[str, Any] = await answer.json()
        return found


def processor_seconds(pid: int) -> float:
    """Of the process and of those of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS
