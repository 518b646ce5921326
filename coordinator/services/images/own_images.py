"""Whether an account may use the images that its steps name, at registries common to all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from coordinator.domain.model import Image, Project, Step
from coordinator.services.core import Core
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.projects import projects as stored
from pipelines_schema import Place, Problem, substituted
from pipelines_schema.contract import OwnRegistriesSpec
from pipelines_schema.own_registries import OwnRegistries


async def own_registries(
    core: Core, connection: AsyncConnection, account_slug: str
) -> OwnRegistries:
    return _rule(core, account_slug, await stored.shared_references(connection))


def _rule(core: Core, account_slug: str, public: Sequence[str]) -> OwnRegistries:
    return OwnRegistries(
        registries=core.settings.common_registries, account=account_slug, public=public
    )


def wire_of(rule: OwnRegistries) -> OwnRegistriesSpec:
    return OwnRegistriesSpec(
        registries=list(rule.registries), account=rule.account, public=list(rule.public)
    )


async def resolved_image(connection: AsyncConnection, account_id: str, wanted: str) -> str:
    """The image of a registered slug, else the text itself as a reference.

    The account's own slug first; nothing that others registered stands for a reference.
    """
    image = await stored.find_image(connection, account_id, wanted)
    if image is None and not _is_reference(wanted):
        image = await stored.find_shared_image(connection, wanted)
    return _reference(wanted, image)


async def image_with_rule(
    core: Core, connection: AsyncConnection, project: Project, wanted: str
) -> tuple[str, OwnRegistries]:
    """At once what `resolved_image` and `own_registries` answer."""
    image, public = await stored.known_images(connection, project.account_id, wanted)
    if image is not None and image.account_id != project.account_id and _is_reference(wanted):
        image = None
    return _reference(wanted, image), _rule(core, project.account_slug, public)


def _is_reference(wanted: str) -> bool:
    return any(sign in wanted for sign in ":/@")


def _reference(wanted: str, image: Image | None) -> str:
    return wanted if image is None else image.image_url.removeprefix("docker://")


async def image_problems(
    core: Core,
    connection: AsyncConnection,
    project: Project,
    steps: Sequence[Step],
    words: Mapping[str, str],
    file: str | None,
) -> Sequence[Problem]:
    """Of a new build: each image that belongs to another account, with its place in the file."""
    rule = await own_registries(core, connection, project.account_slug)
    found: dict[Problem, None] = {}
    for step in steps:
        image = None
        if step.written.image is not None:
            wanted = substituted(step.written.image, words)
            image = await resolved_image(connection, project.account_id, wanted)
        for problem, place in step_problems(rule, step, words, image):
            found[_problem(f"step `{step.name}`: {problem}", file, place)] = None
    return list(found)


def step_problems(
    rule: OwnRegistries, step: Step, words: Mapping[str, str], image: str | None
) -> Iterator[tuple[str, Place | None]]:
    """`image` is the reference of a script's step, its slug resolved."""
    problem = None if image is None else rule.pull_problem(image)
    if problem is not None:
        yield f"the image `{image}` {problem}", step.written.image_place
    if step.written.build is None:
        return
    build = step.written.build.with_values(words)
    for tag in build.tags:
        problem = rule.push_problem(tag)
        if problem is not None:
            yield f"the tag `{tag}` {problem}", build.tag_places.get(tag)


def _problem(message: str, file: str | None, place: Place | None) -> Problem:
    return Problem(
        message=message,
        file=file,
        line=place.line if place else None,
        column=place.column if place else None,
    )
