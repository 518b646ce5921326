"""The files that a remote repository keeps with Git LFS, by its batch API and "basic" transfers.

Whoever answers the batch names the URLs to download from, which may be another host's: each goes by
the operator's policy, is connected to only at an address that was checked, and gets the project's
credential only where it is the project's own host.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from coordinator.domain.pushes.repo_url import RefusedUrl, RemotePolicy, RemoteUrl, check_policy
from coordinator.git.addresses import CONNECT_SECONDS
from coordinator.git.checked_resolver import CheckedResolver
from coordinator.git.remotes import DEFAULT_USER, FetchLimits
from coordinator.ports import Credential, KeepObject, RemoteFailed
from pipelines_schema.contract_sources import LfsObject

MEDIA_TYPE = "application/vnd.git-lfs+json"
AT_ONCE = 4
OBJECTS_IN_A_BATCH = 100
"""More are refused by some forges."""
_READ_BYTES = 256 * 1024
_MAX_ANSWER_BYTES = 4 * 1024 * 1024
_NO_HEADERS: Mapping[str, str] = {}
_REFUSED_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Download:
    object: LfsObject
    url: URL
    headers: Mapping[str, str]


class HttpRemoteLfs:
    """Implements ports.RemoteLfs."""

    def __init__(self, *, policy: RemotePolicy, limits: FetchLimits) -> None:
        self._policy, self._limits = policy, limits

    async def download(
        self,
        url: RemoteUrl,
        credential: Credential | None,
        objects: Sequence[LfsObject],
        keep: KeepObject,
    ) -> None:
        self._check(url)
        total = sum(wanted.size for wanted in objects)
        if total > self._limits.max_bytes:
            raise RemoteFailed(
                f"{len(objects)} LFS objects of {total} bytes are more than max_fetch_bytes "
                f"({self._limits.max_bytes})",
                permanent=True,
            )
        async with self._session() as session:
            for start in range(0, len(objects), OBJECTS_IN_A_BATCH):
                batch = objects[start : start + OBJECTS_IN_A_BATCH]
                downloads = await self._ask(session, url, credential, batch)
                await self._download_all(session, downloads, keep)

    def _check(self, url: RemoteUrl) -> None:
        if url.scheme not in ("http", "https"):
            raise RemoteFailed(
                f"Git LFS is fetched by https alone, and the repository's URL is {url.text}: "
                "give the project its https URL and a token",
                permanent=True,
            )
        try:
            check_policy(url, self._policy)
        except RefusedUrl as error:
            raise RemoteFailed(str(error), permanent=True) from error

    def _session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            resolver=CheckedResolver(self._policy), use_dns_cache=False, limit=AT_ONCE
        )
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_SECONDS, sock_read=self._limits.stalled_seconds
        )
        # Neither cookies nor .netrc nor a proxy of the environment.
        return aiohttp.ClientSession(
            connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
        )

    @asynccontextmanager
    async def _deadline(self, what: str) -> AsyncIterator[None]:
        """One that brings a byte now and then would never stall."""
        try:
            async with asyncio.timeout(self._limits.seconds) as limit:
                yield
        except TimeoutError as error:
            if not limit.expired():
                raise
            message = f"{what} took more than {self._limits.seconds:g} s (fetch_seconds)"
            raise RemoteFailed(message, permanent=False) from error

    async def _ask(
        self,
        session: aiohttp.ClientSession,
        url: RemoteUrl,
        credential: Credential | None,
        objects: Sequence[LfsObject],
    ) -> list[_Download]:
        body = {
            "operation": "download",
            "transfers": ["basic"],
            "objects": [{"oid": wanted.oid, "size": wanted.size} for wanted in objects],
            "hash_algo": "sha256",
        }
        headers = {"Accept": MEDIA_TYPE, "Content-Type": MEDIA_TYPE, **_authorization(credential)}
        what = f"the LFS server of {url.text}"
        with _failures(what):
            async with (
                self._deadline(what),
                session.post(
                    URL(_endpoint(url) + "/objects/batch", encoded=True),
                    data=json.dumps(body).encode(),
                    headers=headers,
                    allow_redirects=False,
                ) as response,
            ):
                answer = await _read_answer(response, url)
        try:
            return [
                self._chosen(url, credential, wanted, answer.get(wanted.oid, {}))
                for wanted in objects
            ]
        except (AttributeError, TypeError, ValueError) as error:
            raise _nonsense(url) from error

    def _chosen(
        self,
        url: RemoteUrl,
        credential: Credential | None,
        wanted: LfsObject,
        said: Mapping[str, Any],
    ) -> _Download:
        action = (said.get("actions") or {}).get("download") or {}
        if "href" not in action:
            reason = (said.get("error") or {}).get("message") or "it gives no download"
            raise RemoteFailed(
                f"the LFS server of {url.text} does not have {wanted.oid[:12]} ({reason}): "
                "`git lfs push --all` it there",
                permanent=True,
                missing=True,
            )
        # `encoded`: a signed URL holds as it was given alone.
        target = URL(str(action["href"]), encoded=True)
        own = self._checked_target(target, url)
        headers = {
            str(name): str(value)
            for name, value in (action.get("header") or {}).items()
            if str(name).lower() not in _REFUSED_HEADERS
        }
        if own and not any(name.lower() == "authorization" for name in headers):
            headers |= _authorization(credential)
        return _Download(object=wanted, url=target, headers=headers)

    def _checked_target(self, target: URL, url: RemoteUrl) -> bool:
        """Whether it is the repository's own host. Raises RemoteFailed for a URL not fetched."""
        if target.scheme not in ("http", "https") or not target.host or target.user is not None:
            raise RemoteFailed("the LFS server names a URL that is not fetched", permanent=True)
        shown = RemoteUrl(
            scheme=target.scheme,
            host=target.host.lower(),
            port=target.port or 443,
            user="",
            path="/",
        )
        self._check(shown)
        if url.scheme == "https" and target.scheme == "http":
            raise RemoteFailed(
                "the LFS server asks to download by plain http, which is not done", permanent=True
            )
        return (shown.scheme, shown.host, shown.port) == (url.scheme, url.host, url.port)

    async def _download_all(
        self, session: aiohttp.ClientSession, downloads: Sequence[_Download], keep: KeepObject
    ) -> None:
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(download: _Download) -> None:
            async with gate:
                await self._download(session, download, keep)

        try:
            async with asyncio.TaskGroup() as tasks:
                for download in downloads:
                    tasks.create_task(one(download))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _download(
        self, session: aiohttp.ClientSession, download: _Download, keep: KeepObject
    ) -> None:
        what = f"the LFS object {download.object.oid[:12]} at {download.url.host}"
        with _failures(what):
            async with (
                self._deadline(what),
                session.get(
                    download.url, headers=download.headers, allow_redirects=False
                ) as response,
            ):
                if response.status != 200:
                    raise _refusal(what, response.status)
                await keep(download.object, _chunks(response))


def _endpoint(url: RemoteUrl) -> str:
    text = url.text.rstrip("/")
    return (text if text.endswith(".git") else f"{text}.git") + "/info/lfs"


def _authorization(credential: Credential | None) -> Mapping[str, str]:
    if credential is None or not credential.token:
        return _NO_HEADERS
    pair = f"{credential.user or DEFAULT_USER}:{credential.token}".encode()
    return {"Authorization": f"Basic {base64.b64encode(pair).decode('ascii')}"}


async def _chunks(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    async for chunk in response.content.iter_chunked(_READ_BYTES):
        yield chunk


async def _read_answer(
    response: aiohttp.ClientResponse, url: RemoteUrl
) -> Mapping[str, Mapping[str, Any]]:
    """What is said of each object, by its oid."""
    if response.status != 200:
        raise _refusal(f"the LFS server of {url.text}", response.status)
    body = b""
    async for chunk in response.content.iter_chunked(_READ_BYTES):
        body += chunk
        if len(body) > _MAX_ANSWER_BYTES:
            raise RemoteFailed("the LFS server's answer has no end", permanent=True)
    try:
        return {str(said["oid"]): said for said in json.loads(body)["objects"]}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _nonsense(url) from error


def _nonsense(url: RemoteUrl) -> RemoteFailed:
    message = f"the LFS server of {url.text} gives an answer that is none of the batch API"
    return RemoteFailed(message, permanent=True)


def _refusal(what: str, status: int) -> RemoteFailed:
    if 300 <= status < 400:
        return RemoteFailed(f"{what} redirects, which is not followed", permanent=True)
    permanent = 400 <= status < 500 and status not in (408, 429)
    return RemoteFailed(f"{what} answered {status}", permanent=permanent)


@contextmanager
def _failures(what: str) -> Iterator[None]:
    """What goes wrong on the way, as RemoteFailed."""
    try:
        yield
    except RemoteFailed:
        raise
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        said = str(error) or type(error).__name__
        raise RemoteFailed(f"{what} can't be reached: {said[:300]}", permanent=False) from error
