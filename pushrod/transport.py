"""Calls of the coordinator over HTTP: one connection, JSON, errors in words for people."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any, Self
from urllib.parse import quote

import aiohttp
from yarl import URL

from pipelines_schema import redirects
from pushrod.connection import Connection, is_local
from pushrod.errors import (
    CommandError,
    NotFoundError,
    ProtocolError,
    RefusedError,
    UnauthorizedError,
    UnreachableError,
    describe_connection_error,
)

CALL_SECONDS = 30.0
CONNECT_SECONDS = 10.0
DOWNLOAD_TIMEOUT = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=CALL_SECONDS)
UPLOADED_SECONDS = 300.0
"""For the answer, once all was sent."""
HOLD_SECONDS = 25
"""How long the coordinator may hold a question that waits for news."""
MAX_MESSAGE_CHARACTERS = 500

Json = dict[str, Any]


class Transport:
    """Use as an asynchronous context manager. Every method raises a CommandError."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._session: aiohttp.ClientSession | None = None

    @property
    def url(self) -> str:
        return self._connection.url

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=(
                aiohttp.UnixConnector(str(self._connection.socket), limit=0)
                if self._connection.socket is not None
                else aiohttp.TCPConnector(limit=0)
            ),
            # A proxy set for the wide world can't reach this machine's own loopback.
            trust_env=not is_local(self._connection.url),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def download(self, path: str) -> AsyncIterator[bytes]:
        """The body of an answer as it comes, however long that takes in all. Where the coordinator
        says that its object store has it, from there, if this machine gets it there."""
        try:
            async with AsyncExitStack() as stack:
                response = await self._opened(stack, path, redirects.FOLLOW)
                if response.status == redirects.STATUS:
                    response = await self._from_store(
                        stack, response.headers.get("Location")
                    ) or await self._opened(stack, path, redirects.NONE)
                if response.status != 200:
                    raise self._refusal(response.status, await response.read())
                async for chunk in response.content.iter_any():
                    yield chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnreachableError(_unreachable(self._connection.url, error)) from error

    async def _opened(
        self, stack: AsyncExitStack, path: str, wanted: str
    ) -> aiohttp.ClientResponse:
        if self._session is None:
            raise UnreachableError("the client is not open")
        return await stack.enter_async_context(
            self._session.get(
                URL(self._connection.url + path, encoded=True),
                headers={
                    "Authorization": f"Bearer {self._connection.token}",
                    redirects.HEADER: wanted,
                },
                allow_redirects=False,
                timeout=DOWNLOAD_TIMEOUT,
            )
        )

    async def _from_store(
        self, stack: AsyncExitStack, location: str | None
    ) -> aiohttp.ClientResponse | None:
        """None where it does not come. Without our token; nothing is told of the address, which is
        a credential."""
        address = redirects.address_to_follow(self._connection.url, location)
        if self._session is None or self._connection.socket is not None or address is None:
            return None
        try:
            response = await stack.enter_async_context(
                self._session.get(
                    URL(address, encoded=True), allow_redirects=False, timeout=DOWNLOAD_TIMEOUT
                )
            )
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return None
        return response if response.status == 200 else None

    async def list_at(self, path: str, query: Mapping[str, str | int] | None = None) -> list[Json]:
        _, data = await self.request("GET", path, query=query)
        return objects(self._parsed(data, path), path)

    async def object_at(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Json | None = None,
    ) -> Json:
        _, data = await self.request(method, path, query=query, body=body)
        value = self._parsed(data, path)
        if not isinstance(value, dict):
            raise self.no_coordinator(path)
        return value

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Json | None = None,
    ) -> tuple[Mapping[str, str], bytes]:
        """Headers and body of a successful answer; everything else becomes a CommandError."""
        if self._session is None:
            raise UnreachableError("the client is not open")
        held = HOLD_SECONDS if query and "wait" in query else 0
        try:
            async with self._session.request(
                method,
                # `encoded`: what is quoted here must arrive as it is.
                URL(self._connection.url + path, encoded=True).update_query(query or {}),
                headers={"Authorization": f"Bearer {self._connection.token}"},
                json=None if body is None else _without_absent(body),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(
                    total=CALL_SECONDS + held, sock_connect=CONNECT_SECONDS
                ),
            ) as response:
                data = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnreachableError(_unreachable(self._connection.url, error)) from error
        if not 200 <= response.status < 300:
            raise self._refusal(response.status, data)
        return response.headers, data

    async def upload(self, path: str, pieces: AsyncIterator[bytes]) -> Json:
        """The answer to a POST of so many bytes, however long they take."""
        if self._session is None:
            raise UnreachableError("the client is not open")
        try:
            async with self._session.post(
                URL(self._connection.url + path, encoded=True),
                headers={
                    "Authorization": f"Bearer {self._connection.token}",
                    "Content-Type": "application/octet-stream",
                },
                data=pieces,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(
                    sock_connect=CONNECT_SECONDS, sock_read=UPLOADED_SECONDS
                ),
            ) as response:
                data = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnreachableError(_unreachable(self._connection.url, error)) from error
        if not 200 <= response.status < 300:
            raise self._refusal(response.status, data)
        value = self._parsed(data, path)
        if not isinstance(value, dict):
            raise self.no_coordinator(path)
        return value

    def _parsed(self, data: bytes, path: str) -> Any:
        try:
            return json.loads(data)
        except ValueError as error:
            raise self.no_coordinator(path) from error

    def _refusal(self, status: int, data: bytes) -> CommandError:
        said = error_message(data)
        if status == 401:
            return UnauthorizedError(
                f"{self.url} does not accept the token: {said or 'unauthorized'} "
                "(choose another by --token-file or PUSHROD_TOKEN)"
            )
        if status == 404:
            return NotFoundError(said or f"{self.url} knows no such thing (is it a coordinator?)")
        if status >= 500:
            return UnreachableError(f"{self.url} is in trouble: {said or f'status {status}'}")
        if status == 403:
            return RefusedError(status, f"the token may not do this: {said or 'forbidden'}")
        return RefusedError(status, said or f"{self.url} refused with status {status}")

    def no_coordinator(self, path: str) -> ProtocolError:
        return ProtocolError(
            f"{self.url}{path} does not answer as a coordinator does: check --url or PUSHROD_URL"
        )


def error_message(data: bytes) -> str:
    """What an error's body says, in one line, with its details; empty if it isn't ours."""
    try:
        body = json.loads(data)
    except ValueError:
        return ""
    if not isinstance(body, dict) or not isinstance(body.get("error"), str):
        return ""
    error, details = body["error"], body.get("details")
    parts = [
        error,
        *(_detail(one, error) for one in (details if isinstance(details, list) else [])),
    ]
    return " · ".join(" ".join(part.split()) for part in parts if part)[:MAX_MESSAGE_CHARACTERS]


def _detail(detail: object, error: str) -> str:
    """Empty where it says once more what the error said."""
    if not isinstance(detail, dict):
        return str(detail)
    place = detail.get("path") or detail.get("field")
    message = str(detail.get("message", ""))
    if message == error:
        return ""
    return f"{place}: {message}" if place else message


def _unreachable(url: str, error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"{url} did not answer in time"
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(
        error.os_error, ConnectionRefusedError
    ):
        hint = "start one with `pushrod up`, or choose another by --url or PUSHROD_URL"
        return f"no coordinator answers at {url}: {hint}"
    return f"{url} can't be reached: {describe_connection_error(error)}"


def quoted(part: str) -> str:
    return quote(part, safe="")


def _without_absent(body: Json) -> Json:
    return {name: value for name, value in body.items() if value is not None}


def objects(value: object, path: str) -> list[Json]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ProtocolError(f"{path} did not answer with a list: is it a coordinator's URL?")
    return value
