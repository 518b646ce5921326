"""The BuildKit engine: one gateway build for each attempt of a step."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import grpc
import grpc.aio

from agent.engines.buildkit import llb
from agent.engines.buildkit.attempt import run_attempt
from agent.engines.buildkit.build import (
    UNRESPONSIVE_SECONDS,
    BuildFailedError,
    engine_error,
    open_build,
)
from agent.engines.buildkit.client import Client, connect
from agent.engines.buildkit.company import Company
from agent.engines.buildkit.docker_images import DockerUnreachableError, docker_images
from agent.engines.buildkit.failures import (
    NO_PRIVILEGES,
    NOT_ALLOWED,
    EngineError,
    StepNotRunError,
    gone,
    is_gone,
    refuses_privileges,
)
from agent.engines.buildkit.fence import Fence, FenceError, fence_of
from agent.engines.buildkit.image_build import build_image
from agent.engines.buildkit.image_push import TagLocks, forget_stored
from agent.engines.buildkit.image_store import ImageStore
from agent.engines.buildkit.images import complete_reference, reference_problem
from agent.engines.buildkit.orphans import kill_containers, kill_instructions, kill_services
from agent.engines.buildkit.platforms import platforms_run
from agent.engines.buildkit.program import run_program
from agent.engines.buildkit.services import HOST_NETWORK, ServiceFailedError, container_prefix
from agent.engines.buildkit.session import open_session
from agent.engines.buildkit.step_graph import cache_problem, script_problem
from agent.engines.buildkit.transport import docker_version
from agent.engines.protocol import (
    EngineInfo,
    EngineUnavailable,
    ImageRequest,
    Outcome,
    OutputSink,
    StepRequest,
    StepResult,
)
from pipelines_schema.log_frames import Stream

logger = logging.getLogger(__name__)

NEEDED_FEATURES = frozenset(
    {
        "exec.mount.cache.sharing",
        "exec.mount.selector",
        "exporter.multiple",  # came with BuildKit 0.13, the oldest that is supported
        "file.copy.includeexcludepatterns",
        "source.local.sharedkeyhint",
    }
)
TOO_OLD = (
    "the engine at {address} has a BuildKit older than 0.13 ({why}): "
    "use Docker Engine 26 or later, buildkitd 0.13 or later, or `pushrod engine up`"
)
NETWORK_LABEL = "org.mobyproject.buildkit.worker.network"
NOT_FENCED = (
    "it can't keep one step's `services` from other steps, as a private engine (`pushrod engine "
    "up`) does for an agent that is root: steps with services run only while no other project's do"
)
CHECK_SECONDS = 20.0
LAST_PUSHED = 20
"""Docker looks in the last repositories for layers that need not be sent again."""


class BuildKitEngine:
    """Runs steps on a Docker Engine or a buildkitd; see `agent.engines.protocol.Engine`.

    `data_dir` holds the engine's name for itself, by which BuildKit keeps the sources it got.
    `log_limits_lifted`: the daemon is known not to clip logs, so no second copy is kept.
    `unresponsive_seconds`: after this time without any answer a step's engine counts as lost.
    """

    def __init__(
        self,
        address: str,
        *,
        data_dir: Path,
        log_limits_lifted: bool = False,
        unresponsive_seconds: float = UNRESPONSIVE_SECONDS,
        authorities: str = "",
        platforms: Sequence[str] = (),
        allow_privileged: bool = False,
    ) -> None:
        """`platforms`: build images as if it ran the programs of these alone; empty: of those that
        it says it runs."""
        self._address = address
        self._data_dir = data_dir
        self._log_limits_lifted = log_limits_lifted
        self._unresponsive_seconds = unresponsive_seconds
        self._connecting = asyncio.Lock()
        self._client: Client | None = None
        self._platform: llb.Platform | None = None
        self._images = ImageStore()
        self._tag_locks = TagLocks()
        self._pushed: deque[str] = deque(maxlen=LAST_PUSHED)
        self._shared_key = ""
        self._authorities = authorities
        self._said_platforms = platforms
        self._allow_privileged = allow_privileged
        self._platforms: Sequence[str] = ()
        self._company = Company()
        self._fence: Fence | None = None

    async def check(self) -> EngineInfo:
        """Ask the engine what it is. Raises EngineUnavailable if it can't run steps."""
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                return await self._check()
        except (grpc.aio.AioRpcError, BuildFailedError, OSError) as error:
            raise EngineUnavailable(
                f"the engine at {self._address} does not answer as BuildKit does: "
                f"{_details(error)}: see `pushrod engine status`"
            ) from error

    async def _check(self) -> EngineInfo:
        client = await self._connected()
        try:
            info = await client.info()
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                why = TOO_OLD.format(address=self._address, why="it has no Info call")
                raise EngineUnavailable(why) from error
            raise
        missing = NEEDED_FEATURES - await self._features(client)
        if missing:
            why = "it lacks " + ", ".join(sorted(missing))
            raise EngineUnavailable(TOO_OLD.format(address=self._address, why=why))
        self._platform = await _platform(client)
        self._platforms = await self._part_platforms(client)
        version = info.buildkitVersion.version
        if client.docker_socket is not None:
            # dockerd does not know its own BuildKit's version.
            version = f"Docker Engine {await docker_version(client.docker_socket)}"
        notes = [] if await self._fenced(client) is not None else [NOT_FENCED]
        return EngineInfo(name="buildkit", version=version, address=self._address, notes=notes)

    async def _run_platforms(self, client: Client) -> Sequence[str]:
        return self._said_platforms or await platforms_run(client)

    async def _part_platforms(self, client: Client) -> Sequence[str]:
        if client.docker_socket is not None:
            async with docker_images(client.docker_socket) as store:
                if not await store.push_by_buildkit():
                    return ()
        return await self._run_platforms(client)

    async def _features(self, client: Client) -> set[str]:
        name = f"check-{secrets.token_hex(4)}"
        async with (
            open_session(client, shared_key="check", handlers={}) as session,
            open_build(
                client, attempt_id=name, session=session, take_report=lambda report: None
            ) as build,
        ):
            return await build.features()

    async def run(self, request: StepRequest, output: OutputSink) -> StepResult:
        """Run one attempt. Raises CancelledError only when its processes are gone."""
        try:
            _refuse_impossible(request)
            if request.wants_privileges and not self._allow_privileged:
                raise StepNotRunError(NOT_ALLOWED)
            client = await self._connected()
            fence = await self._fenced(client)
            if fence is not None:
                return await self._run(request, output, client, fence)
            async with self._company.of(
                request.isolation,
                has_services=bool(request.services),
                say=lambda text: output.write(Stream.STDERR, text.encode()),
            ):
                return await self._run(request, output, client, None)
        except ServiceFailedError as error:
            return StepResult(outcome=Outcome.SERVICE_FAILED, message=str(error))
        except StepNotRunError as error:
            return _not_run(str(error))
        except FenceError as error:
            return _not_run(f"the services could not be fenced off: {error}")
        except EngineUnavailable as error:
            return StepResult(outcome=Outcome.ENGINE_LOST, message=str(error))
        except BuildFailedError as error:
            return self._broken_off(error.error)
        except grpc.aio.AioRpcError as error:
            return self._broken_off(engine_error(error))

    async def _fenced(self, client: Client) -> Fence | None:
        """None where containers can reach each other. Asked anew, since the engine may have been
        started anew."""
        fence = await asyncio.to_thread(fence_of, client.docker_socket)
        if fence is not None and fence != self._fence:
            try:
                await fence.prepare()
            except FenceError as error:
                logger.warning("services can't be fenced off on this engine: %s", error)
                return None
            self._fence = fence
        return fence

    async def _run(
        self, request: StepRequest, output: OutputSink, client: Client, fence: Fence | None
    ) -> StepResult:
        # One with a fence has a bridge, and to ask costs it a tenth of what a container takes.
        if request.services and fence is None:
            await self._refuse_services(client)
        return await self._run_on(request, output, client, fence)

    async def _refuse_services(self, client: Client) -> None:
        """Raises StepNotRunError where there can be none."""
        if os.geteuid() != 0:
            raise StepNotRunError(
                "`services` need an agent that runs as root on the machine of its engine: this one "
                "is not root"
            )
        workers = await client.workers()
        if any(one.Labels.get(NETWORK_LABEL) == "host" for one in workers.record):
            raise StepNotRunError(HOST_NETWORK)

    async def _run_on(
        self, request: StepRequest, output: OutputSink, client: Client, fence: Fence | None
    ) -> StepResult:
        platform = self._platform = self._platform or await _platform(client)
        if request.own_command:
            return await run_program(
                request,
                output,
                client=client,
                platform=platform,
                images=self._images,
                unresponsive_seconds=self._unresponsive_seconds,
            )
        return await run_attempt(
            request,
            output,
            client=client,
            platform=platform,
            images=self._images,
            shared_key=await self._key(),
            keep_output=not self._log_limits_lifted,
            authorities=self._authorities,
            unresponsive_seconds=self._unresponsive_seconds,
            fence=fence,
        )

    @property
    def ends_at_term(self) -> bool:
        return False

    @property
    def builds_images(self) -> bool:
        return True

    @property
    def platforms(self) -> Sequence[str]:
        return self._platforms

    @property
    def allows_privileged(self) -> bool:
        return self._allow_privileged

    async def build_image(self, request: ImageRequest, output: OutputSink) -> StepResult:
        """Build one image. Raises CancelledError only when the engine was told to stop."""
        try:
            client = await self._connected()
            result = await build_image(
                request,
                output,
                client=client,
                shared_key=await self._key(),
                locks=self._tag_locks,
                pushed=self._pushed,
                authorities=self._authorities,
                platforms=await self._run_platforms(client),
                unresponsive_seconds=self._unresponsive_seconds,
            )
        except StepNotRunError as error:
            return _not_run(str(error))
        except EngineUnavailable as error:
            return StepResult(outcome=Outcome.ENGINE_LOST, message=str(error))
        except BuildFailedError as error:
            return self._broken_off(error.error)
        except grpc.aio.AioRpcError as error:
            return self._broken_off(engine_error(error))
        for image in result.images:
            self._images.forget(image.reference)
            self._pushed.append(image.reference)
        return result

    async def reap(self, attempt_id: str) -> None:
        """End what is left of an attempt whose agent was killed.

        BuildKit kills a build whose client is gone, but forgets one whose process was just being
        started. On this machine it is found; elsewhere it ends by its own timeout.
        """
        await asyncio.to_thread(kill_containers, attempt_id)
        await asyncio.to_thread(kill_instructions, attempt_id)
        await asyncio.to_thread(kill_services, container_prefix(attempt_id))
        client = await self._connected()
        fence = await asyncio.to_thread(fence_of, client.docker_socket)
        if fence is not None:
            try:
                await fence.remove(attempt_id)
            except FenceError as error:
                raise EngineUnavailable(f"what fenced off its services stays: {error}") from error
        if client.docker_socket is not None:
            try:
                async with docker_images(client.docker_socket) as store:
                    await forget_stored(store, attempt_id)
            except DockerUnreachableError as error:
                raise EngineUnavailable(str(error)) from error

    async def close(self) -> None:
        """Hang up. Builds that still run are killed by the engine."""
        if self._client:
            await self._client.close()
            self._client = None

    async def _connected(self) -> Client:
        # The lock only keeps two runs from dialling at once; gRPC itself dials again later.
        async with self._connecting:
            if self._client is None:
                self._client = await connect(self._address)
            return self._client

    async def _key(self) -> str:
        """This agent's name for its own sources: stable, so that differences suffice next time."""
        if not self._shared_key:
            self._shared_key = await asyncio.to_thread(_stored_key, self._data_dir / "buildkit-key")
        return self._shared_key

    def _broken_off(self, error: EngineError) -> StepResult:
        if is_gone(error):
            message = gone(self._address, error.details)
            return StepResult(outcome=Outcome.ENGINE_LOST, message=message)
        if refuses_privileges(error):
            return _not_run(NO_PRIVILEGES.format(details=error.details))
        return _not_run(f"the engine at {self._address} failed: {error.details} ({error.code})")


def _refuse_impossible(request: StepRequest) -> None:
    problem = script_problem(request.script) or cache_problem(request.cache_mounts)
    if problem is None and not request.image:
        problem = "the step names no image, which the BuildKit engine needs: set `image`"
    if problem is None:
        problem = reference_problem(request.image or "")
    if problem is None and request.own_registries is not None:
        foreign = request.own_registries.pull_problem(complete_reference(request.image or ""))
        problem = f"the image `{request.image}` {foreign}" if foreign else None
    if problem is None:
        bad = next((k for k, v in request.env.items() if "\0" in k + v or "=" in k or not k), None)
        if bad is not None:
            problem = f"environment variable {bad!r} has a NUL byte or an impossible name"
    if problem:
        raise StepNotRunError(problem)


def _not_run(message: str) -> StepResult:
    return StepResult(outcome=Outcome.ENGINE_FAILED, message=message)


async def _platform(client: Client) -> llb.Platform:
    workers = await client.workers()
    if not workers.record or not workers.record[0].platforms:
        raise EngineUnavailable(f"the engine at {client.address} has no worker that runs steps")
    first = workers.record[0].platforms[0]
    return llb.Platform(architecture=first.Architecture, os=first.OS, variant=first.Variant)


def _stored_key(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x") as file:
            file.write(secrets.token_hex(16))
    except FileExistsError:
        pass
    return path.read_text()


def _details(error: BaseException) -> str:
    return (error.details() or "") if isinstance(error, grpc.aio.AioRpcError) else str(error)
