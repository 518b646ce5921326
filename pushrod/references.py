"""What people call a project, build or step, and which one it is."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pushrod.client import PAGE_SIZE, Client
from pushrod.errors import CommandError, NotFoundError, ProtocolError
from pushrod.transport import Json

NUMBERED = re.compile(r"(?P<project>[^#]+)#(?P<number>[1-9][0-9]{0,17})")
JUMP_MARGIN = 20
"""Builds that may have begun since the newest number was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildReference:
    """A build by id, or by its number in a project; exactly one of both is given."""

    id: str | None = None
    project: str | None = None
    number: int | None = None


def parse_build_reference(text: str) -> BuildReference:
    """`ID`, `PROJECT#NUMBER` or `ACCOUNT/PROJECT#NUMBER`. Raises CommandError."""
    if is_id(text):
        return BuildReference(id=text.lower())
    if match := NUMBERED.fullmatch(text):
        return BuildReference(project=match["project"], number=int(match["number"]))
    raise CommandError(f"{text!r} is no build: write its id, or project#number such as hello#3")


def split_step(text: str) -> tuple[str, str | None]:
    """`BUILD/STEP` → both; only `BUILD` → no step. The account's slash is not the step's."""
    before, mark, after = text.partition("#")
    if is_id(before.partition("/")[0]):
        before, mark, after = "", "", text
    build, slash, step = after.partition("/")
    return before + mark + build, step if slash else None


def is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return len(text) == 36


def choose_project(projects: Sequence[Json], wanted: str) -> Json:
    """The project of that slug, `account/slug` or id. Raises NotFoundError, CommandError."""
    account, _, slug = wanted.rpartition("/")
    found = [
        project
        for project in projects
        if wanted.lower() == project.get("id")
        or (slug == project.get("slug") and account in ("", project.get("account")))
    ]
    if len(found) == 1:
        return found[0]
    if found:
        names = " or ".join(f"{project.get('account')}/{slug}" for project in found)
        raise CommandError(f"several accounts have a project {slug}: write {names}")
    known = ", ".join(sorted({str(project.get("slug")) for project in projects})[:10])
    raise NotFoundError(
        f"there is no project {wanted!r}"
        + (f"; there are: {known}" if known else ": create one with `pushrod project create`")
    )


async def all_projects(client: Client) -> list[Json]:
    """The projects of every account the token may see."""
    accounts = await client.accounts()
    lists = await asyncio.gather(*(client.projects(str(one["id"])) for one in accounts))
    return [project for projects in lists for project in projects]


async def find_project(client: Client, wanted: str) -> Json:
    return choose_project(await all_projects(client), wanted)


def choose_workflow(workflows: Sequence[Json], wanted: str | None) -> str:
    """By what to ask for the workflow of that name, file or id; without one, for the only there
    is at the default branch.

    A file is asked for by what it is called: a commit may have it elsewhere, or have others.
    """
    found = [
        one
        for one in workflows
        if wanted is None or wanted in (one.get("name"), one.get("path"), one.get("id"))
    ]
    names = ", ".join(sorted(str(one.get("path") or one.get("name")) for one in workflows))
    if len(found) > 1:
        raise CommandError(f"which workflow? name one by --workflow: {names}")
    if found and found[0].get("path") is None:
        return str(found[0]["id"])
    if wanted is not None:
        return wanted
    if not found:
        raise NotFoundError(
            "the default branch has no workflow: push one, or name another branch's by --workflow"
        )
    return str(found[0]["name"])


async def find_build_id(client: Client, text: str) -> str:
    """The id of the build that the text names. Raises a CommandError."""
    reference = parse_build_reference(text)
    if reference.id is not None:
        return reference.id
    assert reference.project is not None  # noqa: S101 by parse_build_reference
    assert reference.number is not None  # noqa: S101
    project = await find_project(client, reference.project)
    found = await _numbered_build(client, str(project["id"]), reference.number)
    if found is None:
        raise NotFoundError(f"the project {reference.project} has no build {reference.number}")
    return str(found["id"])


async def _numbered_build(client: Client, project_id: str, number: int) -> Json | None:
    """Numbers fall without gaps from the newest on, so its place in the list is known."""
    newest = await client.builds(project_id, limit=1)
    if not newest:
        return None
    offset = max(0, int(newest[0]["number"]) - number - JUMP_MARGIN)
    while page := await client.builds(project_id, limit=PAGE_SIZE, offset=offset):
        for build in page:
            if build["number"] == number:
                return build
        if int(page[-1]["number"]) < number:
            return None
        offset += len(page)
    return None


def choose_step(build: Json, wanted: str) -> Json:
    """The build's step of that name or id. Raises NotFoundError, naming those there are."""
    steps = steps_of(build)
    for step in steps:
        if wanted in (step.get("name"), step.get("id")):
            return step
    names = ", ".join(str(step.get("name")) for step in steps)
    raise NotFoundError(f"the build has no step {wanted!r}; it has: {names or 'none'}")


def steps_of(build: Json) -> list[Json]:
    """The steps of a build's answer. Raises ProtocolError."""
    steps: Any = build.get("steps", [])
    if not isinstance(steps, list):
        raise ProtocolError("the coordinator's answer lists no steps")
    return steps
