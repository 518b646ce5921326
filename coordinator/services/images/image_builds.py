"""Steps that build images: what their agent is told, and what it may report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from coordinator.domain.errors import Invalid
from coordinator.domain.model import Build, Step
from coordinator.domain.steps.image_parts import may_split
from coordinator.domain.steps.step_words import words_of_step
from coordinator.services.core import Core
from pipelines_schema import ImageBuild
from pipelines_schema.contract import CompleteRequest, Completion
from pipelines_schema.contract_images import ImageBuildSpec

FOR_BUILDKIT = (
    "builds an image, which no script can: it is for an agent with BuildKit "
    "(`pushrod agent --engine buildkit`)"
)
NO_TAGS = "The image was not pushed: what its tags name is empty in this build."
NOT_FROM_FORKS = "The image was not pushed: a pull request from a fork only builds it."


def build_spec(core: Core, step: Step, build: Build, cache_scope: str) -> ImageBuildSpec | None:
    """None for a step that runs a script."""
    if step.written.build is None:
        return None
    image = step.written.build.with_values(words_of_step(step, build))
    return ImageBuildSpec(
        context=image.context,
        dockerfile=image.dockerfile,
        target=image.target,
        args=dict(image.args),
        tags=list(image.tags),
        # Outsiders' code chooses its tags: even a registry that asks nobody must not get them.
        push=image.push and not build.of_fork,
        platforms=list(image.platforms),
        cache_from=image.cache_from,
        cache_to=None if build.of_fork else image.cache_to,
        provenance=image.provenance,
        sbom=image.sbom,
        may_split=may_split(step),
        part=step.definition.part_of is not None,
        not_pushed_because=_not_pushed_because(step.written.build, image, build),
        cache_scope=cache_scope,
        insecure_registries=list(core.settings.insecure_hosts),
    )


def _not_pushed_because(written: ImageBuild, image: ImageBuild, build: Build) -> str | None:
    if not written.push:
        return None
    if not image.push:
        return NO_TAGS
    return NOT_FROM_FORKS if build.of_fork else None


def built_images(step: Step, request: CompleteRequest) -> Sequence[Mapping[str, str]] | None:
    """What is stored of a completion's images. Raises Invalid for images that no step built."""
    if step.written.build is None:
        if request.images:
            raise Invalid(f"step {step.name!r} builds no image: leave `images` out")
        return None
    if request.status is not Completion.SUCCESS:
        return None
    return [image.to_json() for image in request.images or ()]
