"""One image by one tag for all steps of a build, also where a Dockerfile names the tag.

Before an image is built, the engine is asked for the graph that it would build. So the Dockerfile
is read by what builds it: stages, arguments, heredocs and ONBUILD mean what they mean there, and a
stage that isn't needed is no matter. Nothing is fetched or run for it but the frontend that a
`# syntax=` line names. Then the coordinator says which image each tag means.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from agent.engines.buildkit.build import Build, BuildFailedError
from agent.engines.buildkit.failures import is_gone
from agent.engines.buildkit.fetched_images import FetchedImage, images_of, images_reported
from agent.engines.buildkit.pb import control_pb2, ops_pb2
from agent.engines.buildkit.platforms import platforms_of_programs
from agent.engines.protocol import SettleTag, TagNotSettledError

MAX_TAGS = 100
"""The most that one attempt settles."""
MAX_READINGS = 5
"""An image that a tag means instead of what was found may name others, by ONBUILD."""
RESOLVE_SECONDS = 120.0
_ANEW = "so other steps of the build may mean another image by the same tag"

TakeReport = Callable[[control_pb2.StatusResponse], None]
OpenBuild = Callable[[Mapping[str, str], TakeReport], AbstractAsyncContextManager[Build]]
"""A build in which tags (keys) mean digests (values)."""


@dataclass(slots=True, kw_only=True)
class TagSettler:
    """Use `run`; `digests` has all tags then that the Dockerfile's build is to be told."""

    open: OpenBuild
    frontend: str
    attributes: Mapping[str, str]
    settle: SettleTag
    digests: dict[str, str]
    """Tag → digest, at first what the coordinator knows already."""
    program_platforms: Sequence[str] = ()
    """Of which platforms the Dockerfile runs programs, as it was read last."""
    notes: list[str] = field(default_factory=list)
    """For people: what could not be settled, should the image be built all the same."""
    _left: int = MAX_TAGS
    _unread: str | None = None
    """Why the last reading failed."""

    async def run(self) -> None:
        """Never fails for the Dockerfile's sake: what is wrong with it, its build says.

        Raises BuildFailedError where the engine is gone, and what `settle` raises.
        """
        for _ in range(MAX_READINGS):
            if not await self._settle(await self._fetched()):
                break
        else:
            self.notes.append(f"the Dockerfile's images name ever more images, {_ANEW}")
        if self._unread is not None:
            self.notes.append(f"the Dockerfile was not read beforehand ({self._unread}), {_ANEW}")

    async def _fetched(self) -> Sequence[FetchedImage]:
        """What would be built from, of tags that have no digest yet."""
        fetched: dict[str, FetchedImage] = {}

        def add(images: Iterable[FetchedImage]) -> None:
            fetched.update({image.tag: image for image in images})

        async with self.open(self.digests, lambda report: add(images_reported(report))) as build:
            graphs = await self._graphs(build)
            self.program_platforms = platforms_of_programs(graphs)
            for graph in graphs:
                add(images_of(graph))
            await build.finish("")  # the last reports are here then
        return [image for tag, image in fetched.items() if tag not in self.digests]

    async def _graphs(self, build: Build) -> Sequence[ops_pb2.Definition]:
        self._unread = None
        try:
            return await build.graphs(self.frontend, self.attributes)
        except BuildFailedError as failure:
            if is_gone(failure.error):
                raise
            self._unread = failure.error.details
            return []

    async def _settle(self, fetched: Sequence[FetchedImage]) -> bool:
        """Whether a tag means another image than was read, which may name further ones."""
        new = fetched[: self._left]
        self._left -= len(new)
        if len(new) < len(fetched):
            self.notes.append(f"the Dockerfile names more than {MAX_TAGS} images, {_ANEW}")
        if not new:
            return False
        async with self.open(self.digests, lambda report: None) as build:
            digests = await asyncio.gather(*(self._resolve(build, image) for image in new))
        for image, digest in zip(new, digests, strict=True):
            if digest:
                self.digests[image.tag] = await self._settled(image.tag, digest)
        return any(self.digests.get(image.tag, image.digest) != image.digest for image in new)

    async def _resolve(self, build: Build, image: FetchedImage) -> str:
        """What the tag means now. It is asked again, for the digest that the graph has may be one
        that the Dockerfile names beside the tag, which is not what the tag means."""
        try:
            digest, _ = await build.resolve_image(
                image.tag, timeout=RESOLVE_SECONDS, platform=image.platform
            )
        except BuildFailedError as failure:
            if is_gone(failure.error):
                raise
            self.notes.append(f"`{image.tag}` was not found ({failure.error.details}), {_ANEW}")
            return ""
        return digest

    async def _settled(self, tag: str, digest: str) -> str:
        try:
            return await self.settle(tag, digest)
        except TagNotSettledError as error:
            self.notes.append(
                f"`{tag}`: the coordinator does not keep its digest ({error}), {_ANEW}"
            )
            return digest
