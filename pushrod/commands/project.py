"""`pushrod project create|list|set|check|archive|unarchive|webhook-secret|delete|credential|…`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from pushrod.client import Client, call
from pushrod.commands.forge_access import (
    ForgeAccess,
    forge_options,
    read_secret_file,
    set_access,
)
from pushrod.commands.forge_setup import check, exit_unless_ok, set_up_webhook, show_findings
from pushrod.commands.notify import notify
from pushrod.connection import (
    ConnectionOptions,
    connection_options,
    resolve_connection,
    server_url_option,
)
from pushrod.errors import CommandError
from pushrod.presentation import print_json, print_table, say
from pushrod.references import all_projects, find_project
from pushrod.transport import Json

DEFAULT_ACCOUNT = "default"

forge_option = click.option(
    "--forge",
    metavar="NAME",
    help="Whose repository it is, for a host that doesn't tell: github, gitlab, gitea (also "
    "Forgejo), bitbucket or generic.",
)


@click.group()
def project() -> None:
    """Create, list, change and delete projects; the credentials of their repositories."""


@project.command("create")
@click.argument("name")
@click.option("--account", default=DEFAULT_ACCOUNT, show_default=True, help="Id or slug.")
@click.option("--repo", "repository", metavar="URL", help="The repository at a forge.")
@forge_option
@forge_options
@click.option(
    "--secret-file",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    help="Where to write the webhook's secret, mode 0600.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs; with the webhook's secret.")
@connection_options
def create(
    options: ConnectionOptions,
    name: str,
    account: str,
    repository: str | None,
    forge: str | None,
    access: ForgeAccess | None,
    secret_file: Path | None,
    as_json: bool,
) -> None:
    """Create a project; the answer says where to push, or where the forge's webhook goes.

    With --forge-token-file the webhook is made there, and the token tried; exit code 1 where that
    failed.
    """
    if access is not None and repository is None:
        raise CommandError("--forge-token-file goes with --repo")
    created = call(
        resolve_connection(options),
        lambda client: client.create_project(account, name, repository, forge),
    )
    if secret_file is not None:
        _write_secret(secret_file, str(created["webhookSecret"]))
    if access is not None:
        return _set_up(options, created, access, as_json)
    if as_json:
        return print_json(created)
    say(f"created {created['account']}/{created['slug']} ({created['id']})")
    if repository is None:
        return click.echo(f"git remote add pushrod {created['pushUrl']}")
    click.echo(f"webhook {created['webhookUrl']}")
    if created.get("forge") == "generic":
        say("whose repository it is, the host does not tell: `pushrod project set --forge NAME`")
    if secret_file is None:
        click.echo(f"secret {created['webhookSecret']}")
    return None


def _set_up(options: ConnectionOptions, created: Json, access: ForgeAccess, as_json: bool) -> None:
    """The project is there, whatever becomes of the rest."""
    if not as_json:
        say(f"created {created['account']}/{created['slug']} ({created['id']})")
    try:
        told = set_access(options, str(created["id"]), access)
        findings = set_up_webhook(options, str(created["id"]))
    except CommandError as error:
        again = f"`pushrod project set {created['slug']} --forge-token-file FILE --make-webhook`"
        raise CommandError(f"{error}\nthe project is there; go on by {again}") from error
    if as_json:
        print_json({**created, "told": told, "setUp": findings})
    else:
        show_findings(findings)
    exit_unless_ok(findings)


def _write_secret(path: Path, secret: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(descriptor, 0o600)
            file.write(secret + "\n")
    except OSError as error:
        raise CommandError(f"{path} can't be written: {error.strerror}") from error


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
        (
            one.get("account"),
            one.get("slug"),
            one.get("name"),
            "(archived)" if "archivedAt" in one else one.get("pushUrl"),
            one.get("id"),
        )
        for one in projects
    ]
    columns = ("account", "slug", "name", "push to", "id")
    return print_table(columns, rows, empty="no projects: `pushrod project create NAME`")


@project.command("set")
@click.argument("project")
@click.option(
    "--default-branch",
    metavar="NAME",
    help="What is built and cloned where no branch is named; it must have been pushed.",
)
@click.option("--name", metavar="NAME", help="Rename it; pushes to the old address still arrive.")
@click.option("--repo", "repository", metavar="URL", help="The repository at a forge.")
@click.option("--no-repo", is_flag=True, help="Its source is what is pushed here.")
@click.option(
    "--public-badges/--no-public-badges",
    default=None,
    help="Whether everybody sees its badges and its feed of builds.",
)
@click.option(
    "--status-per-step/--no-status-per-step",
    default=None,
    help="Whether its forge is told of each step, too.",
)
@forge_options
@click.option("--no-forge-token", is_flag=True, help="Tell its forge nothing any more.")
@click.option(
    "--make-webhook", is_flag=True, help="Make its webhook at the forge, or put it right there."
)
@forge_option
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@connection_options
def set_project(
    options: ConnectionOptions,
    project: str,
    default_branch: str | None,
    name: str | None,
    repository: str | None,
    no_repo: bool,
    public_badges: bool | None,
    status_per_step: bool | None,
    access: ForgeAccess | None,
    no_forge_token: bool,
    make_webhook: bool,
    forge: str | None,
    as_json: bool,
) -> None:
    """Change PROJECT."""
    if no_repo and repository is not None:
        raise CommandError("give --repo or --no-repo, not both")
    if no_forge_token and access is not None:
        raise CommandError("give --forge-token-file or --no-forge-token, not both")
    changes = {
        "defaultBranch": default_branch,
        "name": name,
        "repoUrl": "" if no_repo else repository,
        "forge": forge,
        "publicBadges": public_badges,
        "statusPerStep": status_per_step,
    }
    if no_forge_token and make_webhook:
        raise CommandError("--make-webhook needs the token: leave out --no-forge-token")
    of_forge = access is not None or no_forge_token
    if not of_forge and not make_webhook and all(value is None for value in changes.values()):
        raise CommandError(
            "say what to change: --default-branch, --name, --repo, --no-repo, --forge, "
            "--public-badges, --status-per-step, "
            "--forge-token-file, --no-forge-token or --make-webhook"
        )
    changed = _change(options, project, changes)
    told = set_access(options, str(changed["id"]), access) if of_forge else None
    findings = set_up_webhook(options, str(changed["id"])) if make_webhook else None
    if as_json:
        more = {"told": told, "setUp": findings}
        print_json(changed | {name: value for name, value in more.items() if value is not None})
        if findings is not None:
            exit_unless_ok(findings)
        return
    if public_badges is not None:
        say(f"{project}: its badges are {'for everybody' if public_badges else 'hidden'}")
    if status_per_step is not None:
        say(f"{project}: its forge is told of builds" + (" and their steps" * status_per_step))
    if told is not None:
        say(f"{project}: builds are told to {told['forge']} at {told['url']}")
    if no_forge_token:
        say(f"{project}: its forge is told nothing any more")
    if default_branch is not None:
        say(f"{project}: the default branch is {default_branch}")
    if name is not None:
        say(f"{project} is {changed['account']}/{changed['slug']} now: {changed['pushUrl']}")
    if no_repo or repository is not None:
        say(f"{project}: its source is {changed.get('repoUrl') or changed['pushUrl']}")
    if forge is not None:
        say(f"{project}: its forge is {changed['forge']}, its webhook {changed['webhookUrl']}")
    if findings is not None:
        show_findings(findings)
        exit_unless_ok(findings)
    return


def _change(options: ConnectionOptions, project: str, changes: Json) -> Json:
    async def change(client: Client) -> Json:
        return await client.change_project(
            str((await find_project(client, project))["id"]), changes
        )

    return call(resolve_connection(options), change)


@project.command("archive")
@click.argument("project")
@connection_options
def archive(options: ConnectionOptions, project: str) -> None:
    """Let PROJECT take no pushes, builds and webhooks; what is there stays readable."""
    _change(options, project, {"archived": True})
    say(f"{project} is archived")


@project.command("trust")
@click.argument("project")
@connection_options
def trust(options: ConnectionOptions, project: str) -> None:
    """Let steps of PROJECT be `privileged`: on agents that allow it they have all rights over the
    machine."""
    _change(options, project, {"trusted": True})
    say(f"{project} is trusted: its steps may be privileged")


@project.command("untrust")
@click.argument("project")
@connection_options
def untrust(options: ConnectionOptions, project: str) -> None:
    """Let no step of PROJECT be `privileged` any more."""
    _change(options, project, {"trusted": False})
    say(f"{project} is not trusted any more")


@project.command("unarchive")
@click.argument("project")
@connection_options
def unarchive(options: ConnectionOptions, project: str) -> None:
    """Let PROJECT take pushes, builds and webhooks again."""
    _change(options, project, {"archived": False})
    say(f"{project} is open again")


@project.command("webhook-secret")
@click.argument("project")
@click.option(
    "--secret-file",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    help="Where to write it, mode 0600, instead of showing it.",
)
@connection_options
def webhook_secret(options: ConnectionOptions, project: str, secret_file: Path | None) -> None:
    """Give PROJECT a new webhook secret, shown once; the old one is no longer valid."""

    async def replace(client: Client) -> str:
        return await client.new_webhook_secret(str((await find_project(client, project))["id"]))

    secret = call(resolve_connection(options), replace)
    if secret_file is not None:
        return _write_secret(secret_file, secret)
    return click.echo(secret)


@project.command("delete")
@click.argument("project")
@click.option("--yes", "confirmed", metavar="PROJECT", help="The same name: it is meant.")
@connection_options
def delete(options: ConnectionOptions, project: str, confirmed: str | None) -> None:
    """Delete PROJECT with its builds, logs, artifacts, secrets, deliveries and repository here."""
    if confirmed is None and sys.stdin.isatty():
        confirmed = click.prompt(f"Nothing of {project} can be brought back. Its name", err=True)
    if confirmed != project:
        raise CommandError(f"nothing was deleted: say --yes {project}")

    async def delete(client: Client) -> None:
        await client.delete_project(str((await find_project(client, project))["id"]))

    call(resolve_connection(options), delete)
    say(f"deleted {project}")


@project.command("credential")
@click.argument("project")
@click.option(
    "--token-file",
    "forge_token_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File that holds the forge's token, or USER:TOKEN, for an https URL.",
)
@click.option(
    "--deploy-key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File that holds a private key without a passphrase, for an ssh URL.",
)
@click.option("--remove", is_flag=True, help="Forget the credential.")
@server_url_option
def credential(
    options: ConnectionOptions,
    project: str,
    forge_token_file: Path | None,
    deploy_key: Path | None,
    remove: bool,
) -> None:
    """Keep the credential with which PROJECT's repository is fetched; it is never shown again.

    The coordinator's own token comes from PUSHROD_TOKEN or `pushrod --token-file F project …`.
    """
    if sum((forge_token_file is not None, deploy_key is not None, remove)) != 1:
        raise CommandError("give one of --token-file, --deploy-key and --remove")

    async def keep(client: Client) -> None:
        project_id = str((await find_project(client, project))["id"])
        if remove:
            return await client.remove_credential(project_id)
        return await client.set_credential(
            project_id,
            token=read_secret_file(forge_token_file) if forge_token_file else None,
            deploy_key=read_secret_file(deploy_key) if deploy_key else None,
        )

    call(resolve_connection(options), keep)
    say(f"{project}: the credential is {'removed' if remove else 'kept'}")


project.add_command(check)
project.add_command(notify)
