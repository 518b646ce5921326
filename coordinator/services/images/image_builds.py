"""Steps that build images: what their agent is told, and what it may report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from coordinator.domain.errors import Invalid
from coordinator.domain.model import Build, Step
from coordinator.services.core import Core
from pipelines_schema.contract import CompleteRequest, Completion, ImageBuildSpec

FOR_BUILDKIT = (
    "builds an image, which no script can: it is for an agent with BuildKit "
    "(`pushrod agent --engine buildkit`)"
)
NOT_FROM_FORKS = "The image was not pushed: a pull request from a fork only builds it."


def build_spec(
    core: Core, step: Step, build: Build, cache_scope: str, known: Mapping[str, str]
) -> ImageBuildSpec | None:
    """None for a step that runs a script. `known` are the words replaced in it."""
    if step.written.build is None:
        return None
    image = step.written.build.with_values(known)
    held_back = image.push and build.of_fork
    return ImageBuildSpec(
        context=image.context,
        dockerfile=image.dockerfile,
        target=image.target,
        args=dict(image.args),
        tags=list(image.tags),
        # Outsiders' code chooses its tags: even a registry that asks nobody must not get them.
        push=image.push and not build.of_fork,
        not_pushed_because=NOT_FROM_FORKS if held_back else None,
        cache_scope=cache_scope,
        insecure_registries=list(core.settings.insecure_hosts),
    )


def built_images(step: Step, request: CompleteRequest) -> Sequence[Mapping[str, str]] | None:
    """What is stored of a completion's images. Raises Invalid for images that no step built."""
    if step.written.build is None:
        if request.images:
            raise Invalid(f"step {step.name!r} builds no image: leave `images` out")
        return None
    if request.status is not Completion.SUCCESS:
        return None
    return [image.to_json() for image in request.images or ()]
