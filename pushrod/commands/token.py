"""`pushrod token create|list|revoke`."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from pushrod.client import Client, call
from pushrod.connection import ConnectionOptions, connection_options, resolve_connection
from pushrod.presentation import age, print_json, print_table, say
from pushrod.transport import Json

ROLES = ("admin", "maintainer", "developer", "viewer")


@click.group()
def token() -> None:
    """Create, list and revoke tokens."""


@token.command("create")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default="developer", show_default=True)
@click.option(
    "--account",
    help="Id or slug of the account it is for (default: your token's own, else `default`).",
)
@click.option("--all-accounts", is_flag=True, help="For every account, as `--role admin` is.")
@click.option("--expires-in-days", type=click.IntRange(1, 3650), help="Default: never.")
@click.option("--json", "as_json", is_flag=True, help="The whole answer, for programs.")
@connection_options
def create(
    options: ConnectionOptions,
    name: str,
    role: str,
    account: str | None,
    all_accounts: bool,
    expires_in_days: int | None,
    as_json: bool,
) -> None:
    """Print a new token. It is shown this once."""
    created = call(
        resolve_connection(options),
        lambda client: client.create_token(
            name,
            "user",
            role=role,
            account=account,
            all_accounts=all_accounts,
            expires_in_days=expires_in_days,
        ),
    )
    show_new_token(created, as_json=as_json)


def show_new_token(created: Json, *, as_json: bool) -> None:
    """The token alone on stdout, so that `> FILE` makes a token file."""
    if as_json:
        return print_json(created)
    owner = f"account {created['account']}" if created.get("account") else "all accounts"
    say(
        f"token {created['id']} for {owner}: shown this once; "
        f"`pushrod token revoke {created['id']}` ends it"
    )
    return click.echo(created["token"])


@token.command("list")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@connection_options
def list_tokens(options: ConnectionOptions, as_json: bool) -> None:
    """List the tokens; their text is stored nowhere."""

    async def look(client: Client) -> list[Json]:
        return await client.with_owners(await client.tokens())

    tokens = call(resolve_connection(options), look)
    if as_json:
        return print_json(tokens)
    now = datetime.now(UTC)
    rows = [
        (
            one.get("id"),
            one.get("name"),
            one.get("kind"),
            one.get("role"),
            one.get("account", "all"),
            age(one.get("createdAt"), now),
            age(one.get("lastUsedAt"), now) or "never",
            one.get("expiresAt", "never"),
        )
        for one in tokens
    ]
    columns = ("id", "name", "kind", "role", "account", "created", "used", "expires")
    return print_table(columns, rows, empty="no tokens")


@token.command("revoke")
@click.argument("token_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@connection_options
def revoke(options: ConnectionOptions, token_id: str, as_json: bool) -> None:
    """End a token at once, by the id that `pushrod token list` shows."""
    call(resolve_connection(options), lambda client: client.revoke_token(token_id))
    if as_json:
        return print_json({"id": token_id, "revoked": True})
    return say(f"revoked {token_id}")
