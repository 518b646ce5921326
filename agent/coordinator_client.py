"""The agent's side of the HTTP contract: one method per call, no retries, errors by reaction."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urljoin

import aiohttp
import pydantic
from yarl import URL

from agent.coordinator_errors import (
    CallRefusedError,
    CoordinatorUnavailableError,
    error_of,
    sentence,
)
from agent.object_store import ObjectStoreReader
from pipelines_schema import log_frames, redirects
from pipelines_schema.contract import (
    FOR_AGENTS_ALONE,
    AcceptRequest,
    CompleteRequest,
    CompleteResponse,
    GoodbyeRequest,
    HealthyRequest,
    LeaseRef,
    PollRequest,
    PollResponse,
    RegisterRequest,
    RegisterResponse,
    RenewRequest,
    RenewResponse,
    StepSpec,
)
from pipelines_schema.contract_images import SettleImageRequest, SettleImageResponse
from pipelines_schema.contract_outputs import OutputBatch, WantedArtifacts
from pipelines_schema.contract_sources import (
    GitRefsResponse,
    LfsObject,
    LfsRequest,
    SubmodulesResponse,
)
from pipelines_schema.wire import WireModel

CALL_SECONDS = 30.0
COMPLETE_SECONDS = 120.0
"""The coordinator checks the digest of the whole log before it answers."""
MOST_RENEW_CALL_SECONDS = 5.0
GOODBYE_SECONDS = 5.0
CONNECT_SECONDS = 10.0
STALL_SECONDS = 60.0
"""A transfer of any length is given up when nothing moves for so long."""

Answer = TypeVar("Answer", bound=WireModel)


class CoordinatorClient:
    """Use as an asynchronous context manager. `credential` is the agent's own token."""

    def __init__(
        self, url: str, *, poll_timeout_seconds: float, socket: Path | None = None
    ) -> None:
        """`socket`: the path that the coordinator listens on, where that is no port."""
        self._base = url.rstrip("/") + "/"
        self._socket = socket
        self._poll_timeout_seconds = poll_timeout_seconds
        self._session: aiohttp.ClientSession | None = None
        self._log_session: aiohttp.ClientSession | None = None
        """For logs alone: see log_frames.FOR_LOGS_ALONE."""
        self._own_session: aiohttp.ClientSession | None = None
        """For what is asked by the agent's own credential: see contract.FOR_AGENTS_ALONE."""
        self._store = ObjectStoreReader(self._base)
        self.credential = ""

    async def __aenter__(self) -> CoordinatorClient:
        self._session, self._log_session = self._new_session(), self._new_session()
        self._own_session = self._new_session()
        return self

    def _new_session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            # A thousand agents that wait hold them at the coordinator.
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=CONNECT_SECONDS, sock_read=STALL_SECONDS
            ),
            connector=(
                aiohttp.UnixConnector(str(self._socket), limit=0)
                if self._socket is not None
                else aiohttp.TCPConnector(limit=0)
            ),
        )

    async def __aexit__(self, *_: object) -> None:
        for session in (self._session, self._log_session, self._own_session):
            if session is not None:
                await session.close()

    async def register(self, token: str, request: RegisterRequest) -> RegisterResponse:
        return await self._post("api/agents/register", token, request, RegisterResponse)

    async def poll(self, request: PollRequest) -> PollResponse:
        """Held by the coordinator until there is something to say."""
        return await self._post(
            "api/agents/poll",
            self.credential,
            request,
            PollResponse,
            seconds=self._poll_timeout_seconds,
        )

    async def renew(self, request: RenewRequest, *, seconds: float) -> RenewResponse:
        """Short deadline: an answer that comes later than the next renewal is worth nothing."""
        return await self._post(
            "api/agents/renew",
            self.credential,
            request,
            RenewResponse,
            seconds=min(seconds, MOST_RENEW_CALL_SECONDS),
        )

    async def goodbye(self, request: GoodbyeRequest) -> None:
        """Raises CallRefusedError where the coordinator is older than this call."""
        async with self._call(
            "POST",
            "api/agents/goodbye",
            self.credential,
            json=request.to_json(),
            seconds=GOODBYE_SECONDS,
        ):
            return

    async def accept(self, lease: LeaseRef) -> StepSpec:
        """Raises StaleLeaseError if the offer is no longer this agent's."""
        path = f"api/runner/{_quoted(lease.step_id)}/accept"
        spec = await self._post(path, self.credential, AcceptRequest(epoch=lease.epoch), StepSpec)
        if (spec.step_id, spec.epoch) != (lease.step_id, lease.epoch):
            raise CallRefusedError(200, f"accepting {lease} was answered with another step")
        return spec

    async def settle_image(
        self, spec: StepSpec, digest: str, tag: str | None = None
    ) -> SettleImageResponse:
        path = f"api/runner/{_quoted(spec.step_id)}/image"
        request = SettleImageRequest(epoch=spec.epoch, digest=digest, reference=tag)
        return await self._post(path, spec.token, request, SettleImageResponse)

    async def tell_healthy(self, spec: StepSpec) -> None:
        path = f"api/runner/{_quoted(spec.step_id)}/healthy"
        await self._post(path, spec.token, HealthyRequest(epoch=spec.epoch), HealthyRequest)

    async def complete(self, step_id: str, request: CompleteRequest) -> CompleteResponse:
        """Raises WrongOffsetError if the log isn't wholly acknowledged yet."""
        path = f"api/runner/{_quoted(step_id)}/complete"
        return await self._post(
            path, self.credential, request, CompleteResponse, seconds=COMPLETE_SECONDS
        )

    async def send_log(self, spec: StepSpec, offset: int, frames: bytes) -> int:
        """Append frames at a byte of text; return the new offset. Raises WrongOffsetError."""
        headers = {
            "Upload-Offset": str(offset),
            "Content-Type": log_frames.CONTENT_TYPE,
            "Connection": f"keep-alive, {log_frames.FOR_LOGS_ALONE}",
        }
        path = f"api/runner/{_quoted(spec.step_id)}/log?epoch={spec.epoch}"
        async with self._call(
            "PATCH",
            path,
            spec.token,
            data=io.BytesIO(frames),
            headers=headers,
            seconds=CALL_SECONDS,
            session=self._log_session,
        ) as response:
            return _offset_of(response)

    async def put_artifact(
        self,
        spec: StepSpec,
        name: str,
        *,
        mode: int,
        size: int,
        sha256: str,
        body: AsyncIterator[bytes],
        modified: int | None = None,
    ) -> None:
        path = (
            f"api/runner/{_quoted(spec.step_id)}/artifacts/{quote(name, safe='/')}"
            f"?epoch={spec.epoch}&mode={mode:o}"
        )
        if modified is not None and modified >= 0:
            path += f"&modified={modified}"
        headers = {"X-Content-Sha256": sha256, "Content-Length": str(size)}
        async with self._call("PUT", path, spec.token, data=body, headers=headers):
            return

    async def put_batch(self, spec: StepSpec, batch: OutputBatch, contents: bytes) -> None:
        path = f"api/runner/{_quoted(spec.step_id)}/artifacts?epoch={spec.epoch}"
        head = json.dumps(batch.to_json()).encode()
        body = io.BytesIO(b"".join((head, b"\n", contents)))
        async with self._call("POST", path, spec.token, data=body, seconds=CALL_SECONDS):
            return

    async def get_batch(self, spec: StepSpec, wanted: WantedArtifacts, *, max_bytes: int) -> bytes:
        """The contents one after the other; never more than a byte beyond `max_bytes`."""
        path = f"api/runner/{_quoted(spec.step_id)}/inputs?epoch={spec.epoch}"
        content = bytearray()
        async with self._call("POST", path, spec.token, json=wanted.to_json()) as response:
            try:
                async for chunk in response.content.iter_chunked(1 << 18):
                    content += chunk
                    if len(content) > max_bytes:
                        return bytes(content[: max_bytes + 1])
            except (aiohttp.ClientError, TimeoutError) as error:
                raise CoordinatorUnavailableError(sentence(error)) from error
        return bytes(content)

    @asynccontextmanager
    async def get_artifact(self, spec: StepSpec, url: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Lend the artifact's bytes as they come. A relative URL is the coordinator's; it may say
        that the object store has them."""
        wanted = self._store.redirects if self._socket is None else redirects.NONE
        found: aiohttp.ClientResponse | None = None
        async with AsyncExitStack() as stack:
            response = await stack.enter_async_context(self._file(spec, url, wanted))
            if response.status == redirects.STATUS and self._session is not None:
                location = response.headers.get("Location")
                found = await self._store.open(self._session, location)
                other = found or self._file(spec, url, redirects.NONE)
                response = await stack.enter_async_context(other)
            try:
                yield response.content.iter_chunked(1 << 18)
            except (aiohttp.ClientError, TimeoutError) as error:
                if found is not None:
                    self._store.broke_off(found, error)
                raise CoordinatorUnavailableError(sentence(error)) from error

    def _file(
        self, spec: StepSpec, url: str, wanted: str
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        also = redirects.STATUS if wanted == redirects.FOLLOW else 200
        return self._call("GET", url, spec.token, headers={redirects.HEADER: wanted}, also=also)

    async def submodules(self, spec: StepSpec) -> SubmodulesResponse:
        """Those of the step's commit, once the coordinator has their commits."""
        path = f"api/runner/{_quoted(spec.step_id)}/submodules?epoch={spec.epoch}"
        async with self._call("GET", path, spec.token, seconds=CALL_SECONDS) as response:
            return await _read_answer(response, path, SubmodulesResponse)

    async def git_refs(self, spec: StepSpec, *, history: bool) -> GitRefsResponse:
        """The tags of the step's commit, or all tags and branches that it may see."""
        path = f"api/runner/{_quoted(spec.step_id)}/refs?epoch={spec.epoch}"
        path += f"&history={str(history).lower()}"
        async with self._call("GET", path, spec.token, seconds=CALL_SECONDS) as response:
            return await _read_answer(response, path, GitRefsResponse)

    async def bring_lfs(self, spec: StepSpec, request: LfsRequest) -> None:
        """Returns once the coordinator has the objects."""
        path = f"api/runner/{_quoted(spec.step_id)}/lfs?epoch={spec.epoch}"
        async with self._call(
            "POST", path, spec.token, json=request.to_json(), seconds=CALL_SECONDS
        ):
            return

    def get_lfs(
        self, spec: StepSpec, submodule: str, item: LfsObject
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Lend an object's bytes as they come."""
        path = (
            f"api/runner/{_quoted(spec.step_id)}/lfs/{item.oid}?epoch={spec.epoch}"
            f"&size={item.size}&submodule={quote(submodule, safe='')}"
        )
        return self.get_artifact(spec, path)

    async def _post(
        self,
        path: str,
        token: str,
        request: WireModel,
        answer: type[Answer],
        *,
        seconds: float = CALL_SECONDS,
    ) -> Answer:
        async with self._call(
            "POST", path, token, json=request.to_json(), seconds=seconds
        ) as response:
            return await _read_answer(response, path, answer)

    @asynccontextmanager
    async def _call(
        self,
        method: str,
        path: str,
        token: str,
        *,
        seconds: float | None = None,
        also: int = 200,
        session: aiohttp.ClientSession | None = None,
        **options: Any,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Lend a successful response, or one of the status `also`; translate everything else to our
        errors."""
        own = bool(token) and token == self.credential
        session = session or (self._own_session if own else self._session)
        if session is None:
            raise CoordinatorUnavailableError("the client is not open")
        headers = {**options.pop("headers", {}), "Authorization": f"Bearer {token}"}
        if own:
            headers["Connection"] = f"keep-alive, {FOR_AGENTS_ALONE}"
        if seconds is not None:
            options["timeout"] = aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT_SECONDS)
        # `encoded`: an artifact's name must reach the server as quoted here.
        url = URL(urljoin(self._base, path), encoded=True)
        try:
            request = await session.request(
                method, url, headers=headers, allow_redirects=False, **options
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise CoordinatorUnavailableError(sentence(error)) from error
        async with request as response:
            if not 200 <= response.status < 300 and response.status != also:
                raise await error_of(response, token)
            yield response


async def _read_answer(response: aiohttp.ClientResponse, path: str, answer: type[Answer]) -> Answer:
    try:
        return answer.model_validate_json(await response.read())
    except (aiohttp.ClientError, TimeoutError) as error:
        raise CoordinatorUnavailableError(sentence(error)) from error
    except pydantic.ValidationError as error:
        problem = f"the answer of {path} can't be understood: {error.error_count()} problems"
        raise CallRefusedError(response.status, problem) from error


def _offset_of(response: aiohttp.ClientResponse) -> int:
    try:
        return int(response.headers["Upload-Offset"])
    except (KeyError, ValueError) as error:
        raise CallRefusedError(response.status, "the answer has no Upload-Offset") from error


def _quoted(step_id: str) -> str:
    return quote(step_id, safe="")
