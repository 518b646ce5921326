"""`pushrod project check`, and the findings that it shares with what makes a webhook."""

from __future__ import annotations

from collections.abc import Sequence

import click

from pushrod.client import Client, call
from pushrod.connection import ConnectionOptions, connection_options, resolve_connection
from pushrod.presentation import print_json, printable
from pushrod.references import find_project
from pushrod.transport import Json, objects


def set_up_webhook(options: ConnectionOptions, project_id: str) -> Json:
    """At the forge, with the token that the project has; what was found."""
    return call(resolve_connection(options), lambda client: client.make_forge_webhook(project_id))


def show_findings(answer: Json) -> None:
    for finding in _findings(answer):
        mark = click.style("ok  ", fg="green") if finding["ok"] else click.style("fail", fg="red")
        click.echo(f"{mark} {finding['about']}: {printable(str(finding['says']))}")
        if finding.get("remedy"):
            click.echo(f"     → {printable(str(finding['remedy']))}")


def exit_unless_ok(answer: Json) -> None:
    if answer.get("ok") is not True:
        raise SystemExit(1)


@click.command("check")
@click.argument("project")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@connection_options
def check(options: ConnectionOptions, project: str, as_json: bool) -> None:
    """Say what PROJECT lacks at its forge, and what mends it: its webhook, the token's rights,
    what came and went last.

    Exit code 1 when something is missing.
    """

    async def look(client: Client) -> Json:
        return await client.check_forge(str((await find_project(client, project))["id"]))

    answer = call(resolve_connection(options), look)
    if as_json:
        print_json(answer)
    else:
        show_findings(answer)
    exit_unless_ok(answer)


def _findings(answer: Json) -> Sequence[Json]:
    return objects(answer.get("findings"), "findings")
