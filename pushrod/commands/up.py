"""`pushrod up`: coordinator, agent and engine in one process."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipelines_schema.spans import Emit
from pushrod.commands.coordinator import (
    DATA_HELP,
    LISTEN_HELP,
    announce,
    auth_option,
    serve_coordinator,
    settings_from,
)
from pushrod.connection import ADMIN_TOKEN_NAME, Connection, read_token
from pushrod.errors import CommandError

if TYPE_CHECKING:
    from coordinator.settings import Settings
    from pushrod.serving import PatientAgent

ENGINE_HELP = "auto, host, buildkit, or a BuildKit's address."
ca_file_option = click.option(
    "--ca-file",
    envvar="PUSHROD_CA_FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Certificates (PEM) of authorities that steps and image builds believe, too.",
)
allow_privileged_option = click.option(
    "--allow-privileged",
    envvar="PUSHROD_ALLOW_PRIVILEGED",
    is_flag=True,
    help="Let steps of trusted projects have all rights over the engine's machine.",
)
LABELS = {"deploy": "true"}
"""It is the only agent there, so it takes deployments too."""
ONLINE_POLL_SECONDS = 0.05
STEPS_WOULD_BE_TRUSTED = (
    "without tokens everybody on this machine may do everything here, and with the host engine the "
    "steps are on this machine: any workflow could read all secrets and change all projects. Leave "
    "--auth none out, take another --engine, or say --trust-steps if you wrote every workflow"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalAgent:
    engine: str
    slots: int
    ca_file: Path | None = None
    allow_privileged: bool = False
    emit: Emit | None = None
    """Takes the spans of attempts."""


def default_slots() -> int:
    """Steps at a time: one per processor, and two at least, so that a build can fan out."""
    return max(2, os.cpu_count() or 1)


@click.command()
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help=DATA_HELP)
@click.option("--listen", metavar="HOST:PORT", help=LISTEN_HELP)
@auth_option
@click.option("--engine", default="auto", show_default=True, help=ENGINE_HELP)
@click.option("--slots", type=click.IntRange(1, 1000), help="Steps at a time (default: CPUs).")
@allow_privileged_option
@ca_file_option
@click.option(
    "--trust-steps", is_flag=True, help="Allow --auth none with --engine host: steps may do all."
)
def up(
    data: Path | None,
    listen: str | None,
    auth: str | None,
    engine: str,
    slots: int | None,
    allow_privileged: bool,
    ca_file: Path | None,
    trust_steps: bool,
) -> None:
    """Run coordinator, one agent and the engine, all local.

    Prints `ready URL` once it serves and the agent is there. Ctrl-C drains; a second one cancels
    the running steps.
    """
    from pushrod.client import run
    from pushrod.serving import begin_service, log_as

    begin_service()
    settings = settings_from(data, listen, None, auth=auth)
    log_as(settings.log_format)
    if settings.auth == "none" and engine == "host" and not trust_steps:
        raise CommandError(STEPS_WOULD_BE_TRUSTED)
    local = LocalAgent(
        engine=engine,
        slots=slots or default_slots(),
        ca_file=ca_file,
        allow_privileged=allow_privileged,
    )
    run(_run_watched(settings, local))


async def _run_watched(settings: Settings, local: LocalAgent) -> None:
    from pushrod.systemd import watched

    async with watched():
        await _run_all(settings, local)


async def _run_all(settings: Settings, local: LocalAgent) -> None:
    """The agent ends first: while its steps drain, the coordinator still takes their reports."""
    from pushrod.otlp import spans_to

    with spans_to(settings.otlp_endpoint, service="pushrod-agent") as emit:
        await _run_both(settings, replace(local, emit=emit))


@dataclass(slots=True)
class _Ending:
    """What signals end: the coordinator, and once there is an agent, that first. One handler for
    all of it: a signal that came before the agent may be acted on after."""

    stop_coordinator: asyncio.Event = field(default_factory=asyncio.Event)
    agent: PatientAgent | None = None

    def drain(self) -> None:
        if self.agent is None:
            self.stop_coordinator.set()
        else:
            self.agent.begin_drain()

    def cancel(self) -> None:
        if self.agent is None:
            self.stop_coordinator.set()
        else:
            self.agent.cancel_all()


async def _run_both(settings: Settings, local: LocalAgent) -> None:
    from pushrod.serving import on_signals

    ending = _Ending()
    serving: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as group:
        coordinator = group.create_task(
            serve_coordinator(settings, serving.set_result, ending.stop_coordinator)
        )
        with on_signals(drain=ending.drain, cancel=ending.cancel):
            waiting: set[asyncio.Future[Any]] = {coordinator, serving}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if not serving.done() or coordinator.done() or ending.stop_coordinator.is_set():
                return
            agent = ending.agent = _agent_at(serving.result(), settings, local)
            running = group.create_task(agent.run())
            announcing = group.create_task(_announce(serving.result(), settings, agent))
            waiting = {running, coordinator}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            agent.begin_drain()
            announcing.cancel()
        ending.stop_coordinator.set()


def _agent_at(url: str, settings: Settings, local: LocalAgent) -> PatientAgent:
    from pushrod.serving import AgentOptions, PatientAgent

    options = AgentOptions(
        data=settings.data / "agent",
        name=agent_name(),
        slots=local.slots,
        engine=local.engine,
        ca_file=local.ca_file,
        allow_privileged=local.allow_privileged,
        labels=LABELS,
        by_itself=False,
        emit=local.emit,
    )
    return PatientAgent(options, url=url, token=read_token(settings.data / ADMIN_TOKEN_NAME))


def agent_name() -> str:
    """The machine's name, for people."""
    return socket.gethostname()[:100] or "local"


async def _announce(url: str, settings: Settings, agent: PatientAgent) -> None:
    """Print the ready line when the agent is there, or can't be for want of an engine."""
    token = read_token(settings.data / ADMIN_TOKEN_NAME)
    online = asyncio.create_task(_wait_until_online(Connection(url=url, token=token)))
    missing = asyncio.create_task(agent.engine_missing.wait())
    try:
        waiting: set[asyncio.Future[Any]] = {online, missing}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if online.done():
            online.result()
    finally:
        online.cancel()
        missing.cancel()
    announce(url, settings)


async def _wait_until_online(connection: Connection) -> None:
    """Until the coordinator has had a poll from an agent of this machine's name."""
    from pushrod.client import Client

    async with Client(connection) as client:
        while True:
            agents = await client.agents()
            if any(one.get("online") and one.get("name") == agent_name() for one in agents):
                return
            await asyncio.sleep(ONLINE_POLL_SECONDS)
