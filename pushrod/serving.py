"""Long-running commands: signals, logs, and an agent that waits for its engine."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines_schema.spans import Emit
from pushrod.errors import CommandError
from pushrod.json_log import JsonLines
from pushrod.presentation import say
from pushrod.systemd import notify

if TYPE_CHECKING:
    from agent.worker import Agent

DRAINING = "draining: running steps finish; a second signal cancels them"
ENGINE_RETRY_SECONDS = 30.0
ENOUGH_DESCRIPTORS = 65_536
LARGE_BYTES = 128 * 1024
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Of glibc's malloc.h."""
LOG_FORMAT_VARIABLE = "PUSHROD_LOG_FORMAT"
LOG_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def begin_service() -> None:
    """For a command that serves: its log, its files for itself alone, descriptors enough."""
    # Until there is a loop that drains, Ctrl-C just ends what is only starting.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    log_to_stderr()
    _give_memory_back()
    os.umask(0o077)
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(now, min(most, ENOUGH_DESCRIPTORS)), most))


def log_to_stderr(level: int = logging.INFO) -> None:
    """Stdout is kept for the ready line; structlog's events become lines like all others."""
    structlog = _structlog()
    logging.basicConfig(level=level, format=LOG_FORMAT, stream=sys.stderr)
    log_as(os.environ.get(LOG_FORMAT_VARIABLE) or "text")
    for chatty in ("aiohttp.access", "apscheduler", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("aiohttp.server").addFilter(_shorten_bad_http)
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, _as_log_record],
        # Whoever tells a fault by that module is named, not the module.
        logger_factory=structlog.stdlib.LoggerFactory(
            ignore_frame_names=["coordinator.storage.trouble"]
        ),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def _structlog() -> Any:
    """Loaded without rich, which it takes for coloured tracebacks wherever it finds it: 4 MB of an
    idle coordinator, whose events become plain lines."""
    rich_is_loaded = "rich" in sys.modules
    if not rich_is_loaded:
        sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        import structlog
    finally:
        if not rich_is_loaded:
            del sys.modules["rich"]
    return structlog


def log_as(form: str) -> None:
    """`text` or `json`. Raises CommandError for another."""
    if form not in ("text", "json"):
        raise CommandError(f"{LOG_FORMAT_VARIABLE} is {form[:100]!r}: write text or json")
    formatter = JsonLines() if form == "json" else logging.Formatter(LOG_FORMAT)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(formatter)


def _shorten_bad_http(record: logging.LogRecord) -> bool:
    """Anybody can send what is not HTTP: one line, without what was sent, which may be secret."""
    from aiohttp.http_exceptions import BadHttpMessage

    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, BadHttpMessage):
        record.levelno, record.levelname = logging.INFO, "INFO"
        record.msg, record.args = "bad HTTP (%s): %s", (type(error).__name__, record.getMessage())
        record.exc_info = None
    return True


def _as_log_record(
    _logger: object, method: str, event: MutableMapping[str, Any]
) -> tuple[tuple[str, str], dict[str, Any]]:
    """Arguments of a standard logger's method: `the event name=value …`."""
    error = event.pop("exc_info", method == "exception")
    message = str(event.pop("event", ""))
    values = "".join(f" {name}={value!r}" for name, value in event.items())
    told = {"extra": {"event": message, "fields": event}}
    return ("%s", message + values), {"exc_info": error, **told}


def print_ready(line: str) -> None:
    """Told to whoever started us, systemd or another: exactly this line, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
    notify("READY=1", f"STATUS={line}")
    _settle()


def _give_memory_back() -> None:
    """Have what is large, as what each read of a socket gets, mapped apart and given back when it
    is freed. By itself glibc leaves that once one was freed, and then keeps holes: 1 or 2 MB of a
    coordinator with a thousand agents."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, LARGE_BYTES)


def _settle() -> None:
    """What the start left behind is collected now, for what comes to take its place; what it made
    is there to stay, and not looked through for garbage again."""
    gc.collect()
    gc.freeze()


@contextmanager
def on_signals(
    *, drain: Callable[[], None], cancel: Callable[[], None], says: str = DRAINING
) -> Iterator[None]:
    """The first SIGTERM or SIGINT drains, every later one cancels."""
    loop = asyncio.get_running_loop()
    received = 0

    def handle() -> None:
        nonlocal received
        received += 1
        if received == 1:
            notify("STOPPING=1")
            say(says)
            drain()
        else:
            cancel()

    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, handle)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOptions:
    """How this machine takes part; `engine` is auto, host, buildkit or an address."""

    data: Path
    name: str
    slots: int
    engine: str
    max_steps: int | None = None
    """So many are begun, then it ends."""
    labels: Mapping[str, str] = field(default_factory=dict)
    host_user_ids: range | None = None
    ca_file: Path | None = None
    platforms: Sequence[str] = ()
    """Images are built as if the engine ran these programs alone; empty: those that it says."""
    by_itself: bool = True
    """See `agent.settings`."""
    min_free_bytes: int | None = None
    keep_days: int | None = None
    """None: as `agent.settings` has them."""
    allow_privileged: bool = False
    emit: Emit | None = None
    """Takes the spans of attempts."""


class PatientAgent:
    """One agent; while its engine can't be used it says why and tries again."""

    def __init__(self, options: AgentOptions, *, url: str, token: str) -> None:
        self._options = options
        self._url = url
        self._token = token
        self._agent: Agent | None = None
        self._opening: asyncio.Task[Agent] | None = None
        self._draining = asyncio.Event()
        self.engine_missing = asyncio.Event()
        """Set once the engine was found to be unusable."""
        self.signed_in = asyncio.Event()
        """Set once the coordinator has admitted this agent."""

    async def run(self) -> None:
        """Work until drained. Raises CommandError where trying again would not help."""
        from agent.data_folder import AlreadyRunningError
        from agent.engines.protocol import EngineUnavailable
        from agent.settings import InvalidSettingsError
        from agent.sign_in import RegistrationRefusedError

        while not self._draining.is_set():
            try:
                agent = await self._open()
                if agent is not None:
                    await self._run(agent)
                    return
            except EngineUnavailable as error:
                self._say_engine_is_missing(error)
                self.engine_missing.set()
            except (InvalidSettingsError, AlreadyRunningError, RegistrationRefusedError) as error:
                raise CommandError(f"the agent can't run: {error}") from error
            finally:
                self._agent = None
            with suppress(TimeoutError):
                async with asyncio.timeout(ENGINE_RETRY_SECONDS):
                    await self._draining.wait()

    def begin_drain(self) -> None:
        """Running steps finish; an engine that is only being started is not waited for."""
        self._draining.set()
        if self._opening is not None:
            self._opening.cancel()
        if self._agent is not None:
            self._agent.begin_drain()

    def cancel_all(self) -> None:
        self.begin_drain()
        if self._agent is not None:
            self._agent.cancel_all()

    async def _run(self, agent: Agent) -> None:
        telling = asyncio.create_task(self._tell_when_signed_in(agent))
        try:
            await agent.run()
        finally:
            telling.cancel()

    async def _tell_when_signed_in(self, agent: Agent) -> None:
        await agent.signed_in.wait()
        self.signed_in.set()

    async def _open(self) -> Agent | None:
        """The agent with its engine at hand; None if drained meanwhile."""
        from agent.opening import create_agent
        from agent.settings import KEEP_DAYS, MIN_FREE_BYTES

        options = self._options
        self._opening = asyncio.create_task(
            create_agent(
                url=self._url,
                token=self._token,
                data_dir=options.data,
                name=options.name,
                slots=options.slots,
                max_steps=options.max_steps,
                labels=options.labels,
                engine=options.engine,
                host_user_ids=options.host_user_ids,
                ca_file=options.ca_file,
                platforms=options.platforms,
                by_itself=options.by_itself,
                min_free_bytes=(
                    MIN_FREE_BYTES if options.min_free_bytes is None else options.min_free_bytes
                ),
                keep_days=KEEP_DAYS if options.keep_days is None else options.keep_days,
                allow_privileged=options.allow_privileged,
                emit=options.emit,
            )
        )
        try:
            self._agent = await self._opening
        except asyncio.CancelledError:
            if not self._draining.is_set():
                raise
        finally:
            self._opening = None
        return self._agent

    def _say_engine_is_missing(self, error: Exception) -> None:
        what = " ".join(str(error).split())
        say(
            f"pushrod: no step can run yet: {what} (tried again every {ENGINE_RETRY_SECONDS:.0f} s)"
        )
