"""`pushrod project create|list`."""

from __future__ import annotations

import click

from pushrod.client import call
from pushrod.connection import ConnectionOptions, connection_options, resolve_connection
from pushrod.presentation import print_json, print_table, say
from pushrod.references import all_projects

DEFAULT_ACCOUNT = "default"


@click.group()
def project() -> None:
    """Create and list projects."""


@project.command("create")
@click.argument("name")
@click.option("--account", default=DEFAULT_ACCOUNT, show_default=True, help="Id or slug.")
@click.option("--repo", "repository", metavar="URL", help="The repository at a forge.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@connection_options
def create(
    options: ConnectionOptions, name: str, account: str, repository: str | None, as_json: bool
) -> None:
    """Create a project; the answer says where to push."""
    created = call(
        resolve_connection(options),
        lambda client: client.create_project(account, name, repository),
    )
    if as_json:
        return print_json(created)
    say(f"created {created['account']}/{created['slug']} ({created['id']})")
    return click.echo(f"git remote add pushrod {created['pushUrl']}")


@project.command("list")
@click.option("--account", help="Id or slug (default: all).")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@connection_options
def list_projects(options: ConnectionOptions, account: str | None, as_json: bool) -> None:
    """List the projects."""
    projects = call(
        resolve_connection(options),
        lambda client: client.projects(account) if account else all_projects(client),
    )
    if as_json:
        return print_json(projects)
    rows = [
        (one.get("account"), one.get("slug"), one.get("name"), one.get("pushUrl"), one.get("id"))
        for one in projects
    ]
    columns = ("account", "slug", "name", "push to", "id")
    return print_table(columns, rows, empty="no projects: `pushrod project create NAME`")
