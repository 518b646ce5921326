"""`pushrod coordinator`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pushrod.connection import ADMIN_TOKEN_NAME
from pushrod.errors import CommandError

if TYPE_CHECKING:
    from coordinator.settings import Settings

LISTEN_HELP = "Where to serve (default 127.0.0.1:3000)."
DATA_HELP = "Folder of the data (or PUSHROD_DATA; default ~/.local/share/pushrod)."

auth_option = click.option(
    "--auth",
    type=click.Choice(["tokens", "none"]),
    help="none: no tokens, on a loopback address (default tokens).",
)


@click.command()
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help=DATA_HELP)
@click.option("--listen", metavar="HOST:PORT", help=LISTEN_HELP)
@auth_option
@click.option(
    "--config", type=click.Path(path_type=Path, dir_okay=False), help="A TOML file of settings."
)
def coordinator(
    data: Path | None, listen: str | None, auth: str | None, config: Path | None
) -> None:
    """Run the coordinator alone: pages, API, git and dispatch; agents join it.

    Prints `ready URL` once it serves. The first start writes DATA/admin-token.
    """
    from pushrod.client import run
    from pushrod.serving import begin_service, log_as

    begin_service()
    settings = settings_from(data, listen, config, auth=auth)
    log_as(settings.log_format)
    run(_serve(settings))


async def _serve(settings: Settings) -> None:
    from pushrod.serving import on_signals
    from pushrod.systemd import watched

    stop = asyncio.Event()
    with on_signals(drain=stop.set, cancel=stop.set):
        async with watched():
            await serve_coordinator(settings, lambda url: announce(url, settings), stop)


def announce(url: str, settings: Settings) -> None:
    """The ready line on stdout, and for people on stderr how to log in."""
    from pushrod.presentation import say
    from pushrod.serving import print_ready

    if settings.auth == "none":
        say(f"everybody on this machine may do everything at {url}, without a token")
    else:
        say(f"log in at {url} with the token in {settings.data / ADMIN_TOKEN_NAME}")
    print_ready(f"ready {url}")


def settings_from(
    data: Path | None, listen: str | None, config: Path | None, *, auth: str | None = None
) -> Settings:
    """The coordinator's settings. Raises CommandError for what can't be understood."""
    from coordinator.settings_file import SettingsError, load_settings

    try:
        return load_settings(data, listen, config, auth=auth)
    except SettingsError as error:
        raise CommandError(f"settings: {' '.join(str(error).split())}") from error


async def serve_coordinator(
    settings: Settings, ready: Callable[[str], None], stop: asyncio.Event
) -> None:
    """Serve until `stop`. Raises CommandError when the port or the folder can't be had."""
    from coordinator.app import run_coordinator
    from coordinator.composition import CannotDeploy
    from coordinator.object_ports import ObjectsUnusable
    from coordinator.place import CannotListen, DataFolderInUse
    from coordinator.services.keys import KeyUnusable
    from coordinator.storage.soundness import DatabaseUnusable
    from pushrod.otlp import spans_to

    unusable = (
        CannotDeploy,
        CannotListen,
        DatabaseUnusable,
        DataFolderInUse,
        KeyUnusable,
        ObjectsUnusable,
    )
    try:
        with spans_to(settings.otlp_endpoint, service="pushrod-coordinator") as emit:
            await run_coordinator(settings, ready=ready, stop=stop, emit=emit)
    except (*unusable, OSError) as error:
        raise CommandError(f"the coordinator can't run: {error}") from error
