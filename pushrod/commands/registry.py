"""`pushrod registry login|list|logout`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from pushrod.client import Client, call
from pushrod.commands.owners import check_owner, find_owner, project_option
from pushrod.commands.secret import read_value
from pushrod.connection import ConnectionOptions, connection_options, resolve_connection
from pushrod.errors import CommandError
from pushrod.presentation import age, print_json, print_table, say
from pushrod.transport import Json

account_option = click.option(
    "--account", help="For all projects of this account; a project's own login comes first."
)


@click.group()
def registry() -> None:
    """Log projects in to registries, for images to pull and to push."""


@registry.command("login")
@click.argument("host")
@project_option
@account_option
@click.option("--username", required=True, help="Whom the registry knows.")
@click.option(
    "--password-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Read the password from this file, less its last line end; else from standard input.",
)
@connection_options
def login(
    options: ConnectionOptions,
    host: str,
    project: str | None,
    account: str | None,
    username: str,
    password_file: Path | None,
) -> None:
    """Keep a login to the registry HOST, such as registry.example:5000 or docker.io.

    The password is no argument: those are seen by every process of the machine.
    """
    check_owner(project, account)
    password = read_value(password_file).removesuffix("\n").removesuffix("\r")
    if not password:
        raise CommandError("the password is empty")

    async def put(client: Client) -> None:
        owner = await find_owner(client, project, account)
        await client.set_registry_login(owner, host, username, password)

    call(resolve_connection(options), put)
    say(f"logged in to {host} as {username}")


@registry.command("list")
@project_option
@account_option
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@connection_options
def list_logins(
    options: ConnectionOptions, project: str | None, account: str | None, as_json: bool
) -> None:
    """List the logins; passwords are never shown."""
    check_owner(project, account)

    async def listed(client: Client) -> list[Json]:
        return await client.registry_logins(await find_owner(client, project, account))

    found = call(resolve_connection(options), listed)
    if as_json:
        return print_json(found)
    now = datetime.now(UTC)
    rows = [
        (one.get("host"), one.get("username"), one.get("of"), age(one.get("updatedAt"), now))
        for one in found
    ]
    return print_table(("registry", "username", "of", "set"), rows, empty="no logins")


@registry.command("logout")
@click.argument("host")
@project_option
@account_option
@connection_options
def logout(options: ConnectionOptions, host: str, project: str | None, account: str | None) -> None:
    """Forget the login to the registry HOST."""
    check_owner(project, account)

    async def removed(client: Client) -> None:
        await client.delete_registry_login(await find_owner(client, project, account), host)

    call(resolve_connection(options), removed)
    say(f"logged out of {host}")
