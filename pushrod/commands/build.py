"""`pushrod build create|list|show|cancel|retry|approve|reject|pin|unpin|delete`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import click

from pushrod.client import ANY_PROJECT, Client, call
from pushrod.connection import ConnectionOptions, connection_options, resolve_connection
from pushrod.presentation import (
    age,
    cell,
    coloured,
    duration_between,
    print_json,
    print_table,
    problem_line,
    say,
    step_details,
    step_word,
)
from pushrod.references import (
    all_projects,
    choose_step,
    choose_workflow,
    find_build_id,
    find_project,
    is_id,
    split_step,
    steps_of,
)
from pushrod.transport import Json


@click.group()
def build() -> None:
    """Make, look at and end builds. BUILD is an id, or PROJECT#NUMBER."""


@build.command("create")
@click.argument("project")
@click.option("--workflow", metavar="NAME", help="Name or file; needed where there are several.")
@click.option("--branch", metavar="NAME", help="Build its tip (default: the default branch).")
@click.option("--commit", metavar="SHA", help="Build this commit.")
@click.option(
    "--param",
    "params",
    metavar="NAME=VALUE",
    multiple=True,
    help="A parameter of the workflow's on.manual.",
)
@click.option("--clean", is_flag=True, help="Begin with empty caches.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@connection_options
def create(
    options: ConnectionOptions,
    project: str,
    workflow: str | None,
    branch: str | None,
    commit: str | None,
    params: tuple[str, ...],
    clean: bool,
    as_json: bool,
) -> None:
    """Build a workflow of PROJECT (slug, ACCOUNT/SLUG or id) by hand; prints the build's id."""
    given = given_params(params)

    async def created(client: Client) -> Json:
        project_id = str((await find_project(client, project))["id"])
        chosen = choose_workflow(await client.workflows(project_id), workflow)
        return await client.create_build(
            project_id,
            chosen,
            branch=branch,
            commit=commit,
            params=given,
            clean=clean,
        )

    made = call(resolve_connection(options), created)
    if as_json:
        return print_json(made)
    say(f"build {made['number']}: {made.get('url', '')}")
    return click.echo(made["id"])


def given_params(params: Sequence[str]) -> dict[str, str]:
    """`NAME=VALUE` each. Raises BadParameter."""
    given: dict[str, str] = {}
    for text in params:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"write NAME=VALUE, not {text!r}", param_hint="--param")
        if name in given:
            raise click.BadParameter(f"{name} is given twice", param_hint="--param")
        given[name] = value
    return given


@build.command("list")
@click.argument("project", required=False)
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@connection_options
def list_builds(options: ConnectionOptions, project: str | None, limit: int, as_json: bool) -> None:
    """List the newest builds, of PROJECT (slug, ACCOUNT/SLUG or id) or of all."""

    async def newest(client: Client) -> list[Json]:
        project_id = ANY_PROJECT
        if project is not None:
            project_id = project if is_id(project) else (await find_project(client, project))["id"]
        return await client.builds(project_id, limit=limit)

    async def named(client: Client) -> tuple[list[Json], dict[str, str]]:
        """With the names of projects, where the builds are of several."""
        builds = await newest(client)
        if as_json or project is not None:
            return builds, {}
        return builds, {
            str(one["id"]): f"{one['account']}/{one['slug']}" for one in await all_projects(client)
        }

    builds, projects = call(resolve_connection(options), named)
    if as_json:
        return print_json(builds)
    now = datetime.now(UTC)
    rows = [
        (
            *([projects.get(str(one.get("projectId")), "?")] if project is None else []),
            one.get("number"),
            one.get("workflow"),
            one.get("state"),
            where(one),
            str(one.get("commitHash", ""))[:10],
            _title(one)[:60],
            age(one.get("createdAt"), now),
            duration_between(one.get("startedAt"), one.get("finishedAt"), now),
            one.get("id"),
        )
        for one in builds
    ]
    columns = ("no", "workflow", "state", "branch", "commit", "message", "begun", "took", "id")
    shown = ("project", *columns) if project is None else columns
    return print_table(shown, rows, empty="no builds")


@build.command("show")
@click.argument("reference", metavar="BUILD")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@connection_options
def show(options: ConnectionOptions, reference: str, as_json: bool) -> None:
    """Show a build: its steps, what they wait for, what is wrong."""

    async def one_build(client: Client) -> Json:
        return await client.build(await find_build_id(client, reference))

    found = call(resolve_connection(options), one_build)
    if as_json:
        return print_json(found)
    show_build(found, datetime.now(UTC))
    return None


@build.command("cancel")
@click.argument("reference", metavar="BUILD")
@click.option("--step", "steps", metavar="NAME", multiple=True, help="Only this step.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@connection_options
def cancel(
    options: ConnectionOptions, reference: str, steps: tuple[str, ...], as_json: bool
) -> None:
    """Cancel a build, or steps of it; those that run are asked to end, then killed."""

    async def cancelled(client: Client) -> Json:
        return await client.cancel_build(await find_build_id(client, reference), steps)

    found = call(resolve_connection(options), cancelled)
    if as_json:
        return print_json(found)
    if steps:
        return say(f"build {found['number']}: cancelling {', '.join(steps)}")
    # What runs is asked to end, and given time for it.
    state = "cancelling" if found["state"] in ("queued", "running") else found["state"]
    return say(f"build {found['number']}: {state}")


@build.command("approve")
@click.argument("reference", metavar="BUILD[/STEP]")
@click.option(
    "--param",
    "params",
    metavar="NAME=VALUE",
    multiple=True,
    help="A parameter of the step's approve.params.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@connection_options
def approve(
    options: ConnectionOptions, reference: str, params: tuple[str, ...], as_json: bool
) -> None:
    """Approve a step that waits for it, so that its build goes on.

    Without STEP: let a held build go, such as one of a fork's pull request. Look at its code first.
    """
    given = given_params(params)
    wanted, step = split_step(reference)
    if step is None and given:
        raise click.BadParameter("a step has parameters: write BUILD/STEP", param_hint="--param")

    async def approved(client: Client) -> Json:
        build_id = await find_build_id(client, wanted)
        if step is None:
            return await client.approve_build(build_id)
        found = choose_step(await client.build(build_id), step)
        return await client.approve_step(str(found["id"]), given)

    found = call(resolve_connection(options), approved)
    if as_json:
        return print_json(found)
    if step is not None:
        return say(f"step {step}: approved")
    return say(f"build {found['number']}: {found['state']}")


@build.command("reject")
@click.argument("reference", metavar="BUILD/STEP")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@connection_options
def reject(options: ConnectionOptions, reference: str, as_json: bool) -> None:
    """Reject a step that waits for an approval: it fails."""
    wanted, step = split_step(reference)
    if step is None:
        raise click.BadParameter("name the step: BUILD/STEP", param_hint="BUILD/STEP")

    async def rejected(client: Client) -> Json:
        build = await client.build(await find_build_id(client, wanted))
        return await client.reject_step(str(choose_step(build, step)["id"]))

    found = call(resolve_connection(options), rejected)
    if as_json:
        return print_json(found)
    return say(f"step {step}: rejected")


@build.command("pin")
@click.argument("reference", metavar="BUILD")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@connection_options
def pin(options: ConnectionOptions, reference: str, as_json: bool) -> None:
    """Keep a build with its logs and artifacts, whatever the limits of retention are."""
    _set_pinned(options, reference, as_json, pinned=True)


@build.command("unpin")
@click.argument("reference", metavar="BUILD")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@connection_options
def unpin(options: ConnectionOptions, reference: str, as_json: bool) -> None:
    """Leave a build to the limits of retention again."""
    _set_pinned(options, reference, as_json, pinned=False)


def _set_pinned(options: ConnectionOptions, reference: str, as_json: bool, *, pinned: bool) -> None:
    async def changed(client: Client) -> Json:
        return await client.pin_build(await find_build_id(client, reference), pinned=pinned)

    found = call(resolve_connection(options), changed)
    if as_json:
        return print_json(found)
    if pinned:
        return say(f"build {found['number']}: pinned by {cell(found['pinnedBy'])}")
    return say(f"build {found['number']}: not pinned")


@build.command("retry")
@click.argument("reference", metavar="BUILD")
@click.option("--failed", is_flag=True, help="Run only what failed or was cancelled.")
@click.option("--step", "steps", metavar="NAME", multiple=True, help="Run only this step.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@connection_options
def retry(
    options: ConnectionOptions,
    reference: str,
    failed: bool,
    steps: tuple[str, ...],
    as_json: bool,
) -> None:
    """Make a new build of the same commit; prints its id.

    With --failed or --step only those steps run, and those that depend on them: the others are
    taken over with their outputs and logs.
    """

    async def retried(client: Client) -> Json:
        found = await find_build_id(client, reference)
        return await client.retry_build(found, failed=failed, steps=steps)

    created = call(resolve_connection(options), retried)
    if as_json:
        return print_json(created)
    say(f"build {created['number']}: {created.get('url', '')}")
    return click.echo(created["id"])


@build.command("delete")
@click.argument("reference", metavar="BUILD")
@connection_options
def delete(options: ConnectionOptions, reference: str) -> None:
    """Delete a finished build with its logs and artifacts; its number is not given again."""

    async def deleted(client: Client) -> None:
        await client.delete_build(await find_build_id(client, reference))

    call(resolve_connection(options), deleted)
    say(f"deleted {reference}")


def _title(one: Json) -> str:
    """What a pull request is called, or the commit."""
    pull = one.get("pullRequest") or {}
    return first_line(str(pull.get("title") or one.get("commitMessage", "")))


LINK_WORDS = {"pullRequest": "pull request"}


def show_build(found: Json, now: datetime) -> None:
    """Heading, problems, table of steps."""
    took = duration_between(found.get("startedAt"), found.get("finishedAt"), now)
    reason = f" ({cell(found['reason'])})" if found.get("reason") else ""
    click.echo(
        f"{cell(found.get('workflow'))} #{found.get('number')}: {coloured(found['state'])}{reason}"
        + (f", {took}" if took else "")
    )
    commit = str(found.get("commitHash", ""))[:10]
    if commit:
        message = first_line(str(found.get("commitMessage", "")))
        click.echo(f"{commit} on {where(found)}: {cell(message)}")
    pull = found.get("pullRequest")
    if pull:
        fork = " (from a fork)" if pull.get("fork") else ""
        said = f": {cell(pull['title'])}" if pull.get("title") else ""
        click.echo(f"pull request #{pull['number']}{fork}{said}")
    starter, upstream = found.get("startedBy"), found.get("upstream")
    if upstream:
        starter = f"{upstream['project']} #{upstream['buildNumber']}"
    click.echo(f"started by {cell(starter)} ({found['event']})" if starter else found["event"])
    if upstream:
        click.echo(f"upstream {cell(upstream['url'])}")
    for name, value in (found.get("params") or {}).items():
        click.echo(f"{cell(name)} = {cell(value)}")
    if "module" in found:
        click.echo(
            f"module {cell(found['module']['name'])}, target {cell(found['module']['target'])}"
        )
    if found.get("cleanBuild"):
        click.echo("clean build: its caches begin empty")
    click.echo(str(found.get("url", "")))
    for name, address in (found.get("links") or {}).items():
        click.echo(f"{LINK_WORDS.get(name, name)} {cell(address)}")
    for problem in found.get("problems", []):
        click.echo(problem_line(problem))
    if found.get("waitsFor"):
        click.echo(str(found["waitsFor"]))
    rows = [
        (
            step.get("name"),
            step_word(step),
            step_details(step),
            ", ".join(map(str, step.get("dependsOn", []))),
            cell(step.get("agent")),
            duration_between(step.get("startedAt"), step.get("finishedAt"), now),
        )
        for step in steps_of(found)
    ]
    if rows:
        print_table(("step", "state", "details", "depends on", "agent", "took"), rows, empty="")


def where(found: Json) -> str:
    """Its branch, or its tag."""
    return f"tag {cell(found['tag'])}" if found.get("tag") else cell(found.get("branch"))


def first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0]
