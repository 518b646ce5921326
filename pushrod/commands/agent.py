"""`pushrod agent`, `pushrod agent token`, which admits one, and what people do to agents."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pushrod.commands import agents
from pushrod.commands.up import (
    ENGINE_HELP,
    agent_name,
    allow_privileged_option,
    ca_file_option,
    default_slots,
)
from pushrod.connection import (
    Connection,
    ConnectionOptions,
    connection_options,
    default_data_folder,
    resolve_connection,
)
from pushrod.sizes import parse_size

if TYPE_CHECKING:
    from pushrod.serving import AgentOptions, PatientAgent

MAX_USER_ID = 2**32 - 1
"""Which means "no user" to the kernel."""


def parse_label(text: str) -> tuple[str, str]:
    """`key=value` → both. Raises click.BadParameter."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise click.BadParameter(f"{text!r} must look like os=linux", param_hint="--label")
    return key, value


def parse_platform(text: str) -> str:
    """`linux/arm64`, as it is. Raises click.BadParameter."""
    from pipelines_schema.limits import PLATFORM

    if not PLATFORM.fullmatch(text):
        raise click.BadParameter(f"{text!r} must look like linux/arm64", param_hint="--platform")
    return text


def parse_user_ids(text: str | None) -> range | None:
    """`first-last` → all of them. Raises click.BadParameter."""
    if text is None:
        return None
    first, dash, last = text.partition("-")
    numbers = first.isascii() and first.isdigit() and last.isascii() and last.isdigit()
    if not (dash and numbers and 0 < int(first) <= int(last) < MAX_USER_ID):
        raise click.BadParameter(
            f"{text!r} must look like 60706-61183, from 1 on", param_hint="--host-user-ids"
        )
    return range(int(first), int(last) + 1)


@click.group(invoke_without_command=True)
@click.option("--name", help="For people (default: the machine's name).")
@click.option("--slots", type=click.IntRange(1, 1000), help="Steps at a time (default: CPUs).")
@click.option("--max-steps", type=click.IntRange(1), help="End after so many (default: never).")
@click.option("--once", is_flag=True, help="End after one step: as --slots 1 --max-steps 1.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="What steps ask for.")
@click.option("--engine", default="auto", show_default=True, help=ENGINE_HELP)
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the agent's data (default: `agent` in the default data folder).",
)
@click.option(
    "--host-user-ids",
    envvar="PUSHROD_HOST_USER_IDS",
    metavar="FIRST-LAST",
    callback=lambda _context, _option, text: parse_user_ids(text),
    help="Users that the host engine of root runs projects as (default: 60706-61183).",
)
@click.option(
    "--platform",
    "platforms",
    multiple=True,
    metavar="OS/ARCH",
    callback=lambda _context, _option, texts: tuple(map(parse_platform, texts)),
    help="Build images for these alone (default: all that the engine says it runs).",
)
@click.option(
    "--min-free",
    envvar="PUSHROD_MIN_FREE",
    metavar="SIZE",
    help="With less room than this for its data, or for its engine's, it takes no work "
    "(default: 1GiB).",
)
@click.option(
    "--keep-days",
    envvar="PUSHROD_KEEP_DAYS",
    type=click.IntRange(1, 36_500),
    help="Sources, and caches of the host engine, go that no step used for so long (default: 30).",
)
@allow_privileged_option
@ca_file_option
@connection_options
@click.pass_context
def agent(
    context: click.Context,
    options: ConnectionOptions,
    name: str | None,
    slots: int | None,
    max_steps: int | None,
    once: bool,
    labels: tuple[str, ...],
    engine: str,
    data: Path | None,
    host_user_ids: range | None,
    platforms: tuple[str, ...],
    min_free: str | None,
    keep_days: int | None,
    allow_privileged: bool,
    ca_file: Path | None,
) -> None:
    """Run an agent, which takes steps from a coordinator and runs them.

    The token file holds a registration token, from `pushrod agent token`, or the admin token.
    SIGTERM or Ctrl-C drains: running steps finish; a second one cancels them.
    """
    context.obj = options
    if context.invoked_subcommand is not None:
        return
    if once and (slots, max_steps) != (None, None):
        raise click.UsageError("--once means --slots 1 --max-steps 1: leave those out, or --once")
    from pushrod.client import run
    from pushrod.otlp import spans_to
    from pushrod.serving import AgentOptions, begin_service

    begin_service()
    from structlog.contextvars import bind_contextvars  # which loads it as the log wants it

    chosen = AgentOptions(
        data=(data or default_data_folder() / "agent").absolute(),
        name=name or agent_name(),
        slots=1 if once else slots or default_slots(),
        max_steps=1 if once else max_steps,
        engine=engine,
        labels=dict(map(parse_label, labels)),
        host_user_ids=host_user_ids,
        ca_file=ca_file,
        platforms=platforms,
        min_free_bytes=None if min_free is None else parse_size(min_free, "--min-free"),
        keep_days=keep_days,
        allow_privileged=allow_privileged,
    )
    bind_contextvars(agent=chosen.name)
    with spans_to(None, service="pushrod-agent") as emit:
        run(_work(replace(chosen, emit=emit), resolve_connection(options)))


async def _work(chosen: AgentOptions, connection: Connection) -> None:
    from pushrod.serving import PatientAgent, on_signals
    from pushrod.systemd import watched

    patient = PatientAgent(chosen, url=connection.url, token=connection.token)
    telling = asyncio.create_task(_tell_when_signed_in(patient))
    try:
        with on_signals(drain=patient.begin_drain, cancel=patient.cancel_all):
            async with watched():
                await patient.run()
    finally:
        telling.cancel()


async def _tell_when_signed_in(patient: PatientAgent) -> None:
    from pushrod.systemd import notify

    await patient.signed_in.wait()
    notify("READY=1", "STATUS=taking steps")


@agent.command("token")
@click.option("--name", default="agents", show_default=True, help="What the token is for.")
@click.option("--account", help="Steps of this account alone (default: of all).")
@click.option("--expires-in-days", type=click.IntRange(1, 3650), help="Default: never.")
@click.option("--json", "as_json", is_flag=True, help="The whole answer, for programs.")
@connection_options
def agent_token(
    options: ConnectionOptions,
    name: str,
    account: str | None,
    expires_in_days: int | None,
    as_json: bool,
) -> None:
    """Print a new registration token: `pushrod agent token > FILE`, then `--token-file FILE`."""
    from pushrod.client import call
    from pushrod.commands.token import show_new_token

    created = call(
        resolve_connection(options),
        lambda client: client.create_token(
            name, "registration", account=account, expires_in_days=expires_in_days
        ),
    )
    show_new_token(created, as_json=as_json)


for _command in (
    agents.list_agents,
    agents.show,
    agents.demand,
    agents.pause,
    agents.drain,
    agents.resume,
    agents.remove,
):
    agent.add_command(_command)
