"""Requests to other people's servers: forges that take statuses, webhooks.

As for repositories, the operator's policy says what may be reached, and what a name resolves to is
checked at each connection.
"""

from __future__ import annotations

import aiohttp
from yarl import URL

from coordinator.domain.outbox.calls import Call, Reply
from coordinator.domain.pushes.repo_url import RefusedUrl, RemotePolicy, RemoteUrl, check_policy
from coordinator.git.addresses import CONNECT_SECONDS
from coordinator.git.checked_resolver import CheckedResolver
from coordinator.ports import RemoteFailed

ANSWER_SECONDS = 20.0
"""Of a whole request: one that brings a byte now and then would never stall."""
MAX_ANSWER_BYTES = 64 * 1024
"""Of an answer these are read, the first ones."""


class PolicedHttp:
    """Implements ports.OutgoingHttp. `close` ends its connections."""

    def __init__(self, policy: RemotePolicy, *, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._policy, self._seconds = policy, answer_seconds
        self._session: aiohttp.ClientSession | None = None

    async def send(self, call: Call) -> Reply:
        url = URL(call.url, encoded=True)
        check_reachable(url, self._policy)
        try:
            async with self._open().request(
                call.method,
                url,
                headers=call.headers,
                data=call.body or None,
                allow_redirects=False,
            ) as response:
                body = await _beginning(response.content)
                headers = {name.lower(): value for name, value in response.headers.items()}
                return Reply(status=response.status, headers=headers, body=body)
        except TimeoutError as error:
            message = f"{url.host} did not answer within {self._seconds:g} s"
            raise RemoteFailed(message, permanent=False) from error
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as error:
            message = f"{url.host} has a certificate that is not trusted here, or speaks no TLS"
            raise RemoteFailed(message, permanent=False) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Not the error's own words: they may hold the URL, which may be a secret.
            cause = type(getattr(error, "os_error", error)).__name__
            raise RemoteFailed(f"{url.host} can't be reached: {cause}", permanent=False) from error

    def server_of(self, url: str) -> str:
        try:
            parsed = URL(url, encoded=True)
        except ValueError as error:
            raise RemoteFailed("this is no http or https address", permanent=True) from error
        check_reachable(parsed, self._policy)
        return str(parsed.origin())

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                resolver=CheckedResolver(self._policy), use_dns_cache=False, limit=0
            )
            timeout = aiohttp.ClientTimeout(total=self._seconds, sock_connect=CONNECT_SECONDS)
            # Neither cookies nor .netrc nor a proxy of the environment.
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


async def _beginning(content: aiohttp.StreamReader) -> bytes:
    """One read gives what has come so far alone, which may end within a JSON."""
    found = bytearray()
    while len(found) < MAX_ANSWER_BYTES:
        piece = await content.read(MAX_ANSWER_BYTES - len(found))
        if not piece:
            break
        found += piece
    return bytes(found)


def check_reachable(url: URL, policy: RemotePolicy) -> None:
    """Raises RemoteFailed for what the policy refuses, as far as the URL tells."""
    if url.scheme not in ("http", "https") or not url.host or url.user is not None:
        raise RemoteFailed("this is no http or https address", permanent=True)
    server = RemoteUrl(
        scheme=url.scheme, host=url.host.lower(), port=url.port or 443, user="", path="/"
    )
    try:
        check_policy(server, policy)
    except RefusedUrl as error:
        raise RemoteFailed(str(error), permanent=True) from error
