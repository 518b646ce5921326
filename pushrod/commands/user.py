"""`pushrod user create|list|disable|enable|password|role|rotate-keys`."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from pushrod.client import call
from pushrod.connection import ConnectionOptions, connection_options, resolve_connection
from pushrod.errors import CommandError
from pushrod.presentation import age, print_json, print_table, say
from pushrod.transport import Json

ROLES = ("viewer", "developer", "maintainer")
EVERYWHERE = "admin"
password_option = click.option(
    "--password-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Read the password from this file, less its last line end. Default: it is asked for.",
)


@click.group()
def user() -> None:
    """Create, list and change users, who log in to the API by email and password."""


@user.command("create")
@click.argument("email")
@click.option("--role", type=click.Choice((EVERYWHERE, *ROLES)), default="developer")
@click.option("--account", help="Id or slug of the account the role is for. Default: default.")
@password_option
@click.option("--json", "as_json", is_flag=True, help="The whole answer, for programs.")
@connection_options
def create(
    options: ConnectionOptions,
    email: str,
    role: str,
    account: str | None,
    password_file: Path | None,
    as_json: bool,
) -> None:
    """Create a user. The role `admin` is for all accounts at once."""
    if role == EVERYWHERE and account is not None:
        raise CommandError("the role admin is for all accounts: leave --account out")
    password = read_password(password_file)
    roles = {} if role == EVERYWHERE else {account or "default": role}
    created = call(
        resolve_connection(options),
        lambda client: client.create_user(
            email, password, administrator=role == EVERYWHERE, roles=roles
        ),
    )
    _tell(created, f"created {created.get('email')}", as_json=as_json)


@user.command("list")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@connection_options
def list_users(options: ConnectionOptions, as_json: bool) -> None:
    """List the users, with their roles."""
    found = call(resolve_connection(options), lambda client: client.users())
    if as_json:
        return print_json(found)
    now = datetime.now(UTC)
    rows = [
        (
            one.get("id"),
            one.get("email"),
            _roles(one),
            "disabled" if one.get("disabled") else "",
            age(one.get("createdAt"), now),
        )
        for one in found
    ]
    return print_table(("id", "email", "roles", "state", "created"), rows, empty="no users")


@user.command("disable")
@click.argument("user", metavar="USER")
@connection_options
def disable(options: ConnectionOptions, user: str) -> None:
    """Shut USER (an id or email) out: logins end at once."""
    call(resolve_connection(options), lambda client: client.disable_user(user, disabled=True))
    say(f"disabled {user}")


@user.command("enable")
@click.argument("user", metavar="USER")
@connection_options
def enable(options: ConnectionOptions, user: str) -> None:
    """Let USER (an id or email) in again."""
    call(resolve_connection(options), lambda client: client.disable_user(user, disabled=False))
    say(f"enabled {user}")


@user.command("password")
@click.argument("user", metavar="USER")
@password_option
@connection_options
def password(options: ConnectionOptions, user: str, password_file: Path | None) -> None:
    """Set the password of USER (an id or email): logins with the old one end at once."""
    new = read_password(password_file)
    call(resolve_connection(options), lambda client: client.set_password(user, new))
    say(f"changed the password of {user}")


@user.command("role")
@click.argument("user", metavar="USER")
@click.argument("role", type=click.Choice((*ROLES, "none")))
@click.option("--account", default="default", show_default=True, help="Id or slug.")
@connection_options
def role(options: ConnectionOptions, user: str, role: str, account: str) -> None:
    """Set what USER (an id or email) is in an account; `none` ends the membership."""
    wanted = None if role == "none" else role
    call(resolve_connection(options), lambda client: client.set_role(user, account, wanted))
    say(f"{user} is {role} in {account}")


@user.command("rotate-keys")
@click.option("--end-logins", is_flag=True, help="End every login of before at once.")
@connection_options
def rotate_keys(options: ConnectionOptions, end_logins: bool) -> None:
    """Sign logins with a new key; those of before stay valid until they expire."""
    call(resolve_connection(options), lambda client: client.rotate_keys(end_logins=end_logins))
    say("logins are signed with a new key")


def read_password(file: Path | None) -> str:
    """From the file, a pipe or the terminal, never an argument: all processes see those.

    Raises CommandError.
    """
    if not (password := _read(file)):
        raise CommandError("the password is empty")
    return password


def _read(file: Path | None) -> str:
    try:
        if file is not None:
            return file.read_bytes().decode().removesuffix("\n").removesuffix("\r")
        if sys.stdin.isatty():
            return str(
                click.prompt("password", hide_input=True, confirmation_prompt=True, err=True)
            )
        return sys.stdin.buffer.read().decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise CommandError("a password must be text in UTF-8") from error
    except OSError as error:
        raise CommandError(f"{file} can't be read: {error.strerror}") from error


def _roles(shown: Json) -> str:
    if shown.get("administrator"):
        return EVERYWHERE
    memberships = shown.get("memberships") or []
    return ", ".join(f"{one.get('role')} in {one.get('account')}" for one in memberships)


def _tell(shown: Json, text: str, *, as_json: bool) -> None:
    if as_json:
        return print_json(shown)
    return say(text)
