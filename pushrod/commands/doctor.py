"""`pushrod doctor`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pushrod.commands.coordinator import LISTEN_HELP
from pushrod.connection import (
    Connection,
    ConnectionOptions,
    connection_options,
    default_data_folder,
    read_token,
    resolve_url,
)
from pushrod.presentation import print_json, printable

if TYPE_CHECKING:
    from coordinator.settings import Settings
    from pushrod.doctor.finding import Finding

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="The data folder to look at (or PUSHROD_DATA).",
)
@click.option("--listen", metavar="HOST:PORT", help=LISTEN_HELP)
@click.option("--engine", default="auto", show_default=True, help="As for `pushrod up`, or none.")
@click.option(
    "--registry",
    "registries",
    multiple=True,
    metavar="HOST",
    help="Try whether this registry of images can be reached; may be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@connection_options
def doctor(
    options: ConnectionOptions,
    data: Path | None,
    listen: str | None,
    engine: str,
    registries: tuple[str, ...],
    as_json: bool,
) -> None:
    """Say what this machine lacks, and the command that mends it; changes nothing.

    With --url (or PUSHROD_URL) also whether that coordinator answers and takes the token, and
    whether registries take the logins that it keeps. Registries that the settings name are tried,
    too; run it on the engine's machine, for it is the engine that fetches images.
    Exit code 1 when something fails.
    """
    from pushrod.client import run
    from pushrod.commands.coordinator import settings_from
    from pushrod.doctor.finding import finding_json, is_fit

    settings = settings_from(data or default_data_folder(), listen, None)
    place = (settings.host, settings.port)
    findings = run(_look(options, settings, place, engine, registries))
    if as_json:
        print_json({"fit": is_fit(findings), "findings": [finding_json(f) for f in findings]})
    else:
        _show(findings)
    if not is_fit(findings):
        raise click.exceptions.Exit(1)


async def _look(
    options: ConnectionOptions,
    settings: Settings,
    listen: tuple[str, int],
    engine: str,
    registries: Sequence[str],
) -> list[Finding]:
    """The checks that wait for somebody run at the same time."""
    # Before anybody is asked: what is imported meanwhile takes from the time to answer.
    import_module("pushrod.doctor.coordinator")
    import_module("pushrod.doctor.registries")
    from pushrod.doctor import machine
    from pushrod.doctor.engine import check_engine

    async with asyncio.TaskGroup() as group:
        asking_engine = group.create_task(check_engine(engine))
        asking_coordinator = group.create_task(_look_at_coordinator(options))
        asking_registries = group.create_task(_look_at_registries(options, settings, registries))
        threads = [
            group.create_task(asyncio.to_thread(*check))
            for check in (
                (machine.check_python,),
                (machine.check_libraries,),
                (machine.check_git,),
                (machine.check_curl,),
                (machine.check_folder, "data folder", settings.data),
                (machine.check_port, *listen),
                (machine.check_clock,),
            )
        ]
    found = [thread.result() for thread in threads]
    asked = (asking_engine, asking_coordinator, asking_registries)
    return [*found, *(finding for task in asked for finding in task.result())]


async def _look_at_coordinator(options: ConnectionOptions) -> list[Finding]:
    """Nothing where none was named."""
    if not _names_coordinator(options):
        return []
    from pushrod.doctor.coordinator import check_coordinator

    return await check_coordinator(resolve_url(options), await _token(options))


async def _look_at_registries(
    options: ConnectionOptions, settings: Settings, registries: Sequence[str]
) -> list[Finding]:
    from pushrod.doctor.registries import check_registries

    token = await _token(options) if _names_coordinator(options) else None
    connection = None if token is None else Connection(url=resolve_url(options), token=token)
    return await check_registries(settings, registries, connection)


def _names_coordinator(options: ConnectionOptions) -> bool:
    return options.url is not None or bool(os.environ.get("PUSHROD_URL"))


async def _token(options: ConnectionOptions) -> str | None:
    if options.token_file is not None:
        return await asyncio.to_thread(read_token, options.token_file)
    return os.environ.get("PUSHROD_TOKEN", "").strip() or None


def _show(findings: Sequence[Finding]) -> None:
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        word = finding.verdict.value
        mark = click.style(f"{word:4}", fg=COLOURS[word])
        click.echo(f"{mark}  {finding.name:{width}}  {printable(finding.says)}")
        if finding.remedy is not None:
            click.echo(f"{'':{width + 8}}→ {printable(finding.remedy)}")
