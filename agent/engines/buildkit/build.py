"""One open build: gateway calls inside it, its reports followed, its end awaited."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from agent.engines.buildkit.client import Client
from agent.engines.buildkit.error_details import failed_place
from agent.engines.buildkit.failures import EngineError
from agent.engines.buildkit.fetched_images import SCHEME
from agent.engines.buildkit.pb import (
    control_pb2,
    fsutil_pb2,
    gateway_pb2,
    ops_pb2,
    policy_pb2,
)

REPORTS_QUIET_SECONDS = 20.0
"""After a build's end its last reports must come with no pause longer than this."""
KILL_SECONDS = 5.0
"""How long a cancelled build is awaited."""
KILL_EVERY_SECONDS = 0.1
UNBEGUN_SECONDS = 0.5
"""The same for one of which nothing was reported."""
CALL_SECONDS = 60.0
"""For gateway calls that read what is there."""
UNRESPONSIVE_SECONDS = 30.0
REGISTRY = "registry"
"""A registry as the place of a cache."""
STATUS_DETAILS = "grpc-status-details-bin"
READ_BYTES = 2 * 1024 * 1024


class BuildFailedError(Exception):
    """A call of the build failed; `error` says how."""

    def __init__(self, error: EngineError) -> None:
        super().__init__(f"{error.code}: {error.details}")
        self.error = error


def engine_error(error: grpc.aio.AioRpcError) -> EngineError:
    details = [
        value
        for key, value in error.trailing_metadata() or ()
        if key == STATUS_DETAILS and isinstance(value, bytes)
    ]
    return EngineError(
        code=error.code().name,
        details=error.details() or "no details",
        place=failed_place(details[0]) if details else None,
    )


class Build:
    """Use `open_build`. All calls raise BuildFailedError."""

    def __init__(
        self, client: Client, name: str, end: asyncio.Future[Any], reports: asyncio.Future[None]
    ) -> None:
        self._client = client
        self.name = name
        self._end = end
        self._reports = reports

    async def features(self) -> set[str]:
        """The engine's enabled capabilities, of its gateway and of its graph."""
        answer = await self.call("Ping", gateway_pb2.PingRequest(), gateway_pb2.PongResponse)
        return {one.ID for one in (*answer.FrontendAPICaps, *answer.LLBCaps) if one.Enabled}

    async def resolve_image(
        self,
        reference: str,
        *,
        timeout: float,
        mode: str = "default",
        platform: ops_pb2.Platform | None = None,
    ) -> tuple[str, bytes]:
        """The digest (empty if the engine knows none) and the configuration of an image.

        By `mode` "pull" the registry is asked, whatever the engine has. The configuration is that
        for the platform, the engine's own where none is given.
        """
        answer = await self.call(
            "ResolveImageConfig",
            gateway_pb2.ResolveImageConfigRequest(
                Ref=reference, ResolveMode=mode, Platform=platform
            ),
            gateway_pb2.ResolveImageConfigResponse,
            timeout=timeout,
        )
        return answer.Digest, answer.Config

    async def solve(self, definition: ops_pb2.Definition) -> str:
        """Make the definition's filesystem; the id by which the build knows it, maybe empty."""
        answer = await self.call(
            "Solve",
            gateway_pb2.SolveRequest(
                Definition=definition,
                allowResultReturn=True,
                allowResultArrayRef=True,
                Evaluate=True,
            ),
            gateway_pb2.SolveResponse,
            timeout=None,
        )
        return str(answer.result.ref.id)

    async def graphs(
        self, frontend: str, attributes: Mapping[str, str]
    ) -> Sequence[ops_pb2.Definition]:
        """What a frontend would have made, one for each platform; it is not made."""
        answer = await self.call(
            "Solve",
            gateway_pb2.SolveRequest(
                Frontend=frontend,
                FrontendOpt=attributes,
                allowResultReturn=True,
                allowResultArrayRef=True,
            ),
            gateway_pb2.SolveResponse,
            timeout=None,
        )
        refs = [answer.result.ref, *answer.result.refs.refs.values()]
        return [getattr(ref, "def") for ref in refs]

    async def read_file(self, ref: str, path: str) -> bytes:
        """A small file of a filesystem."""
        request = gateway_pb2.ReadFileRequest(Ref=ref, FilePath=path)
        answer = await self.call("ReadFile", request, gateway_pb2.ReadFileResponse)
        return bytes(answer.Data)

    async def list_folder(
        self, ref: str, path: str, *, include: str = ""
    ) -> Sequence[fsutil_pb2.Stat]:
        """The entries of a folder, those that match a pattern if there is one."""
        request = gateway_pb2.ReadDirRequest(Ref=ref, DirPath=path, IncludePattern=include)
        answer = await self.call("ReadDir", request, gateway_pb2.ReadDirResponse)
        return list(answer.entries)

    async def file_sizes(self, ref: str, path: str) -> dict[str, int]:
        """The names in a folder with their sizes in bytes."""
        entries = await self.list_folder(ref, path)
        return {entry.path.rpartition("/")[2]: entry.size for entry in entries}

    async def read_from(self, ref: str, path: str, offset: int) -> AsyncIterator[bytes]:
        """A file's content from a byte on, in pieces."""
        while True:
            request = gateway_pb2.ReadFileRequest(
                Ref=ref,
                FilePath=path,
                Range=gateway_pb2.FileRange(Offset=offset, Length=READ_BYTES),
            )
            answer = await self.call("ReadFile", request, gateway_pb2.ReadFileResponse)
            if not answer.Data:
                return
            yield answer.Data
            offset += len(answer.Data)

    def process_stream(self) -> Any:
        """See `containers`."""
        return self._client.processes(self.name)

    async def outcome(self) -> Mapping[str, str]:
        """What the exporter says, once a build that has a frontend is over and all is reported."""
        try:
            answer = await asyncio.shield(self._end)
            await asyncio.shield(self._reports)
        except grpc.aio.AioRpcError as error:
            raise BuildFailedError(engine_error(error)) from error
        return dict(answer.ExporterResponse)

    async def finish(self, ref: str) -> None:
        """End the build with this result (empty for none), delivered as the build was opened for.

        Returns when all is delivered and the last report was taken.
        """
        result = gateway_pb2.Result()
        if ref:
            result.ref.id = ref
        await self.call(
            "Return", gateway_pb2.ReturnRequest(result=result), gateway_pb2.ReturnResponse
        )
        try:
            await asyncio.shield(self._end)
            await asyncio.shield(self._reports)
        except grpc.aio.AioRpcError as error:
            raise BuildFailedError(engine_error(error)) from error

    async def call(
        self, name: str, request: Any, answer: Any, *, timeout: float | None = CALL_SECONDS
    ) -> Any:
        """One call, given up as soon as the build itself has ended."""
        call = asyncio.ensure_future(
            self._wait(self._client.gateway(self.name, name, request, answer, timeout=timeout))
        )
        try:
            await asyncio.wait((call, self._end), return_when=asyncio.FIRST_COMPLETED)
            if not call.done() and self._failed():
                return self._end.result()
            return await call
        except grpc.aio.AioRpcError as error:
            raise BuildFailedError(engine_error(error)) from error
        finally:
            call.cancel()

    def _failed(self) -> bool:
        return self._end.done() and not self._end.cancelled() and self._end.exception() is not None

    @staticmethod
    async def _wait(call: Any) -> Any:
        try:
            return await call
        finally:
            call.cancel()


ALL_RIGHTS = "security.insecure"
"""What an engine must be told that a build may have, and must itself allow."""


@asynccontextmanager
async def open_build(
    client: Client,
    *,
    attempt_id: str,
    session: str,
    exporter: str = "",
    exporter_attributes: Mapping[str, str] | None = None,
    cache_export: Mapping[str, str] | None = None,
    frontend: str = "",
    frontend_attributes: Mapping[str, str] | None = None,
    source_rules: Sequence[tuple[bool, str]] = (),
    digests: Mapping[str, str] | None = None,
    unresponsive_seconds: float = UNRESPONSIVE_SECONDS,
    take_report: Callable[[control_pb2.StatusResponse], None],
    kill: Callable[[], object] | None = None,
    privileged: bool = False,
) -> AsyncIterator[Build]:
    """Keep a build open meanwhile; every report of it is given to `take_report`.

    `cache_export`: where a registry is to keep the layers that a frontend makes. `source_rules` say
    which sources may be fetched: a pattern each, the last that fits counts.
    `digests` say what is fetched for an image's complete tag.
    `privileged`: its processes may ask for all rights over the engine's machine.
    With a `frontend` the engine makes the build's graph by it; else it is made by our calls.
    Whatever ends the context, the build has ended then, its processes with it, and all its reports
    were taken; an engine that no longer answers is given up after KILL_SECONDS. A build whose
    engine answers nothing for `unresponsive_seconds` fails. `kill` (blocking) is called while a
    build that was given up goes on: BuildKit 0.13 forgets a cancel that comes while it starts a
    process.
    """
    name = f"pushrod-{attempt_id}-{secrets.token_hex(4)}"
    request = control_pb2.SolveRequest(
        Ref=name,
        Session=session,
        ExporterDeprecated=exporter,
        ExporterAttrsDeprecated=exporter_attributes or {},
        Frontend=frontend,
        FrontendAttrs=frontend_attributes or {},
        SourcePolicy=_policy(source_rules, digests or {}),
        Cache=_cache(cache_export),
        Entitlements=[ALL_RIGHTS] if privileged else [],
    )
    call = client.build(request)
    end = asyncio.ensure_future(_end_of(client, call, unresponsive_seconds))
    seen = asyncio.Event()

    def take(report: control_pb2.StatusResponse) -> None:
        seen.set()
        take_report(report)

    reports = asyncio.ensure_future(_follow(client, name, end, take))
    try:
        yield Build(client, name, end, reports)
    finally:
        # Not left to the task that awaits it, which may not even have begun.
        call.cancel()
        end.cancel()
        # An engine that knows nothing of the build yet makes its reports wait for seconds.
        seconds = KILL_SECONDS if seen.is_set() else UNBEGUN_SECONDS
        given_up = asyncio.get_running_loop().time() + seconds
        while not reports.done() and (left := given_up - asyncio.get_running_loop().time()) > 0:
            if kill is not None and seen.is_set():
                await asyncio.to_thread(kill)
            await asyncio.wait((reports,), timeout=min(left, KILL_EVERY_SECONDS) if kill else left)
        reports.cancel()
        await asyncio.gather(end, reports, return_exceptions=True)


def _cache(attributes: Mapping[str, str] | None) -> control_pb2.CacheOptions | None:
    if attributes is None:
        return None
    entry = control_pb2.CacheOptionsEntry(Type=REGISTRY, Attrs=attributes)
    return control_pb2.CacheOptions(Exports=[entry])


def _policy(
    rules: Sequence[tuple[bool, str]], digests: Mapping[str, str]
) -> policy_pb2.Policy | None:
    if not rules and not digests:
        return None
    allowing = [
        policy_pb2.Rule(
            action=policy_pb2.ALLOW if allowed else policy_pb2.DENY,
            selector=policy_pb2.Selector(identifier=pattern, match_type=policy_pb2.REGEX),
        )
        for allowed, pattern in rules
    ]
    # What is fetched instead is held to all rules anew. An EXACT match would stay what it is.
    pinning = [
        policy_pb2.Rule(
            action=policy_pb2.CONVERT,
            selector=policy_pb2.Selector(
                identifier=f"^{SCHEME}{re.escape(tag)}$", match_type=policy_pb2.REGEX
            ),
            updates=policy_pb2.Update(identifier=f"{SCHEME}{tag}@{digest}"),
        )
        for tag, digest in digests.items()
    ]
    return policy_pb2.Policy(version=1, rules=[*allowing, *pinning])


async def _end_of(client: Client, call: Any, unresponsive_seconds: float) -> Any:
    """The build's own answer, or the error of an engine that stopped answering."""
    watched = asyncio.ensure_future(Build._wait(call))
    try:
        while True:
            done, _ = await asyncio.wait((watched,), timeout=unresponsive_seconds / 3)
            if done:
                return watched.result()
            await client.workers(timeout=unresponsive_seconds * 2 / 3)
    finally:
        watched.cancel()


async def _follow(
    client: Client,
    name: str,
    end: asyncio.Future[Any],
    take_report: Callable[[control_pb2.StatusResponse], None],
) -> None:
    """Take the build's reports until they end.

    Raises BuildFailedError if their end doesn't come, grpc.aio.AioRpcError.
    """
    call = client.status(name)
    try:
        while True:
            read = asyncio.ensure_future(call.read())
            try:
                await asyncio.wait((read, end), return_when=asyncio.FIRST_COMPLETED)
                async with asyncio.timeout(REPORTS_QUIET_SECONDS if end.done() else None):
                    report = await read
            finally:
                read.cancel()
            if report is grpc.aio.EOF:
                return
            take_report(report)
    except TimeoutError as error:
        late = EngineError(code="DEADLINE_EXCEEDED", details="the end of the log never came")
        raise BuildFailedError(late) from error
    finally:
        call.cancel()
