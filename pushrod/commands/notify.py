"""`pushrod project notify list|add|remove`."""

from __future__ import annotations

from pathlib import Path

import click

from pushrod.client import Client, call
from pushrod.commands.forge_access import read_secret_file
from pushrod.connection import ConnectionOptions, connection_options, resolve_connection
from pushrod.errors import CommandError
from pushrod.presentation import print_json, print_table, say
from pushrod.references import find_project
from pushrod.transport import Json


@click.group()
def notify() -> None:
    """Notify people and chats of a project's builds."""


@notify.command("add")
@click.argument("project")
@click.option(
    "--on",
    "occasions",
    required=True,
    metavar="WORDS",
    help="Of failed, fixed, succeeded, waiting, with commas between.",
)
@click.option("--email", metavar="ADDRESS", help="Who gets an e-mail.")
@click.option(
    "--webhook-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File that holds a webhook's address, a chat's for example.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@connection_options
def add(
    options: ConnectionOptions,
    project: str,
    occasions: str,
    email: str | None,
    webhook_file: Path | None,
    as_json: bool,
) -> None:
    """Notify somebody of PROJECT's builds, from the next one on."""
    if (email is None) == (webhook_file is None):
        raise CommandError("give --email or --webhook-file")
    wanted = {
        "on": [word.strip() for word in occasions.split(",")],
        "email": email,
        "webhook": read_secret_file(webhook_file) if webhook_file else None,
    }

    async def added(client: Client) -> Json:
        project_id = str((await find_project(client, project))["id"])
        return await client.add_notification(project_id, wanted)

    made = call(resolve_connection(options), added)
    if as_json:
        return print_json(made)
    return say(f"{project}: {made['address']} is notified of {', '.join(wanted['on'] or [])}")


@notify.command("list")
@click.argument("project")
@click.option("--signing-secret", is_flag=True, help="Print the secret that signs webhooks.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@connection_options
def list_notifications(
    options: ConnectionOptions, project: str, signing_secret: bool, as_json: bool
) -> None:
    """List whom PROJECT notifies; its workflows may name others."""

    async def listed(client: Client) -> Json:
        return await client.notifications(str((await find_project(client, project))["id"]))

    found = call(resolve_connection(options), listed)
    if as_json:
        return print_json(found)
    if signing_secret:
        return click.echo(found["signingSecret"])
    rows = [
        (one.get("kind"), ", ".join(one.get("on", [])), one.get("address"), one.get("id"))
        for one in found.get("notifications", [])
    ]
    return print_table(("kind", "on", "address", "id"), rows, empty="nobody is notified")


@notify.command("remove")
@click.argument("project")
@click.argument("notification_id", metavar="NOTIFICATION")
@connection_options
def remove(options: ConnectionOptions, project: str, notification_id: str) -> None:
    """Notify somebody no more."""

    async def removed(client: Client) -> None:
        project_id = str((await find_project(client, project))["id"])
        await client.remove_notification(project_id, notification_id)

    call(resolve_connection(options), removed)
    say(f"{project}: removed {notification_id}")
