"""The few calls of the engine's HTTP API that images need."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from agent.engines.private.errors import ImageError
from agent.engines.registry_tokens import PULL, PUSH, REGISTRY, TokenSigner, signer_beside

# Importing or pushing the base image takes about 8 s on a slow disk.
TRANSFER_SECONDS = 600
QUERY_SECONDS = 30


class DockerApi:
    """A client of one engine's socket. Every method raises ImageError."""

    def __init__(self, session: aiohttp.ClientSession, signer: TokenSigner | None) -> None:
        self._session = session
        self._signer = signer

    async def has_image(self, reference: str) -> bool:
        """Whether the engine's own store has the image."""
        status, _ = await self._query("GET", f"/images/{reference}/json")
        return status == 200

    async def registry_digest(self, reference: str) -> str | None:
        """The manifest's digest, which the engine asks the registry for; None if absent."""
        status, answer = await self._query(
            "GET", f"/distribution/{reference}/json", self._login(reference, PULL)
        )
        return str(answer["Descriptor"]["digest"]) if status == 200 else None

    async def import_archive(
        self, archive: Path, reference: str, changes: Sequence[str] = ()
    ) -> None:
        """Make an image of a root file system's tar; `changes` are Dockerfile lines."""
        repository, _, tag = reference.rpartition(":")
        parameters = [("fromSrc", "-"), ("repo", repository), ("tag", tag)]
        parameters += [("changes", change) for change in changes]
        with archive.open("rb") as body:
            await self._transfer("/images/create", parameters, body=body)

    async def push(self, reference: str) -> None:
        """Push the image to the registry its reference names."""
        repository, _, tag = reference.rpartition(":")
        headers = self._login(reference, PULL, PUSH)
        await self._transfer(f"/images/{repository}/push", [("tag", tag)], headers=headers)

    async def pull(self, reference: str, *, timeout_seconds: float) -> None:
        """Pull the image from its registry."""
        repository, _, tag = reference.rpartition(":")
        parameters = [("fromImage", repository), ("tag", tag)]
        await self._transfer("/images/create", parameters, timeout_seconds=timeout_seconds)

    def _login(self, reference: str, *actions: str) -> Mapping[str, str]:
        """The header by which the registry lets us do so."""
        host, _, path = reference.partition("/")
        known = {}
        if self._signer is not None and host == REGISTRY:
            repository = path.partition("@")[0].rpartition(":")[0]
            known = {"registrytoken": self._signer.sign(repository, *actions)}
        return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(known).encode()).decode()}

    async def _query(
        self, method: str, path: str, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        timeout = aiohttp.ClientTimeout(total=QUERY_SECONDS)
        try:
            async with self._session.request(
                method, path, headers=headers, timeout=timeout
            ) as response:
                return response.status, await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise _unreachable(path, error) from error

    async def _transfer(
        self,
        path: str,
        parameters: Sequence[tuple[str, str]],
        *,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float = TRANSFER_SECONDS,
    ) -> None:
        """Follow a stream of JSON lines to its end; an error stands in the stream, after a 200."""
        timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        try:
            async with self._session.post(
                path, params=list(parameters), data=body, headers=headers, timeout=timeout
            ) as response:
                text = await response.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _unreachable(path, error) from error
        if problem := problem_of(response.status, text):
            raise ImageError(
                f"The engine refused {path}: {problem}",
                remedy="Mend what it names, then repeat; see also the log that "
                "`pushrod engine status` names.",
            )


def problem_of(status: int, text: str) -> str | None:
    """The error in a transfer's answer; None if it went well."""
    for line in text.splitlines():
        try:
            message = json.loads(line)
        except ValueError:
            continue
        if isinstance(message, dict) and "error" in message:
            return str(message["error"])
    return None if status < 300 else text.strip() or f"HTTP status {status}"


@asynccontextmanager
async def docker_api(socket: Path) -> AsyncIterator[DockerApi]:
    """A client for the block."""
    connector = aiohttp.UnixConnector(path=str(socket))
    async with aiohttp.ClientSession("http://docker", connector=connector) as session:
        yield DockerApi(session, signer_beside(socket))


def _unreachable(path: str, error: Exception) -> ImageError:
    return ImageError(
        f"The engine did not answer {path}: {error or type(error).__name__}",
        remedy="See `pushrod engine status`; `pushrod engine up` mends a private engine.",
    )
