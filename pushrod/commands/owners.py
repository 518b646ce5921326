"""Whose a login or secret is: a project's, or an account's for all its projects."""

from __future__ import annotations

import click

from pushrod.client import Client
from pushrod.errors import CommandError
from pushrod.references import find_project

Owner = tuple[str, str]
"""`projects` or `accounts`, and the id."""

project_option = click.option("--project", help="For this project.")


def check_owner(project: str | None, account: str | None) -> None:
    """Raises CommandError."""
    if (project is None) == (account is None):
        raise CommandError("say for whom: --project PROJECT or --account ACCOUNT")


async def find_owner(client: Client, project: str | None, account: str | None) -> Owner:
    if account is not None:
        return "accounts", account
    return "projects", str((await find_project(client, project or ""))["id"])
