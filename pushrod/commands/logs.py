"""`pushrod logs [-f] BUILD[/STEP]`."""

from __future__ import annotations

import click

from pushrod.audiences import JsonLines, MarkedLines, RawBytes, print_line
from pushrod.client import Client, call
from pushrod.connection import ConnectionOptions, connection_options, resolve_connection
from pushrod.errors import NotFoundError
from pushrod.following import Audience, follow_build, read_whole_log
from pushrod.presentation import problem_line, say
from pushrod.references import choose_step, find_build_id, split_step, steps_of
from pushrod.transport import Json


@click.command()
@click.argument("reference", metavar="BUILD[/STEP]")
@click.option("-f", "--follow", is_flag=True, help="Live, until it has finished.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")
@connection_options
def logs(options: ConnectionOptions, reference: str, follow: bool, as_json: bool) -> None:
    """Print the log of a build's steps, or of one step (by name or id), to the byte.

    BUILD is an id, or PROJECT#NUMBER. With -f the lines of several steps carry their step's name,
    and the exit code is 0 only if the build (or the step) succeeded.
    """
    build_text, step_text = split_step(reference)

    async def conversation(client: Client) -> bool:
        build = await client.build(await find_build_id(client, build_text))
        step = choose_step(build, step_text) if step_text else None
        if follow:
            return await show_live(client, build, step, as_json=as_json)
        await _show_known(client, build, step, as_json=as_json)
        return True

    if not call(resolve_connection(options), conversation):
        raise click.exceptions.Exit(1)


async def show_live(client: Client, build: Json, step: Json | None, *, as_json: bool) -> bool:
    """Show the build or step until it has finished; whether it succeeded."""
    names = [str(one["name"]) for one in steps_of(build)]
    audience: Audience = RawBytes() if step or len(names) == 1 else MarkedLines(names)
    if as_json:
        audience = JsonLines()
    step_id = step["id"] if step else None
    finished = await follow_build(client, build["id"], audience, only_step=step_id)
    if as_json:
        print_line({"event": "build", "build": finished})
    else:
        _say_problems(finished)
    if step is not None:
        return bool(choose_step(finished, step["id"])["status"] == "SUCCESS")
    if not as_json:
        reason = f" ({finished['reason']})" if finished.get("reason") else ""
        say(f"-- build {finished['number']}: {finished['state']}{reason}")
    return bool(finished["state"] == "succeeded")


async def _show_known(client: Client, build: Json, step: Json | None, *, as_json: bool) -> None:
    """What is known now, step by step; a heading on stderr where there are several."""
    steps = [step] if step else steps_of(build)
    audience: Audience = JsonLines() if as_json else RawBytes()
    if not as_json:
        _say_problems(build)
    for one in steps:
        if len(steps) > 1 and not as_json:
            say(f"-- {one['name']}")
        try:
            await read_whole_log(client, one, audience)
        except NotFoundError:
            # A step that was never handed out has no log.
            if step is not None:
                raise


def _say_problems(build: Json) -> None:
    for problem in build.get("problems", []):
        say(problem_line(problem))
