"""`pushrod demo`: from nothing to a finished build by a real `git push`."""

from __future__ import annotations

import asyncio
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from agent.engines.private import EngineError
from pushrod import background
from pushrod.background import BackgroundPlaces
from pushrod.client import Client, call, run
from pushrod.commands.logs import show_live
from pushrod.commands.project import DEFAULT_ACCOUNT
from pushrod.connection import ADMIN_TOKEN_NAME, Connection, default_data_folder, read_token
from pushrod.demo_push import PushTarget, push_example
from pushrod.errors import CommandError, NotFoundError, RefusedError
from pushrod.presentation import printable
from pushrod.transport import Json

PROJECT = "hello"
IMAGE_SLUG = "debian"
BUILD_SECONDS = 30.0
"""How long after the push its build may take to be there."""
POLL_SECONDS = 0.1


@click.command()
@click.option("--stop", is_flag=True, help="End the demo's pushrod and the private engine.")
def demo(stop: bool) -> None:
    """Show the whole way: engine, image, coordinator, agent, a real git push, its build live.

    Exit code 0 only when the build succeeded. pushrod stays up to be looked at, until
    `pushrod demo --stop`.
    """
    places = BackgroundPlaces(data=default_data_folder() / "demo")
    try:
        if stop:
            run(_stop(places))
        else:
            _show(places)
    except EngineError as error:
        raise CommandError(str(error)) from error


def progress(message: str) -> None:
    click.echo(click.style("==> ", fg="green") + printable(message))


def _show(places: BackgroundPlaces) -> None:
    image, url = run(_bring_up(places))
    token_file = places.data / ADMIN_TOKEN_NAME

    async def conversation(client: Client) -> Json:
        await _ensure_image(client, image)
        project = await _ensure_project(client)
        progress(f"git push {project['pushUrl']} main")
        target = PushTarget(url=url, push_url=project["pushUrl"], token_file=token_file)
        sha = await push_example(target, f"Demo run of {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")
        build = await _build_of(client, project["id"], sha)
        progress(f"following build {build['number']}")
        await show_live(client, build, None, as_json=False)
        return await client.build(build["id"])

    finished = call(Connection(url=url, token=read_token(token_file)), conversation)
    click.echo(click.style(finished["state"], bold=True))
    _tell_where_to_look(finished, url, token_file)
    if finished["state"] != "succeeded":
        raise click.exceptions.Exit(1)


async def _bring_up(places: BackgroundPlaces) -> tuple[str, str]:
    """The base image's reference and the coordinator's URL."""
    from agent.engines.private import ensure_base_image, up

    engine = await up(say=progress)
    progress(f"engine {engine.version} at {engine.url}")
    image = await ensure_base_image(progress, address=engine)
    progress(f"base image {image}")
    return image, await background.ensure_running(places, progress)


async def _ensure_image(client: Client, reference: str) -> None:
    try:
        await client.create_image(IMAGE_SLUG, reference)
    except RefusedError as error:
        if error.status != 409:
            raise
        known = {one["slug"]: one["imageUrl"] for one in await client.images()}
        if known.get(IMAGE_SLUG) != reference:
            progress(f"the slug {IMAGE_SLUG} is {known.get(IMAGE_SLUG)}, left as it is")


async def _ensure_project(client: Client) -> Json:
    try:
        projects = await client.projects(DEFAULT_ACCOUNT)
    except NotFoundError:
        projects = []  # the account comes with its first project
    for project in projects:
        if project["slug"] == PROJECT:
            return project
    return await client.create_project(DEFAULT_ACCOUNT, PROJECT, None)


async def _build_of(client: Client, project_id: str, sha: str) -> Json:
    """The build of the pushed commit, with its steps."""
    deadline = asyncio.get_running_loop().time() + BUILD_SECONDS
    while asyncio.get_running_loop().time() < deadline:
        for build in await client.builds(project_id, limit=20):
            if build.get("commitHash") == sha:
                return await client.build(build["id"])
        await asyncio.sleep(POLL_SECONDS)
    raise CommandError(f"the push made no build within {BUILD_SECONDS:.0f} s")


def _tell_where_to_look(build: Json, url: str, token_file: Path) -> None:
    command = "pushrod" if shutil.which("pushrod") else sys.argv[0]
    click.echo(
        f"""
  the build    {build.get("url", url)}
  log in with  the token in {token_file}
  from here    {command} --url {url} --token-file {token_file} build list
  again        make demo, or {command} demo
  stop         make demo-stop, or {command} demo --stop"""
    )


async def _stop(places: BackgroundPlaces) -> None:
    from agent.engines.private import down

    if not await background.stop(places, progress):
        progress("no demo was running")
    progress("engine stopped" if await down(say=progress) else "no private engine was running")
