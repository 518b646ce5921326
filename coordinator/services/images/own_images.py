"""Whether an account may use the images that its steps name, at registries common to all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from coordinator.domain.model import Account, Build, Project, Step
from coordinator.domain.steps.step_words import words_of_step
from coordinator.services.core import Core
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.projects import projects as stored
from pipelines_schema import Place, Problem
from pipelines_schema.contract_images import OwnRegistriesSpec
from pipelines_schema.expressions import OPENING
from pipelines_schema.image_references import whole_tag
from pipelines_schema.own_registries import OwnRegistries
from pipelines_schema.placeholders import empty_word, filled_image


@dataclass(frozen=True, slots=True)
class AccountImages:
    """What names of images mean to an account, and which of them it may use."""

    rule: OwnRegistries
    references: Mapping[str, str]
    """By slug."""

    def reference_of(self, step: Step, build: Build) -> str | None:
        """Of a script's step: the image of a registered slug, else the text itself; None where
        an expression in it leaves nothing, or names an output that is not known yet."""
        return self._meant(step.written.image, step, build)

    def of_services(self, step: Step, build: Build) -> dict[str, str | None]:
        """The same of each of the step's services, by name."""
        services = step.written.services
        return {one.name: self._meant(one.image, step, build) for one in services}

    def _meant(self, image: str | None, step: Step, build: Build) -> str | None:
        wanted = _filled(image, step, build)
        return None if wanted is None else self.references.get(wanted, wanted)


def _images_of(step: Step, build: Build) -> Iterator[str | None]:
    for image in (step.written.image, *(service.image for service in step.written.services)):
        yield _filled(image, step, build)


def _filled(image: str | None, step: Step, build: Build) -> str | None:
    if image is None or OPENING not in image:
        return image
    words = words_of_step(step, build)
    filled = filled_image(image, words) if empty_word(image, words) is None else OPENING
    return None if OPENING in filled else filled


def named_tag(step: Step, build: Build) -> str | None:
    """The whole tag that the step's image is, unless it is a slug."""
    image = _filled(step.written.image, step, build)
    return None if image is None else whole_tag(image)


def empty_image(step: Step, build: Build) -> str | None:
    """Why there is no image to run the step or a service in, for people; None if there are all."""
    for image in (step.written.image, *(service.image for service in step.written.services)):
        if image is None or OPENING not in image:
            continue
        word = empty_word(image, words_of_step(step, build))
        if word is not None:
            return f"the image `{image}` can't be used: `{word}` is empty in this build"
    return None


async def account_images(
    core: Core,
    connection: AsyncConnection,
    account: Account | Project,
    steps: Sequence[Step] = (),
    build: Build | None = None,
) -> AccountImages:
    """As far as these steps of the build need it. Of a project it is those of its account.

    The account's own slug first; nothing that others registered stands for a reference.
    """
    if isinstance(account, Project):
        account_id, account_slug = account.account_id, account.account_slug
    else:
        account_id, account_slug = account.id, account.slug
    named = set(chain.from_iterable(_images_of(step, build) for step in steps)) if build else set()
    wanted = sorted(image for image in named if image)
    own, shared = await stored.known_images(connection, account_id, wanted)
    public = [image.image_url for image in shared]
    slugs_alone = [image for image in shared if not any(sign in image.slug for sign in ":/@")]
    slugs = {image.slug: image for image in (*reversed(slugs_alone), *own)}  # the last counts
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
    build: Build,
    file: str | None,
) -> Sequence[Problem]:
    """Of a new build: each image that belongs to another account, with its place in the file."""
    images = await account_images(core, connection, project, steps, build)
    found: dict[Problem, None] = {}
    for step in steps:
        for problem, place in step_problems(images, step, build):
            found[_problem(f"step `{step.name}`: {problem}", file, place)] = None
    return list(found)


def step_problems(
    images: AccountImages, step: Step, build: Build
) -> Iterator[tuple[str, Place | None]]:
    image = images.reference_of(step, build)
    problem = None if image is None else images.rule.pull_problem(image)
    if problem is not None:
        yield f"the image `{image}` {problem}", step.written.image_place
    of_services = images.of_services(step, build)
    for service in step.written.services:
        image = of_services[service.name]
        problem = None if image is None else images.rule.pull_problem(image)
        if problem is not None:
            yield f"the image `{image}` {problem}", service.image_place
    if step.written.build is None:
        return
    built = step.written.build.with_values(words_of_step(step, build))
    for tag in built.references:
        problem = None if OPENING in tag else images.rule.push_problem(tag)
        if problem is not None:
            yield f"the tag `{tag}` {problem}", built.places.get(tag)
    if built.cache_from and OPENING not in built.cache_from:
        problem = images.rule.pull_problem(built.cache_from)
        if problem is not None:
            yield f"the image `{built.cache_from}` {problem}", built.places.get(built.cache_from)


def _problem(message: str, file: str | None, place: Place | None) -> Problem:
    return Problem(
        message=message,
        file=(place.file if place else None) or file,
        line=place.line if place else None,
        column=place.column if place else None,
    )
