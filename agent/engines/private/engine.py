"""The machine's one engine: bring it up, take it down, say how it is."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from agent.engines.private.errors import EngineUnresponsiveError, UnsupportedMachineError
from agent.engines.private.locks import locked
from agent.engines.private.packages import EngineRoot, Say, ensure_root
from agent.engines.private.places import EnginePlaces, engine_places, engine_places_of_root
from agent.engines.private.probe import answers_ping
from agent.engines.private.processes import children_of, command_name
from agent.engines.private.record import (
    EngineAddress,
    EngineKind,
    EngineRecord,
    EngineStatus,
    are_all_alive,
    has_network,
    read_record,
)
from agent.engines.private.start import (
    connect_network,
    is_outdated,
    log_tail,
    start,
    stop,
)
from agent.engines.private.system import find_system_engine
from agent.engines.registry_tokens import REGISTRY

LOCK_SECONDS = 1800
PING_SECONDS = 10
BESIDE_STEPS = frozenset({"containerd"})
"""What a daemon that runs nothing for anybody has below it."""
OUTDATED = (
    "the engine was started by an earlier version of pushrod and may let one account read and "
    "replace the images of another. It is left as it is while steps run on it: repeat `pushrod "
    "engine up` as root once they have ended, or end it with them by `pushrod engine down`"
)


def say_on_stderr(message: str) -> None:
    """The default `say`: one line on stderr, where it can't be taken for a result."""
    sys.stderr.write(f"pushrod engine: {message}\n")


async def up(
    *,
    reuse: bool = True,
    say: Say = say_on_stderr,
    places: EnginePlaces | None = None,
) -> EngineAddress:
    """Bring an engine up and return its address; cheap when one is up already.

    First the private engine started earlier (mended if parts of it died, and started anew if
    an earlier version set it up, unless steps run on it), then, with `reuse`, a suitable engine of
    the system, else a private one is started.
    Raises: an EngineError.
    """
    places = places or engine_places()
    if address := await _usable(places, say):
        return address
    if reuse and not places.record.exists():
        system = await asyncio.to_thread(find_system_engine, say)
        if system is not None:
            return system
    if os.geteuid() != 0:
        return await _engine_of_root()
    places.require_short_paths()
    async with locked(places.lock, timeout_seconds=LOCK_SECONDS, say=say):
        return await _usable(places, say) or await _mend_or_start(places, say)


async def down(*, say: Say = say_on_stderr, places: EnginePlaces | None = None) -> bool:
    """End the private engine; whether there was one. Images and caches stay on disk.

    A system engine is never touched. Raises: an EngineError.
    """
    places = places or engine_places()
    if not places.record.exists():
        return False
    async with locked(places.lock, timeout_seconds=LOCK_SECONDS, say=say):
        record = read_record(places.record)
        if record is None:
            return False
        await stop(places, record)
    return True


def say_nothing(_message: str) -> None:
    """The `say` of who only asks."""


async def status(
    *,
    measure_disk: bool = False,
    places: EnginePlaces | None = None,
    answer_seconds: float = PING_SECONDS,
    say: Say = say_nothing,
) -> EngineStatus:
    """How the machine's engine is; starts and changes nothing.

    `say` is told why an engine of the system isn't suitable.
    """
    places = places or engine_places()
    if os.geteuid() != 0 and _may_use(engine_places_of_root()):
        places = engine_places_of_root()
    disk_bytes = await asyncio.to_thread(folder_bytes, places.data) if measure_disk else None
    record = read_record(places.record)
    if record is not None:
        return await asyncio.to_thread(_private_status, places, record, disk_bytes, answer_seconds)
    system = await asyncio.to_thread(find_system_engine, say, answer_seconds)
    return EngineStatus(
        running=system is not None,
        data=places.data,
        log=places.log,
        address=system,
        disk_bytes=disk_bytes,
    )


async def _usable(places: EnginePlaces, say: Say) -> EngineAddress | None:
    """The private engine, if it is to be left as it is."""
    address = await _living(places)
    if address is None or not is_outdated(places):
        return address
    if os.geteuid() == 0 and not _runs_steps(places):
        return None
    say(OUTDATED)
    return address


async def _living(places: EnginePlaces) -> EngineAddress | None:
    """The private engine, if nothing of it needs mending."""
    record = read_record(places.record)
    if record is None or not are_all_alive(record) or not has_network(record):
        return None
    if await asyncio.to_thread(answers_ping, places.socket, timeout_seconds=PING_SECONDS):
        return _address(places, record)
    if not are_all_alive(record):
        return None
    raise EngineUnresponsiveError(
        f"The private engine lives but didn't answer within {PING_SECONDS} s. "
        f"The end of its log, {places.log}:\n{log_tail(places.log)}",
        remedy="Repeat when the machine is less busy; or end it, with the steps it runs, "
        "by `pushrod engine down`.",
    )


async def _mend_or_start(places: EnginePlaces, say: Say) -> EngineAddress:
    """Reconnect a network that died alone; start all anew for anything else that died."""
    record = read_record(places.record)
    if record is not None and are_all_alive(record) and not is_outdated(places):
        say("the engine's network had died: connecting it again")
        record = await connect_network(places, EngineRoot(folder=Path(record.packages)), record)
        return _address(places, record)
    if record is not None:
        say(f"{_why_anew(record)}: starting it anew")
        await stop(places, record)
    root = await ensure_root(places.packages, say)
    say(f"starting the private engine, data in {places.data}")
    return _address(places, await start(places, root))


def _runs_steps(places: EnginePlaces) -> bool:
    record = read_record(places.record)
    if record is None or record.daemon is None:
        return False
    return any(command_name(child) not in BESIDE_STEPS for child in children_of(record.daemon.pid))


def _why_anew(record: EngineRecord) -> str:
    if are_all_alive(record):
        return "an earlier version of pushrod had started the engine"
    return "parts of the engine had died"


def _address(places: EnginePlaces, record: EngineRecord) -> EngineAddress:
    return EngineAddress(
        socket=places.socket,
        kind=EngineKind.PRIVATE,
        version=record.version,
        registry=REGISTRY,
    )


def _private_status(
    places: EnginePlaces, record: EngineRecord, disk_bytes: int | None, answer_seconds: float
) -> EngineStatus:
    problem = _problem(places, record, answer_seconds)
    running = are_all_alive(record) and problem is None
    return EngineStatus(
        running=running,
        data=places.data,
        log=places.log,
        address=_address(places, record) if running else None,
        pid=record.daemon.pid if record.daemon and are_all_alive(record) else None,
        uptime_seconds=record.holder.uptime_seconds if are_all_alive(record) else None,
        disk_bytes=disk_bytes,
        problem=problem,
    )


def _problem(places: EnginePlaces, record: EngineRecord, answer_seconds: float) -> str | None:
    mend = "`pushrod engine up` mends it"
    if not are_all_alive(record):
        return f"its processes have died: {mend}"
    if not has_network(record):
        return f"its network has died: {mend}"
    if not answers_ping(places.socket, timeout_seconds=answer_seconds):
        return f"it lives but didn't answer within {answer_seconds:g} s"
    return None


async def _engine_of_root() -> EngineAddress:
    """The engine that root brought up, if this user may use its socket."""
    places = engine_places_of_root()
    if _may_use(places) and (address := await _living(places)):
        return address
    raise UnsupportedMachineError(
        "The private engine needs root: running it rootless is not supported yet.",
        remedy="Run `pushrod engine up` as root (members of the group docker may then use it); "
        "or start Docker 26 or newer; or choose the engine `host`, which needs no containers.",
    )


def _may_use(places: EnginePlaces) -> bool:
    return os.access(places.socket, os.R_OK | os.W_OK)


def folder_bytes(folder: Path) -> int:
    """The disk space that a folder's files take (blocks, not lengths)."""
    blocks, folders = 0, [str(folder)]
    while folders:
        place = folders.pop()
        try:
            opened = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:  # gone meanwhile, or deeper than a path can say
            continue
        try:
            # By a descriptor the kernel need not walk down the whole path for each of a million
            # files: a third less to do. os.fwalk does that, too, but has a descriptor open, and a
            # frame of our stack, for each folder above, and scripts make them as deep as they like.
            with os.scandir(opened) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(f"{place}/{entry.name}")
                    else:
                        blocks += _blocks(entry)
        finally:
            os.close(opened)
    return blocks * 512


def _blocks(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_blocks
    except FileNotFoundError:
        return 0
