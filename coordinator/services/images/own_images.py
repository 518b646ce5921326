"""Whether an account may use the images that its steps name, at registries common to all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from coordinator.domain.model import Account, Project, Step
from coordinator.services.core import Core
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.projects import projects as stored
from pipelines_schema import Place, Problem, substituted
from pipelines_schema.contract import OwnRegistriesSpec
from pipelines_schema.own_registries import OwnRegistries

NO_WORDS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class AccountImages:
    """What names of images mean to an account, and which of them it may use."""

    rule: OwnRegistries
    references: Mapping[str, str]
    """By slug."""

    def reference_of(self, step: Step, words: Mapping[str, str]) -> str | None:
        """Of a script's step: the image of a registered slug, else the text itself."""
        if step.written.image is None:
            return None
        wanted = substituted(step.written.image, words)
        return self.references.get(wanted, wanted)


async def account_images(
    core: Core,
    connection: AsyncConnection,
    account: Account | Project,
    steps: Sequence[Step] = (),
    words: Mapping[str, str] = NO_WORDS,
) -> AccountImages:
    """As far as these steps need it. Of a project it is those of its account.

    The account's own slug first; nothing that others registered stands for a reference.
    """
    if isinstance(account, Project):
        account_id, account_slug = account.account_id, account.account_slug
    else:
        account_id, account_slug = account.id, account.slug
    wanted = {substituted(step.written.image, words) for step in steps if step.written.image}
    own, shared = await stored.known_images(connection, account_id, sorted(wanted))
    public = [image.image_url for image in shared]
    named = [image for image in shared if not any(sign in image.slug for sign in ":/@")]
    slugs = {image.slug: image for image in (*reversed(named), *own)}  # the last counts
    return AccountImages(
        rule=OwnRegistries(
            registries=core.settings.common_registries,
            account=account_slug,
            public=list(dict.fromkeys(public)),
        ),
        references={
            slug: image.image_url.removeprefix("docker://") for slug, image in slugs.items()
        },
    )


def wire_of(rule: OwnRegistries) -> OwnRegistriesSpec:
    return OwnRegistriesSpec(
        registries=list(rule.registries), account=rule.account, public=list(rule.public)
    )


async def image_problems(
    core: Core,
    connection: AsyncConnection,
    project: Project,
    steps: Sequence[Step],
    words: Mapping[str, str],
    file: str | None,
) -> Sequence[Problem]:
    """Of a new build: each image that belongs to another account, with its place in the file."""
    images = await account_images(core, connection, project, steps, words)
    found: dict[Problem, None] = {}
    for step in steps:
        for problem, place in step_problems(images, step, words):
            found[_problem(f"step `{step.name}`: {problem}", file, place)] = None
    return list(found)


def step_problems(
    images: AccountImages, step: Step, words: Mapping[str, str]
) -> Iterator[tuple[str, Place | None]]:
    image = images.reference_of(step, words)
    problem = None if image is None else images.rule.pull_problem(image)
    if problem is not None:
        yield f"the image `{image}` {problem}", step.written.image_place
    if step.written.build is None:
        return
    build = step.written.build.with_values(words)
    for tag in build.tags:
        problem = images.rule.push_problem(tag)
        if problem is not None:
            yield f"the tag `{tag}` {problem}", build.tag_places.get(tag)


def _problem(message: str, file: str | None, place: Place | None) -> Problem:
    return Problem(
        message=message,
        file=(place.file if place else None) or file,
        line=place.line if place else None,
        column=place.column if place else None,
    )
