"""`pushrod engine up|down|status`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pushrod.errors import CommandError
from pushrod.presentation import duration_text, print_json, say

if TYPE_CHECKING:
    from agent.engines.private import EngineAddress, EngineStatus

Result = TypeVar("Result")

LOOK_SECONDS = 5.0
"""How often an engine that is stayed with is looked after."""


@click.group()
def engine() -> None:
    """The machine's private BuildKit engine, put together from the distribution's packages."""


@engine.command("up")
@click.option("--stay", is_flag=True, help="Mend it until a signal comes, then end it (systemd).")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def engine_up(stay: bool, as_json: bool) -> None:
    """Bring it up, unless a suitable engine is there already; print its address.

    With --stay it is always the private engine, and it ends with the command.
    """
    from agent.engines.private import up

    if stay:
        return ask_engine(_stay())
    address = ask_engine(up(say=say))
    if as_json:
        return print_json(address_json(address))
    return click.echo(address.url)


@engine.command("down")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def engine_down(as_json: bool) -> None:
    """End it; images and caches stay on disk. An engine of the system is left alone."""
    from agent.engines.private import down

    stopped = ask_engine(down(say=say))
    if as_json:
        return print_json({"stopped": stopped})
    return say("stopped" if stopped else "no private engine was running")


@engine.command("status")
@click.option("--disk", is_flag=True, help="Count its disk space too (reads the whole folder).")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def engine_status(disk: bool, as_json: bool) -> None:
    """Say how it is; exit code 1 when no engine runs."""
    from agent.engines.private import status

    found = ask_engine(status(measure_disk=disk))
    if as_json:
        print_json(status_json(found))
    else:
        show_status(found)
    if not found.running:
        raise click.exceptions.Exit(1)


async def _stay() -> None:
    """Raises EngineError when it can't be brought up, or not be mended."""
    from agent.engines.private import EngineUnresponsiveError, down, up
    from pushrod.serving import on_signals, print_ready
    from pushrod.systemd import watched

    stop = asyncio.Event()
    with on_signals(drain=stop.set, cancel=stop.set, says="ending the engine"):
        async with watched():
            address = await up(reuse=False, say=say)
            try:
                print_ready(f"ready {address.url}")
                while not await _is_set_within(stop, LOOK_SECONDS):
                    # Steps may be running in one that is only slow.
                    with contextlib.suppress(EngineUnresponsiveError):
                        await up(reuse=False, say=say)
            finally:
                await down(say=say)


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


def ask_engine(question: Coroutine[Any, Any, Result]) -> Result:
    """Run it. Raises CommandError with what is wrong and what to do."""
    from agent.engines.private import EngineError

    try:
        return asyncio.run(question)
    except EngineError as error:
        raise CommandError(str(error)) from error


def address_json(address: EngineAddress) -> dict[str, str]:
    """What is absent is left out."""
    fields = {
        "address": address.url,
        "kind": address.kind.value,
        "version": address.version,
        "registry": address.registry,
    }
    return {name: value for name, value in fields.items() if value is not None}


def status_json(found: EngineStatus) -> dict[str, object]:
    fields: dict[str, object | None] = {
        "running": found.running,
        "data": str(found.data),
        "log": str(found.log),
        "pid": found.pid,
        "uptimeSeconds": found.uptime_seconds,
        "diskBytes": found.disk_bytes,
        "problem": found.problem,
        **(address_json(found.address) if found.address else {}),
    }
    return {name: value for name, value in fields.items() if value is not None}


def show_status(found: EngineStatus) -> None:
    if found.address is not None:
        uptime = found.uptime_seconds
        since = f", up {duration_text(uptime)}" if uptime is not None else ""
        click.echo(f"{found.address.kind.value} engine {found.address.version}{since}")
        click.echo(f"address  {found.address.url}")
    elif found.problem:
        click.echo(f"the private engine is broken: {found.problem}")
    else:
        click.echo("no engine runs: `pushrod engine up` starts one")
    click.echo(f"data     {found.data}")
    click.echo(f"log      {found.log}")
    if found.disk_bytes is not None:
        click.echo(f"disk     {found.disk_bytes / 1e9:.2f} GB")
