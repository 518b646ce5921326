"""The images that an attempt's services run in."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from agent.engines.buildkit import llb
from agent.engines.buildkit.build import Build
from agent.engines.buildkit.failures import StepNotRunError
from agent.engines.buildkit.fence import Fence
from agent.engines.buildkit.image_store import Image, ImageStore
from agent.engines.buildkit.images import (
    complete_reference,
    pinned_reference,
    reference_problem,
)
from agent.engines.buildkit.registry_logins import RegistryLogins
from agent.engines.buildkit.service_log import StepLog
from agent.engines.protocol import StepRequest
from pipelines_schema.contract import ServiceSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What all services of an attempt have in common."""

    build: Build
    platform: llb.Platform
    images: ImageStore
    logins: RegistryLogins
    log: StepLog
    fence: Fence | None
    """None on an engine whose containers can't be parted from each other."""


async def images_of(request: StepRequest, around: Circumstances) -> list[Image]:
    """Those of the request's services. Raises StepNotRunError, BuildFailedError."""
    return [await _image(one, request, around) for one in request.services]


async def _image(spec: ServiceSpec, request: StepRequest, around: Circumstances) -> Image:
    problem = reference_problem(spec.image)
    if problem is None and request.own_registries is not None:
        foreign = request.own_registries.pull_problem(complete_reference(spec.image))
        problem = f"the image `{spec.image}` {foreign}" if foreign else None
    if problem is not None:
        raise StepNotRunError(f"service `{spec.name}`: {problem}")
    written = spec.image
    if spec.image_digest is not None:
        written = pinned_reference(complete_reference(written), spec.image_digest)
    user = spec.user or ""
    image = await around.images.find(around.build, written, around.platform, around.logins, user)
    tag, _, digest = image.reference.partition("@")
    if digest and "@" not in written and request.settle_tag is not None:
        settled = await request.settle_tag(tag, digest)
        if settled != digest:
            pinned = pinned_reference(tag, settled)
            image = await around.images.find(
                around.build, pinned, around.platform, around.logins, user
            )
    arguments_of(spec, image)
    return image


async def roots_of(images: Sequence[Image], around: Circumstances) -> list[str]:
    """The images' filesystems, fetched at once. Raises BuildFailedError."""
    making = [asyncio.create_task(_root(image, around)) for image in images]
    try:
        return await asyncio.gather(*making)
    finally:
        for one in making:
            one.cancel()
        await asyncio.gather(*making, return_exceptions=True)


async def _root(image: Image, around: Circumstances) -> str:
    source = llb.image(image.reference, around.platform)
    return await around.build.solve(llb.definition(source))


def arguments_of(spec: ServiceSpec, image: Image) -> Sequence[str]:
    """What a service is started by. Raises StepNotRunError where there is nothing."""
    config = image.config
    words = (*config.entry_point, *spec.command) if spec.command else config.arguments
    if not words:
        raise StepNotRunError(
            f"service `{spec.name}`: its image {spec.image!r} starts nothing by itself: write "
            "`command`"
        )
    return words
