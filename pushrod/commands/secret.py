"""`pushrod secret set|list|delete`."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from pushrod.client import Client, call
from pushrod.connection import ConnectionOptions, connection_options, resolve_connection
from pushrod.errors import CommandError
from pushrod.presentation import age, print_json, print_table, say
from pushrod.references import find_project
from pushrod.transport import Json


@click.group()
def secret() -> None:
    """Set, list and delete a project's secrets. A value that is set is never shown again."""


@secret.command("set")
@click.argument("project")
@click.argument("name")
@click.option(
    "--file",
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Read the value from this file, as it is.",
)
@connection_options
def set_secret(options: ConnectionOptions, project: str, name: str, file: Path | None) -> None:
    """Set the secret NAME of PROJECT from standard input (less its last line end) or a file.

    The value is no argument: those are seen by every process of the machine.
    """
    value = read_value(file)

    async def put(client: Client) -> None:
        found = await find_project(client, project)
        await client.set_secret(str(found["id"]), name, value)

    call(resolve_connection(options), put)
    say(f"set {name}")


def read_value(file: Path | None) -> str:
    """Raises CommandError where it isn't text."""
    try:
        if file is not None:
            return file.read_bytes().decode()
        if sys.stdin.isatty():
            return str(click.prompt("value", hide_input=True, err=True))
        return sys.stdin.buffer.read().decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise CommandError("a secret must be text in UTF-8: encode it, by base64 say") from error
    except OSError as error:
        raise CommandError(f"{file} can't be read: {error.strerror}") from error


@secret.command("list")
@click.argument("project")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@connection_options
def list_secrets(options: ConnectionOptions, project: str, as_json: bool) -> None:
    """List the names of PROJECT's secrets."""

    async def listed(client: Client) -> list[Json]:
        return await client.secrets(str((await find_project(client, project))["id"]))

    found = call(resolve_connection(options), listed)
    if as_json:
        return print_json(found)
    now = datetime.now(UTC)
    rows = [(one.get("name"), age(one.get("updatedAt"), now)) for one in found]
    return print_table(("name", "set"), rows, empty="no secrets")


@secret.command("delete")
@click.argument("project")
@click.argument("name")
@connection_options
def delete_secret(options: ConnectionOptions, project: str, name: str) -> None:
    """Delete the secret NAME of PROJECT."""

    async def deleted(client: Client) -> None:
        found = await find_project(client, project)
        await client.delete_secret(str(found["id"]), name)

    call(resolve_connection(options), deleted)
    say(f"deleted {name}")
