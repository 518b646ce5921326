"""`pushrod retention show|set`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from pushrod.client import Client, call
from pushrod.connection import ConnectionOptions, connection_options, resolve_connection
from pushrod.errors import CommandError
from pushrod.presentation import print_json, print_table, say
from pushrod.references import find_project
from pushrod.sizes import parse_size, shown_size
from pushrod.transport import Json

KINDS = ("builds", "logs", "artifacts", "keep")
TOTAL = "total"
LIMITS = {"days": "days", "number": "number", "bytes": "size"}


@click.group()
def retention() -> None:
    """What is kept of builds, and for how long."""


@retention.command("show")
@click.argument("project", required=False)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@connection_options
def show(options: ConnectionOptions, project: str | None, as_json: bool) -> None:
    """Show the limits of PROJECT, or of the installation, and what goes next by them."""

    async def found(client: Client) -> Json:
        return await client.retention(await _project_id(client, project), outlook=True)

    shown = call(resolve_connection(options), found)
    if as_json:
        return print_json(shown)
    going = shown["goesNext"]
    rows = [
        (
            kind,
            *(_limit(shown["limits"][kind], name) for name in LIMITS),
            "here" if kind in shown["own"] else _where(project),
            _going(going.get(kind)),
        )
        for kind in (*KINDS, TOTAL)
        if kind in shown["limits"]
    ]
    print_table(("kind", *LIMITS.values(), "set", "goes next"), rows, empty="")
    if not shown["enforced"]:
        say("nothing is deleted until you say so: pushrod retention set --enforce")
    return None


@retention.command("set")
@click.argument("project", required=False)
@click.option("--builds", metavar="LIMITS", help="Of builds, with all that is theirs.")
@click.option("--logs", metavar="LIMITS", help="Of logs, while their builds stay.")
@click.option("--artifacts", metavar="LIMITS", help="Of artifacts, while their builds stay.")
@click.option("--keep", metavar="LIMITS", help="The most days that an output's own keep counts.")
@click.option("--total", metavar="LIMITS", help="Of all projects' builds together.")
@click.option("--enforce/--report", "enforced", default=None, help="Delete, or only tell.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@connection_options
def set_limits(
    options: ConnectionOptions,
    project: str | None,
    enforced: bool | None,
    as_json: bool,
    **given: str | None,
) -> None:
    """Set limits of PROJECT, or of all projects that have none of their own.

    LIMITS are days=N, number=N, size=SIZE, with commas between: what is beyond any of them goes.
    Those of --total hold for all projects together: what is too much goes from the largest.
    `none` is no limit, `default` takes back what was set. Artifacts that say themselves how long
    they stay (`keep` in `outputPaths`) stay as long, but no longer than --keep days=N.
    """
    if given[TOTAL] is not None and project is not None:
        raise CommandError("--total is for the installation: name no project")
    limits = {kind: parse_limits(kind, text) for kind, text in given.items() if text is not None}
    wanted: dict[str, Any] = {kind: its for kind, its in limits.items() if its is not None}
    if unset := [kind for kind, its in limits.items() if its is None]:
        wanted["unset"] = unset
    if enforced is not None:
        if project is not None:
            raise CommandError("--enforce and --report are for the installation: name no project")
        wanted["enforced"] = enforced
    if not wanted:
        raise CommandError("say what to set, such as --builds days=90,number=500 or --enforce")

    async def changed(client: Client) -> Json:
        return await client.set_retention(await _project_id(client, project), wanted)

    shown = call(resolve_connection(options), changed)
    if as_json:
        return print_json(shown)
    for kind in (*KINDS, TOTAL):
        if kind not in shown["limits"]:
            continue
        those = shown["limits"][kind]
        words = [f"{LIMITS[name]} {_limit(those, name)}" for name in LIMITS if name in those]
        say(f"{kind}: {', '.join(words) or 'no limit'}")
    return say("deleted in the background" if shown["enforced"] else "only told, not deleted")


def parse_limits(kind: str, text: str) -> Mapping[str, int] | None:
    """None for `default`. Raises BadParameter."""
    if text == "default":
        return None
    if text == "none":
        return {}
    found: dict[str, int] = {}
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        if kind == "keep" and name in ("size", "number"):
            raise click.BadParameter("write days=N, none or default", param_hint="--keep")
        if name == "size" and equals:
            found["bytes"] = parse_size(value, f"--{kind}")
        elif name in ("days", "number"):
            if not (value.isascii() and value.isdigit() and len(value) < 10):
                raise click.BadParameter(
                    f"write {name}=N, not {part.strip()!r}", param_hint=f"--{kind}"
                )
            found[name] = int(value)
        else:
            raise click.BadParameter(
                f"{part.strip()[:40]!r} is no limit: write days=N, number=N, size=SIZE, none or "
                "default",
                param_hint=f"--{kind}",
            )
    return found


async def _project_id(client: Client, project: str | None) -> str | None:
    return None if project is None else str((await find_project(client, project))["id"])


def _where(project: str | None) -> str:
    return "by default" if project is None else "for all"


def _limit(limits: Json, name: str) -> str:
    if name not in limits:
        return ""
    return shown_size(limits[name]) if name == "bytes" else str(limits[name])


def _going(going: Json | None) -> str:
    if not going or not going["builds"]:
        return ""
    builds = f"{going['builds']} build{'' if going['builds'] == 1 else 's'}"
    return f"of {builds}, {shown_size(going['bytes'])}"
