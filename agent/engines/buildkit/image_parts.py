"""An image of several platforms, made by several engines: its parts, and what joins them.

A part is the image for one platform, pushed by its digest alone, so that nobody finds it under a
tag. The parts are joined by a Dockerfile that only names them: BuildKit makes the index, with what
each part's image is configured to, and the registry has the layers already.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from agent.engines.buildkit.image_push import Exporter, ImageNotPushedError, pushing_exporters
from agent.engines.protocol import ImageRequest, Outcome, StepResult
from pipelines_schema.contract_images import BuiltImage, ImageBuildSpec
from pipelines_schema.image_references import MAX_TAG_CHARACTERS, repository_of
from pipelines_schema.platforms import in_a_tag, plain_platform, runs

FOREIGN = (
    "This engine runs no programs of {names}: a `RUN` for it needs QEMU's binfmt handlers on the "
    "engine's machine, or a stage that begins with `FROM --platform=$BUILDPLATFORM`."
)
SPLIT = (
    "the engine of this agent runs no programs of {names}: the image is built in parts, by agents "
    "of {platforms}"
)


def foreign_to(known: Sequence[str], wanted: Sequence[str]) -> Sequence[str]:
    """Those of the wanted platforms whose programs an engine of the known ones doesn't run."""
    return [one for one in wanted if not runs(known, one)]


def to_be_split(spec: ImageBuildSpec, foreign: Sequence[str]) -> StepResult:
    """What others are to do in parts, since nothing was done here."""
    said = SPLIT.format(names=", ".join(foreign), platforms=", ".join(spec.platforms))
    return StepResult(outcome=Outcome.IMAGE_FAILED, message=said, parts=tuple(spec.platforms))


def part_exporter(spec: ImageBuildSpec) -> Exporter:
    """Pushes a part: by its digest, to where the first tag is."""
    [exporter] = pushing_exporters(spec.tags[:1], spec.insecure_registries)
    names = {"name": repository_of(spec.tags[0]), "push-by-digest": "true"}
    return replace(exporter, attributes={**exporter.attributes, **names})


def part_image(spec: ImageBuildSpec, digest: str) -> BuiltImage:
    return BuiltImage(reference=f"{repository_of(spec.tags[0])}@{digest}", digest=digest)


def cache_of_part(spec: ImageBuildSpec, reference: str) -> str:
    """Where a registry keeps the layers of one part: another's would take their place."""
    if not spec.part:
        return reference
    suffix = f"-{in_a_tag(spec.platforms[0])}"
    repository = repository_of(reference)
    tag = reference.removeprefix(f"{repository}:")
    return f"{repository}:{tag[: MAX_TAG_CHARACTERS - len(suffix)]}{suffix}"


@asynccontextmanager
async def joining(request: ImageRequest) -> AsyncIterator[ImageRequest]:
    """The request as one for an image that is made of its parts. Raises ImageNotPushedError."""
    spec = request.build
    with TemporaryDirectory(prefix="pushrod-parts-") as name:
        folder = Path(name)
        (folder / "Dockerfile").write_text(_joining(spec.platforms, spec.parts or {}))
        build = ImageBuildSpec(
            tags=spec.tags,
            push=spec.push,
            platforms=spec.platforms,
            provenance=spec.provenance,
            sbom=spec.sbom,
            insecure_registries=spec.insecure_registries,
        )
        yield replace(request, build=build, settle_tag=None, secrets={}, source=None, inputs=folder)


def _joining(platforms: Sequence[str], parts: Mapping[str, str]) -> str:
    """A Dockerfile whose image is, for each platform, the part of that."""
    lacking = [one for one in platforms if not parts.get(one)]
    if lacking:
        raise ImageNotPushedError(
            f"the image's parts for {', '.join(lacking)} are not there: retry the step"
        )
    stages = [f"FROM --platform={one} {parts[one]} AS part-{_stage(one)}" for one in platforms]
    chosen = "FROM part-${TARGETOS}-${TARGETARCH}-${TARGETVARIANT}x"
    return "".join(f"{line}\n" for line in [*stages, chosen])


def _stage(platform: str) -> str:
    """`linux-arm-v7x`: a stage's name can't end in `-`."""
    system, architecture, *variant = plain_platform(platform).split("/")
    return f"{system}-{architecture}-{''.join(variant)}x"
