"""`pushrod secret set|list|delete`."""

from __future__ import annotations

import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import click

from pushrod.client import Client, call
from pushrod.commands.owners import find_owner
from pushrod.connection import ConnectionOptions, connection_options, resolve_connection
from pushrod.errors import CommandError
from pushrod.presentation import age, print_json, print_table, say
from pushrod.transport import Json

account_option = click.option(
    "--account",
    metavar="ACCOUNT",
    help="Of this account, for all its projects, instead of PROJECT; a project's own comes first.",
)


@click.group()
def secret() -> None:
    """Set, list and delete secrets. A value that is set is never shown again."""


@secret.command("set")
@click.argument("project", required=False)
@click.argument("name", required=False)
@click.option(
    "--branch",
    "branches",
    multiple=True,
    metavar="PATTERN",
    help="Only builds of such branches get it, as release/* or main; may be repeated.",
)
@click.option(
    "--tag",
    "tags",
    multiple=True,
    metavar="PATTERN",
    help="Only builds of such tags get it, as v*; may be repeated.",
)
@click.option(
    "--file",
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Read the value from this file, as it is.",
)
@account_option
@connection_options
def set_secret(
    options: ConnectionOptions,
    project: str | None,
    name: str | None,
    branches: tuple[str, ...],
    tags: tuple[str, ...],
    file: Path | None,
    account: str | None,
) -> None:
    """Set the secret NAME of PROJECT from standard input (less its last line end) or a file.

    The value is no argument: those are seen by every process of the machine. With --branch or
    --tag it is for builds of these alone, and never for pull requests; another value of the same
    name, for others, stays as it is.
    """
    project, name = _named(project, name, account)
    value = read_value(file)
    whose = [*({"branch": one} for one in branches), *({"tag": one} for one in tags)] or [{}]

    async def put(client: Client) -> list[Json]:
        owner = await find_owner(client, project, account)
        for one in whose:
            await client.set_secret(owner, name, value, one)
        return await client.secrets(owner)

    listed = call(resolve_connection(options), put)
    for one in whose:
        say(f"set {name}" + (f" for {_for(one)}" if one else ""))
    for hint in _other_values(listed, name, whose):
        say(hint)


def _other_values(listed: list[Json], name: str, whose: list[dict[str, str]]) -> list[str]:
    """What else builds may get under that name, where somebody may have forgotten it."""
    others = [
        one
        for one in listed
        if one.get("name") == name and _pattern(one) not in [_pattern(just) for just in whose]
    ]
    told = [f"{name} has a value{_of(one)} for {_for(one)}, too, as before" for one in others[:10]]
    return [*told, *([f"and {len(others) - 10} more"] if len(others) > 10 else [])]


def _pattern(one: Json) -> tuple[str | None, str | None]:
    return one.get("branch"), one.get("tag")


def _of(one: Json) -> str:
    return " of the account" if one.get("of") == "account" else ""


def _for(one: Json) -> str:
    kinds = ("branch", "tag")
    return next((f"{kind} {one[kind]}" for kind in kinds if one.get(kind)), "every other build")


def _named(project: str | None, name: str | None, account: str | None) -> tuple[str | None, str]:
    """Raises CommandError."""
    if account is not None and name is None:
        project, name = None, project
    if name is None or (project is None) == (account is None):
        raise CommandError("say whose and which: PROJECT NAME, or --account ACCOUNT NAME")
    return project, name


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
@click.argument("project", required=False)
@account_option
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@connection_options
def list_secrets(
    options: ConnectionOptions, project: str | None, account: str | None, as_json: bool
) -> None:
    """List the names of PROJECT's secrets, and for which builds they are."""
    if (project is None) == (account is None):
        raise CommandError("say whose: PROJECT, or --account ACCOUNT")

    async def listed(client: Client) -> list[Json]:
        return await client.secrets(await find_owner(client, project, account))

    found = call(resolve_connection(options), listed)
    if as_json:
        return print_json(found)
    now = datetime.now(UTC)
    several = Counter(one.get("name") for one in found)
    rows = [
        (
            one.get("name"),
            one.get("of"),
            _for(one)
            if _pattern(one) != (None, None) or several[one["name"]] > 1
            else "every build",
            age(one.get("updatedAt"), now),
        )
        for one in found
    ]
    return print_table(("name", "of", "for", "set"), rows, empty="no secrets")


@secret.command("delete")
@click.argument("project", required=False)
@click.argument("name", required=False)
@click.option("--branch", metavar="PATTERN", help="Only the value for this pattern of branches.")
@click.option("--tag", metavar="PATTERN", help="Only the value for this pattern of tags.")
@click.option(
    "--others", is_flag=True, help="Only the value for builds that have none of their own."
)
@account_option
@connection_options
def delete_secret(
    options: ConnectionOptions,
    project: str | None,
    name: str | None,
    branch: str | None,
    tag: str | None,
    others: bool,
    account: str | None,
) -> None:
    """Delete the secret NAME of PROJECT: all its values, or one of them."""
    project, name = _named(project, name, account)
    if sum((branch is not None, tag is not None, others)) > 1:
        raise CommandError("say which value: --branch, --tag or --others, one of them")
    only = {"branch": branch, "tag": tag, "others": "true" if others else None}
    whose = {key: value for key, value in only.items() if value is not None}

    async def deleted(client: Client) -> None:
        await client.delete_secret(await find_owner(client, project, account), name, whose)

    call(resolve_connection(options), deleted)
    say(f"deleted {name}" + (f" for {_for(whose)}" if whose else ""))
