"""dockerd's own store of images, where its BuildKit has none: tag, push, forget.

There BuildKit's exporter puts an image into dockerd's store and ignores that it is to be pushed.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

QUERY_SECONDS = 30.0
CONTAINERD = "io.containerd.snapshotter"


class DockerRefusedError(Exception):
    """dockerd could not do it; the text is its own."""


class DockerUnreachableError(Exception):
    """dockerd is away."""


class DockerImages:
    """All methods raise DockerRefusedError, DockerUnreachableError."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def push_by_buildkit(self) -> bool:
        """Whether images are containerd's, so that BuildKit pushes them itself."""
        info = json.loads(await self._call("GET", "/info", seconds=QUERY_SECONDS))
        return CONTAINERD in json.dumps(info.get("DriverStatus") or [])

    async def tag(self, image: str, reference: str) -> None:
        repository, _, tag = reference.rpartition(":")
        parameters = {"repo": repository, "tag": tag}
        await self._call("POST", f"/images/{image}/tag", parameters, seconds=QUERY_SECONDS)

    async def push(self, reference: str, login: str) -> str:
        """Push it; returns the digest that the registry has it by. `login` is X-Registry-Auth."""
        repository, _, tag = reference.rpartition(":")
        path, parameters = f"/images/{repository}/push", {"tag": tag}
        text = await self._call("POST", path, parameters, headers={"X-Registry-Auth": login})
        digest = ""
        for line in text.splitlines():
            message = json.loads(line)
            if "error" in message:
                raise DockerRefusedError(str(message["error"]))
            digest = (message.get("aux") or {}).get("Digest", digest)
        if not digest:
            raise DockerRefusedError("the engine did not say the digest of what it pushed")
        return str(digest)

    async def id_of(self, name: str) -> str | None:
        """The image that has this tag; None if there is none."""
        try:
            text = await self._call("GET", f"/images/{name}/json", seconds=QUERY_SECONDS)
        except DockerRefusedError:
            return None
        return str(json.loads(text)["Id"])

    async def tags_of(self, name: str) -> list[str]:
        """All tags of the image that has this one."""
        text = await self._call("GET", f"/images/{name}/json", seconds=QUERY_SECONDS)
        return [str(tag) for tag in json.loads(text).get("RepoTags") or []]

    async def forget(self, name: str) -> None:
        """Remove a tag or an image; the layers stay in BuildKit's cache."""
        await self._call("DELETE", f"/images/{name}", seconds=QUERY_SECONDS)

    async def _call(
        self,
        method: str,
        path: str,
        parameters: dict[str, str] | None = None,
        *,
        headers: dict[str, str] | None = None,
        seconds: float | None = None,
    ) -> str:
        timeout = aiohttp.ClientTimeout(total=seconds)
        try:
            async with self._session.request(
                method, path, params=parameters, headers=headers, timeout=timeout
            ) as response:
                text = await response.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise DockerUnreachableError(str(error) or type(error).__name__) from error
        if response.status >= 300:
            raise DockerRefusedError(_message(text) or f"HTTP status {response.status}")
        return text


def _message(text: str) -> str:
    try:
        answer: Any = json.loads(text)
        return str(answer["message"])
    except (ValueError, KeyError, TypeError):
        return text.strip()


@asynccontextmanager
async def docker_images(socket: str) -> AsyncIterator[DockerImages]:
    connector = aiohttp.UnixConnector(path=socket)
    async with aiohttp.ClientSession("http://docker", connector=connector) as session:
        yield DockerImages(session)
