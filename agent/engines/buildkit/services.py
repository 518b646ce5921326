"""The services of one attempt: started one after the other, watched, and gone with it.

They start while the step's own container does, whose first process waits until all are ready.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

from agent.engines.buildkit import machine, readiness
from agent.engines.buildkit.build import BuildFailedError
from agent.engines.buildkit.containers import Container, Ended, Program, open_container
from agent.engines.buildkit.failures import StepNotRunError
from agent.engines.buildkit.fence import FenceError, Group
from agent.engines.buildkit.image_store import Image
from agent.engines.buildkit.images import DEFAULT_PATH
from agent.engines.buildkit.service_images import Circumstances, arguments_of, roots_of
from agent.engines.buildkit.service_log import ServiceLog
from agent.engines.buildkit.wrapper import OPEN_FILE
from agent.engines.protocol import StepRequest
from pipelines_schema.contract import ServiceSpec

T = TypeVar("T")

FIRST_PROCESS_SECONDS = 60.0
POLL_SECONDS = 0.01
END_SECONDS = 5.0
"""How long the end of a service whose process is gone is awaited."""
KILLED = 137
_NOT_HERE = (
    "the service `{name}` can't be watched: its processes are not seen on this machine: `services` "
    "need an agent that runs as root on the machine of its engine"
)
HOST_NETWORK = (
    "this engine gives containers the network of its machine, where `services` would meet those of "
    "others: use a Docker Engine, a buildkitd with a network of its own for each container, or "
    "`pushrod engine up`"
)


class ServiceFailedError(Exception):
    """A service was never ready, or ended; the message says which, and its last words."""


class Services:
    """Use `running`."""

    def __init__(
        self, request: StepRequest, images: Sequence[Image], around: Circumstances
    ) -> None:
        self.ready = asyncio.Event()
        """Set once all are, and none has ended yet."""
        self._grouping = asyncio.create_task(self._open_group(request.attempt_id, around))
        self._starting = asyncio.create_task(self._start(request, images, around))
        self._ending: asyncio.Task[None] | None = None
        self._unwatch: Callable[[], None] = lambda: None
        self._group: Group | None = None
        self._hosts: dict[str, str] = {}
        self._ends: dict[str, asyncio.Task[Ended]] = {}
        self._logs: dict[str, ServiceLog] = {}
        self._open: list[AsyncExitStack] = []
        """What is to be closed of each, and of their group."""

    async def _start(
        self, request: StepRequest, images: Sequence[Image], around: Circumstances
    ) -> None:
        roots = await roots_of(images, around)
        for spec, image, root in zip(request.services, images, roots, strict=True):
            container = await self._container(request, spec, root, around)
            # Whose processes are nowhere yet. A second cancel would cut the group's removal short.
            await asyncio.shield(self._grouping)
            one = _Service(spec, image, container, self._logs[spec.name], self._group)
            self._hosts[spec.name] = await one.start()
            self._ends[spec.name] = one.end
        if not any(end.done() for end in self._ends.values()):
            self.ready.set()

    async def _open_group(self, attempt_id: str, around: Circumstances) -> None:
        if around.fence is not None:
            group = around.fence.group(attempt_id)
            self._group = await self._stack().enter_async_context(group)

    async def _container(
        self, request: StepRequest, spec: ServiceSpec, root: str, around: Circumstances
    ) -> Container:
        stack = self._stack()
        log = self._logs[spec.name] = ServiceLog(spec.name, around.log)
        stack.callback(log.end)
        opened = open_container(
            around.build,
            root,
            container_id=container_id(request.attempt_id),
            hostname=spec.name,
            hosts=self._hosts,
            platform=around.platform,
        )
        return await stack.enter_async_context(opened)

    def _stack(self) -> AsyncExitStack:
        self._open.append(AsyncExitStack())
        return self._open[-1]

    async def first_end(self) -> str:
        """Wait until one has ended by itself, all having been ready; what is to be said of it.
        Raises ServiceFailedError, StepNotRunError, BuildFailedError, FenceError where one never
        was."""
        await asyncio.shield(self._starting)
        done, _ = await asyncio.wait(self._ends.values(), return_when=asyncio.FIRST_COMPLETED)
        name = next(name for name, end in self._ends.items() if end in done)
        ended = self._ends[name].result()
        return _with_last(f"{_how(name, ended)} while the step ran", self._logs[name])

    async def let_step_begin(self, process: int, over: Callable[[], None]) -> None:
        """Let the step's first process, which waits for it, know and reach them, who are ready.
        Once it has ended, `over` is called, and they are. Raises FenceError, OSError."""
        if self._group is not None:
            await _admit(self._group, process)
        machine.tell_hosts(process, self._hosts)

        def end() -> None:
            over()
            self._begin_end()

        self._unwatch = machine.when_over(process, end)
        machine.let_begin(process, OPEN_FILE)

    async def end(self) -> None:
        """All at once, and what let them reach each other with them. Not to be cancelled: each has
        its time to end in."""
        ending = self._begin_end()
        try:
            await asyncio.shield(ending)
        finally:
            await asyncio.wait((ending,))

    def _begin_end(self) -> asyncio.Task[None]:
        if self._ending is None:
            self._ending = asyncio.create_task(self._end())
        return self._ending

    async def _end(self) -> None:
        self._unwatch()
        begun = (self._starting, self._grouping)
        for one in begun:
            one.cancel()
        await asyncio.gather(*begun, return_exceptions=True)
        # A group of tasks would cut short the others where one fails.
        closing = [asyncio.create_task(one.aclose()) for one in self._open]
        await asyncio.gather(*closing, return_exceptions=True)
        for closed in closing:
            closed.result()


def container_id(attempt_id: str) -> str:
    """Of one of the attempt's containers: letters and digits, unlike any other's."""
    return f"{container_prefix(attempt_id)}{secrets.token_hex(8)}"


def container_prefix(attempt_id: str) -> str:
    return "pushrod" + hashlib.sha256(attempt_id.encode()).hexdigest()[:24]


@asynccontextmanager
async def running(
    request: StepRequest, images: Sequence[Image], around: Circumstances
) -> AsyncIterator[Services]:
    """The request's services meanwhile, in these images: begun one after the other, while the
    caller goes on."""
    services = Services(request, images, around)
    try:
        yield services
    finally:
        await services.end()


class _Service:
    def __init__(
        self,
        spec: ServiceSpec,
        image: Image,
        container: Container,
        log: ServiceLog,
        group: Group | None,
    ) -> None:
        self._spec = spec
        self._image = image
        self._container = container
        self._log = log
        self._group = group
        # Not to be looked at again and again, while both engine and machine are busy starting it.
        self._others = frozenset(os.listdir("/proc"))
        self.end = container.start(self._program(arguments_of(spec, image)), log.take)

    def _program(self, arguments: Sequence[str]) -> Program:
        config, user = self._image.config, self._image.user
        environment = {
            "PATH": DEFAULT_PATH,
            "HOME": user.home,
            **config.environment,
            **self._spec.env,
        }
        return Program(
            arguments=arguments,
            environment=environment,
            directory=config.directory,
            user=user.owner,
            privileged=self._spec.privileged,
        )

    async def start(self) -> str:
        """Its address, once it is ready. Raises ServiceFailedError, StepNotRunError."""
        process = await self._or_end(self._first_process(), FIRST_PROCESS_SECONDS)
        if process is None:
            raise StepNotRunError(_NOT_HERE.format(name=self._spec.name))
        if machine.shares_our_network(process):
            raise StepNotRunError(HOST_NETWORK)
        address = machine.address(process)
        if address is None:
            await self._unless_ended()
            raise StepNotRunError(HOST_NETWORK)
        limit = self._spec.memory_bytes
        if limit is not None and not machine.limit_memory(process, limit):
            self._log.take(b"memory: this engine does not let us limit it\n")
        if self._group is not None:
            try:
                await _admit(self._group, process)
            except (FenceError, OSError) as error:
                await self._unless_ended()
                raise StepNotRunError(f"the service could not be fenced off: {error}") from error
        await self._ready(process, address)
        return address

    async def _unless_ended(self) -> None:
        """What was not found of its process may have gone with it. Raises ServiceFailedError."""
        await self._or_end(asyncio.Event().wait(), END_SECONDS)

    async def _first_process(self) -> int:
        for tries in itertools.count(1):
            # Numbers are given again, though not soon.
            others = self._others if tries % 100 else ()
            if (process := machine.first_process(self._container.id, others)) is not None:
                return process
            await asyncio.sleep(POLL_SECONDS)
        raise AssertionError

    async def _ready(self, process: int, address: str) -> None:
        spec, said = self._spec, [""]
        tail: list[bytes] = []
        if spec.tcp is not None:
            asked = readiness.takes_connections(process, address, spec.tcp)
            way = f"port {spec.tcp} took no connection"
        elif spec.http is not None:
            asked = readiness.answers(process, address, spec.http, said)
            way = f"{spec.http} did not answer with a status from 200 to 399"
        elif spec.exec:
            asked = self._succeeds(spec.exec, tail)
            way = f"`{' '.join(spec.exec)}` did not succeed"
        else:
            return
        if await self._or_end(_done(asked), spec.ready_seconds) is None:
            last = b"".join(tail)[-500:].decode(errors="replace").strip() or said[0]
            last = f" (it said: {last})" if last else ""
            message = (
                f"service `{spec.name}` was not ready after {spec.ready_seconds:g} seconds: "
                f"{way}{last}: see that the image and `ready` fit, or give it a longer `timeout`"
            )
            raise ServiceFailedError(_with_last(message, self._log))

    async def _succeeds(self, command: Sequence[str], tail: list[bytes]) -> None:
        def take(data: bytes) -> None:
            tail.append(data)
            del tail[:-20]

        ended = await self._container.start(self._program(readiness.trying([*command])), take)
        if ended.code != 0 or ended.error:
            why = ended.error or f"exit code {ended.code}"
            raise ServiceFailedError(
                f"service `{self._spec.name}` can't be asked by `exec`, which needs an `sh` with "
                f"`sleep` in its image ({why}): use `tcp` or `http`"
            )

    async def _or_end(self, work: Coroutine[Any, Any, T], seconds: float) -> T | None:
        """What the work gives; None where that takes longer. Raises ServiceFailedError where the
        service ends first."""
        task = asyncio.create_task(work)
        try:
            await asyncio.wait(
                (task, self.end), timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if task.done():
                return task.result()
            if self.end.done():
                how = f"{_how(self._spec.name, self.end.result())} before it was ready"
                raise ServiceFailedError(_with_last(how, self._log))
            return None
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _done(work: Coroutine[Any, Any, None]) -> bool:
    await work
    return True


async def _admit(group: Group, process: int) -> None:
    interface = machine.outer_interface(process, group.engine)
    if interface is None:
        raise FenceError("its way out of the container was not found")
    await group.admit(interface)


def _how(name: str, ended: Ended) -> str:
    """Raises BuildFailedError where it was not the service that ended."""
    if ended.lost is not None:
        raise BuildFailedError(ended.lost)
    if ended.error and "exit code" not in ended.error:
        return f"service `{name}` could not run or was ended ({ended.error})"
    killed = ", killed, most likely for lack of memory," if ended.code == KILLED else ""
    return f"service `{name}` ended with exit code {ended.code}{killed}"


def _with_last(message: str, log: ServiceLog) -> str:
    last = log.last
    return f"{message}. Its last lines:\n{last}" if last else f"{message}; it wrote nothing"
