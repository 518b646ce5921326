"""One attempt of a step that builds an image: from its request to what the registry has."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from pathlib import Path, PurePosixPath

from agent.engines.authorities import IN_BUILDS, MOUNTED_AS, variables
from agent.engines.buildkit.build import Build, BuildFailedError, open_build
from agent.engines.buildkit.build_context import BuildContext, UnusableContextError
from agent.engines.buildkit.client import Client
from agent.engines.buildkit.docker_images import (
    DockerRefusedError,
    DockerUnreachableError,
    docker_images,
)
from agent.engines.buildkit.dockerfile_failures import build_problem, is_of_push, push_problem
from agent.engines.buildkit.dockerfile_log import DockerfileLog, Piece
from agent.engines.buildkit.failures import EngineError, StepNotRunError, is_gone, process_exit_code
from agent.engines.buildkit.filesync import UnsendableTreeError
from agent.engines.buildkit.frontend_attributes import (
    NO_PROXY,
    cache_exported,
    frontend_attributes,
)
from agent.engines.buildkit.image_parts import (
    FOREIGN,
    foreign_to,
    joining,
    part_exporter,
    part_image,
    to_be_split,
)
from agent.engines.buildkit.image_push import (
    CONFIG_DIGEST,
    DIGEST,
    NO_EXPORTER,
    Exporter,
    ImageNotPushedError,
    TagLocks,
    check_references,
    confirm,
    forget_stored,
    options_problem,
    push_from_store,
    pushing_exporters,
    storing_exporter,
)
from agent.engines.buildkit.orphans import kill_instructions
from agent.engines.buildkit.pb import control_pb2
from agent.engines.buildkit.registry_logins import logins_for
from agent.engines.buildkit.secret_giver import give_secret
from agent.engines.buildkit.session import GIVE_SECRET, SEND_SOURCE, open_session
from agent.engines.buildkit.session_calls import Handler
from agent.engines.buildkit.settled_tags import TagSettler, TakeReport
from agent.engines.protocol import ImageRequest, Outcome, OutputSink, StepResult
from pipelines_schema.contract_images import BuiltImage
from pipelines_schema.log_frames import Stream

FRONTEND = "dockerfile.v0"
_LATE = "the image's build was ended after its timeout of {seconds:g} seconds"
JOINED = "the image is made of its parts for {platforms}"


async def build_image(
    request: ImageRequest,
    output: OutputSink,
    *,
    client: Client,
    shared_key: str,
    locks: TagLocks,
    pushed: Sequence[str],
    authorities: str = "",
    platforms: Sequence[str],
    unresponsive_seconds: float,
) -> StepResult:
    """Build it; `pushed` are tags whose layers their registry has, `platforms` those whose programs
    the engine runs.

    Raises BuildFailedError where the engine is gone, grpc.aio.AioRpcError.
    """
    try:
        async with AsyncExitStack() as resources, asyncio.timeout(request.timeout_seconds):
            if request.build.parts is not None:
                joined = JOINED.format(platforms=", ".join(request.build.platforms))
                output.write(Stream.STDOUT, f"{joined}\n".encode())
                if not (request.build.push and request.build.tags):
                    return _built(request, [])
                request = await resources.enter_async_context(joining(request))
            layers = await _layers(request, resources)
            attempt = _ImageAttempt(
                request,
                output,
                platforms=platforms,
                layers=layers,
                client=client,
                shared_key=shared_key,
                locks=locks,
                pushed=pushed,
                authorities=authorities,
                unresponsive_seconds=unresponsive_seconds,
            )
            return await attempt.run()
    except TimeoutError:
        message = _LATE.format(seconds=request.timeout_seconds)
        return StepResult(outcome=Outcome.TIMED_OUT, message=message)
    except (UnusableContextError, ImageNotPushedError) as error:
        return StepResult(outcome=Outcome.IMAGE_FAILED, message=str(error))
    except DockerUnreachableError as error:
        raise BuildFailedError(EngineError(code="UNAVAILABLE", details=str(error))) from error
    except DockerRefusedError as error:
        raise StepNotRunError(f"the engine refused: {error}") from error


async def _layers(request: ImageRequest, resources: AsyncExitStack) -> list[Path]:
    """The workspace's folders, held until the build has ended."""
    layers = []
    if request.source is not None:
        layers.append(await resources.enter_async_context(request.source.open()))
    if request.inputs is not None:
        layers.append(request.inputs)
    return layers


class _ImageAttempt:
    def __init__(
        self,
        request: ImageRequest,
        output: OutputSink,
        *,
        layers: Sequence[Path],
        platforms: Sequence[str],
        client: Client,
        shared_key: str,
        locks: TagLocks,
        pushed: Sequence[str],
        authorities: str,
        unresponsive_seconds: float,
    ) -> None:
        self._request = request
        self._spec = request.build
        self._rule = request.own_registries
        self._output = output
        self._platforms = platforms
        self._programs: Sequence[str] = ()
        """Of which platforms the Dockerfile runs programs, where that is known."""
        self._client = client
        self._locks = locks
        self._pushed = pushed
        self._secrets = dict(request.secrets)
        self._authorities = variables(IN_BUILDS) if authorities else {}
        if authorities:
            self._secrets[MOUNTED_AS] = authorities
        self._unresponsive_seconds = unresponsive_seconds
        self._is_built = False
        """Whether the frontend was asked once: what comes then takes the layers of that."""
        self._digests = dict(self._spec.settled_images or {})
        """What tags in the Dockerfile mean."""
        self._logins = logins_for(request, client)
        self._context = BuildContext(
            layers=layers, context=self._spec.context, dockerfile=self._spec.dockerfile
        )
        self._dockerfile = str(PurePosixPath(self._spec.context, self._spec.dockerfile))
        # Two folders under one key would be told apart by size and time alone.
        source = request.source.key if request.source else request.attempt_id
        key = f"{shared_key}\0{source}\0{self._spec.context}"
        self._shared_key = hashlib.sha256(key.encode()).hexdigest()

    async def run(self) -> StepResult:
        check_references(self._spec, self._rule)
        self._context.check()
        notes: list[str] = []
        async with open_session(
            self._client, shared_key=self._shared_key, handlers=self._handlers()
        ) as session:
            try:
                notes += await self._settle_tags(session)
                foreign = foreign_to(self._platforms, self._programs)
                if foreign and self._spec.may_split:
                    split = to_be_split(self._spec, foreign)
                    self._say(f"pushrod: {split.message}")
                    return split
                images = await self._build_and_push(session)
            except BuildFailedError as failure:
                return self._with_hint(self._failed(failure.error))
            for image in images:
                self._say(f"pushed {image.reference} {image.digest}")
            return _built(self._request, images, notes)

    def _with_hint(self, result: StepResult) -> StepResult:
        """Where the engine runs none of a platform's programs, that is mostly why it failed."""
        foreign = foreign_to(self._platforms, self._spec.platforms)
        if not foreign or result.outcome is not Outcome.EXITED:
            return result
        return replace(
            result, message=f"{result.message or ''} {FOREIGN.format(names=', '.join(foreign))}"
        )

    def _handlers(self) -> dict[str, Handler]:
        handlers = {SEND_SOURCE: self._context.serve, **self._logins.handlers()}
        if self._secrets:
            handlers[GIVE_SECRET] = lambda stream: give_secret(stream, self._secrets)
        return handlers

    async def _settle_tags(self, session: str) -> Sequence[str]:
        """Notes on what could not be settled. Raises BuildFailedError where the engine is gone."""
        if self._request.settle_tag is None:
            return []

        def open_reading(
            digests: Mapping[str, str], take_report: TakeReport
        ) -> AbstractAsyncContextManager[Build]:
            return open_build(
                self._client,
                attempt_id=self._request.attempt_id,
                session=session,
                source_rules=self._rule.source_rules() if self._rule else (),
                digests=digests,
                unresponsive_seconds=self._unresponsive_seconds,
                take_report=take_report,
            )

        settler = TagSettler(
            open=open_reading,
            frontend=FRONTEND,
            attributes=self._attributes(),
            settle=self._request.settle_tag,
            digests=self._digests,
        )
        await settler.run()
        self._programs = settler.program_platforms
        self._context.failure = None  # what matters is whether the build gets it
        return settler.notes

    async def _build_and_push(self, session: str) -> Sequence[BuiltImage]:
        tags = self._spec.tags if self._spec.push else []
        await self._check_options()
        if not tags:
            await self._solve(session, NO_EXPORTER)
            return []
        socket = self._client.docker_socket
        if socket is None:
            images, config = await self._push_by_buildkit(session, tags)
        else:
            images, config = await self._push_by_docker(session, tags, socket)
        async with open_build(
            self._client,
            attempt_id=self._request.attempt_id,
            session=session,
            unresponsive_seconds=self._unresponsive_seconds,
            take_report=lambda report: None,
        ) as build:
            for image in images:
                await confirm(build, image, config, self._spec.platforms)
        return images

    async def _check_options(self) -> None:
        problem, socket = options_problem(self._spec), self._client.docker_socket
        if problem is None or socket is None:
            return
        async with docker_images(socket) as store:
            if not await store.push_by_buildkit():
                raise ImageNotPushedError(problem)

    async def _push_by_buildkit(
        self, session: str, tags: Sequence[str]
    ) -> tuple[list[BuiltImage], str]:
        images: list[BuiltImage] = []
        config = ""
        if self._spec.part:
            answer = await self._solve(session, part_exporter(self._spec))
            pushed = part_image(self._spec, answer.get(DIGEST, ""))
            return [pushed], answer.get(CONFIG_DIGEST, "")
        # Only the first of them builds: for the others it is all in the cache.
        for exporter in pushing_exporters(tags, self._spec.insecure_registries):
            answer = await self._solve(session, exporter)
            config = answer.get(CONFIG_DIGEST, "")
            images += [
                BuiltImage(reference=tag, digest=answer.get(DIGEST, "")) for tag in exporter.tags
            ]
        return images, config

    async def _push_by_docker(
        self, session: str, tags: Sequence[str], socket: str
    ) -> tuple[list[BuiltImage], str]:
        attempt = self._request.attempt_id
        async with docker_images(socket) as store:
            if await store.push_by_buildkit():
                return await self._push_by_buildkit(session, tags)
            try:
                answer = await self._solve(session, storing_exporter(attempt))
                images = [
                    await push_from_store(store, attempt, tag, self._login(tag), self._locks)
                    for tag in tags
                ]
            finally:
                await asyncio.shield(forget_stored(store, attempt))
        return images, answer.get(CONFIG_DIGEST, "")

    def _login(self, tag: str) -> str:
        return self._logins.docker_header(tag, [*self._digests, *self._pushed])

    async def _solve(self, session: str, exporter: Exporter) -> Mapping[str, str]:
        """One run of the frontend, with its log. Raises BuildFailedError."""
        log = DockerfileLog(self._dockerfile)
        attributes = self._attributes()
        cache_export = None if self._is_built else cache_exported(self._spec)
        self._is_built = True
        try:
            async with open_build(
                self._client,
                attempt_id=self._request.attempt_id,
                session=session,
                exporter=exporter.name,
                exporter_attributes=exporter.attributes,
                cache_export=cache_export,
                frontend=FRONTEND,
                frontend_attributes=attributes,
                source_rules=self._rule.source_rules() if self._rule else (),
                digests=self._digests,
                unresponsive_seconds=self._unresponsive_seconds,
                take_report=lambda report: self._take(log, report),
                kill=lambda: kill_instructions(self._request.attempt_id),
            ) as build:
                return await build.outcome()
        finally:
            for piece in log.end():
                self._write(piece)

    def _attributes(self) -> dict[str, str]:
        return frontend_attributes(
            self._request,
            no_cache=self._request.clean and not self._is_built,
            marked=not self._context.mentions(NO_PROXY),
            authorities=self._authorities,
        )

    def _take(self, log: DockerfileLog, report: control_pb2.StatusResponse) -> None:
        for piece in log.take(report):
            self._write(piece)

    def _write(self, piece: Piece) -> None:
        self._output.write(*piece)

    def _say(self, text: str) -> None:
        self._output.write(Stream.STDOUT, f"{text}\n".encode())

    def _failed(self, error: EngineError) -> StepResult:
        failure = self._context.failure
        if isinstance(failure, (OSError, UnsendableTreeError, UnusableContextError)):
            return _image_failed(f"the context could not be sent: {failure}")
        if failure is not None:
            raise failure
        code = process_exit_code(error)
        if code is not None:
            message = build_problem(self._dockerfile, error, self._request.secrets.values())
            return StepResult(outcome=Outcome.EXITED, exit_code=code, message=message)
        if is_gone(error):
            raise BuildFailedError(error)
        if is_of_push(error):
            return _image_failed(push_problem(_pushed_in(error, self._spec.tags), error.details))
        return _image_failed(build_problem(self._dockerfile, error, self._request.secrets.values()))


def _built(
    request: ImageRequest, images: Sequence[BuiltImage], notes: Sequence[str] = ()
) -> StepResult:
    why_not = request.build.not_pushed_because
    return StepResult(
        outcome=Outcome.EXITED,
        exit_code=0,
        notes=[*([why_not] if why_not else []), *notes],
        images=images,
    )


def _pushed_in(error: EngineError, tags: Sequence[str]) -> str:
    """Of several tags the one that the error names."""
    return next((tag for tag in tags if tag in error.details), tags[0])


def _image_failed(message: str) -> StepResult:
    return StepResult(outcome=Outcome.IMAGE_FAILED, message=message)
