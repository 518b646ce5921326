"""Bringing a built image to its registries, and asking them what they have.

There are two ways: BuildKit's own exporter pushes, or, where dockerd keeps images in a store of its
own, the exporter fills that and dockerd pushes. There the image has a tag of the attempt's own, and
the real one only while it is pushed: a tag that stayed would be found before the registry's image
by every later step, whoever's it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from agent.engines.buildkit.build import Build, BuildFailedError
from agent.engines.buildkit.docker_images import DockerImages, DockerRefusedError
from agent.engines.buildkit.dockerfile_failures import push_problem
from agent.engines.buildkit.failures import is_gone
from agent.engines.buildkit.platforms import platform_message
from pipelines_schema.contract_images import BuiltImage, ImageBuildSpec
from pipelines_schema.image_references import registry_of, repository_of, tag_problem
from pipelines_schema.own_registries import OwnRegistries

RESOLVE_SECONDS = 120.0
DIGEST = "containerimage.digest"
CONFIG_DIGEST = "containerimage.config.digest"


class ImageNotPushedError(Exception):
    """The message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exporter:
    """What BuildKit is to do with the image, once for some of the tags."""

    name: str
    attributes: Mapping[str, str]
    tags: Sequence[str] = ()


def check_references(spec: ImageBuildSpec, rule: OwnRegistries | None) -> None:
    """Once more than the coordinator did: a tag decides where the image goes.

    Raises ImageNotPushedError.
    """
    cache = [spec.cache_to] if spec.cache_to else []
    for tag in (*(spec.tags if spec.push else ()), *cache):
        problem = tag_problem(tag)
        if problem is not None:
            raise ImageNotPushedError(f"the tag `{tag}` {problem}")
        foreign = rule.push_problem(tag) if rule else None
        if foreign is not None:
            raise ImageNotPushedError(f"the tag `{tag}` {foreign}")
    if spec.cache_from and rule:
        foreign = rule.pull_problem(spec.cache_from)
        if foreign is not None:
            raise ImageNotPushedError(f"`cacheFrom: {spec.cache_from}` {foreign}")


def options_problem(spec: ImageBuildSpec) -> str | None:
    """Why a Docker Engine whose images are in a store of its own can't build it, for people."""
    asked = {
        "platforms": len(spec.platforms) > 1,
        "provenance": spec.provenance,
        "sbom": spec.sbom,
        "cacheTo": spec.cache_to is not None,
    }
    named = " and ".join(f"`{key}`" for key, wanted in asked.items() if wanted)
    if not named:
        return None
    return (
        f"this engine can't do what {named} asks for: it needs a buildkitd, or a Docker Engine "
        "with containerd's image store"
    )


NO_EXPORTER = Exporter(name="", attributes={})


def pushing_exporters(tags: Sequence[str], insecure: Sequence[str]) -> list[Exporter]:
    """BuildKit pushes. What is said of a host that is not checked holds for a whole export."""
    groups: dict[bool, list[str]] = defaultdict(list)
    for tag in tags:
        groups[registry_of(tag) in insecure].append(tag)
    return [
        Exporter(
            name="image",
            attributes={
                "name": ",".join(group),
                "push": "true",
                "store": "false",
                **({"registry.insecure": "true"} if unchecked else {}),
            },
            tags=group,
        )
        for unchecked, group in groups.items()
    ]


def own_tag(attempt_id: str) -> str:
    """The tag that keeps an attempt's image in dockerd's store."""
    return f"{_own_repository(attempt_id)}:image"


def pushing_tag(attempt_id: str, tag: str) -> str:
    """The mark that the attempt has put `tag` on its image: a killed agent leaves both."""
    return f"{_own_repository(attempt_id)}:{hashlib.sha256(tag.encode()).hexdigest()}"


def _own_repository(attempt_id: str) -> str:
    return f"localhost/pushrod-build/{attempt_id.lower()}"


def storing_exporter(attempt_id: str) -> Exporter:
    return Exporter(name="moby", attributes={"name": own_tag(attempt_id)})


@dataclass(slots=True)
class TagLocks:
    """One attempt at a time has a tag in the store of one engine."""

    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    @asynccontextmanager
    async def hold(self, tag: str) -> AsyncIterator[None]:
        lock = self._locks.setdefault(tag, asyncio.Lock())
        async with lock:
            yield
        if not lock.locked():
            self._locks.pop(tag, None)


async def push_from_store(
    images: DockerImages, attempt_id: str, tag: str, login: str, locks: TagLocks
) -> BuiltImage:
    """`login` is X-Registry-Auth. Raises ImageNotPushedError, DockerUnreachableError."""
    async with locks.hold(tag):
        try:
            async with _tagged(images, attempt_id, tag):
                digest = await images.push(tag, login)
        except DockerRefusedError as error:
            raise ImageNotPushedError(push_problem(tag, str(error))) from error
    return BuiltImage(reference=tag, digest=digest)


@asynccontextmanager
async def _tagged(images: DockerImages, attempt_id: str, tag: str) -> AsyncIterator[None]:
    """The attempt's image has the tag for the block; whose it was before has it again then."""
    before = await images.id_of(tag)
    try:
        await images.tag(own_tag(attempt_id), pushing_tag(attempt_id, tag))
        await images.tag(own_tag(attempt_id), tag)
        yield
    finally:
        await asyncio.shield(_give_back(images, tag, before))


async def _give_back(images: DockerImages, tag: str, before: str | None) -> None:
    with contextlib.suppress(DockerRefusedError):
        await (images.forget(tag) if before is None else images.tag(before, tag))


async def forget_stored(images: DockerImages, attempt_id: str) -> None:
    """Remove the attempt's image, with the tags that a killed agent may have left on it."""
    with contextlib.suppress(DockerRefusedError):  # there is none
        tags = await images.tags_of(own_tag(attempt_id))
        left = [tag for tag in tags if pushing_tag(attempt_id, tag) in tags]
        own = [tag for tag in tags if tag.startswith(f"{_own_repository(attempt_id)}:")]
        # Its own tag last: by that the others are found again.
        marks = [tag for tag in own if tag != own_tag(attempt_id)]
        for tag in (*left, *marks, own_tag(attempt_id)):
            with contextlib.suppress(DockerRefusedError):
                await images.forget(tag)


async def confirm(
    build: Build, image: BuiltImage, config_digest: str, platforms: Sequence[str] = ()
) -> None:
    """Ask the registry for what was pushed: an image with that configuration, or an index of
    several, which has none (empty). Where the image has none of the engine's own platform,
    `platforms` say which. Raises ImageNotPushedError, BuildFailedError."""
    reference = f"{repository_of(image.reference)}@{image.digest}"
    try:
        digest, config = await build.resolve_image(
            reference,
            timeout=RESOLVE_SECONDS,
            mode="pull",
            platform=platform_message(platforms[0]) if platforms else None,
        )
    except BuildFailedError as failure:
        if is_gone(failure.error):
            raise
        raise ImageNotPushedError(
            f"{image.reference} was pushed as {image.digest}, but its registry does not give it "
            f"back: {failure.error.details}"
        ) from failure
    found = f"sha256:{hashlib.sha256(config).hexdigest()}"
    if digest != image.digest or config_digest not in ("", found):
        raise ImageNotPushedError(
            f"{image.reference} was pushed, but its registry has another image there: {digest} "
            f"with the configuration {found}, not {image.digest} with {config_digest}"
        )
