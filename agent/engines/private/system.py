"""An engine that the machine has already: used as it is, never started, stopped or configured."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from agent.engines.private.packages import OLDEST_ENGINE, Say
from agent.engines.private.probe import ask_version
from agent.engines.private.record import EngineAddress, EngineKind

DEFAULT_SOCKET = Path("/var/run/docker.sock")
PROBE_SECONDS = 5


def system_sockets(environment: Mapping[str, str]) -> list[Path]:
    """Where an engine of the system may listen, DOCKER_HOST first (unix sockets alone)."""
    chosen = environment.get("DOCKER_HOST", "")
    if not chosen:
        return [DEFAULT_SOCKET]
    return [Path(chosen.removeprefix("unix://"))] if chosen.startswith("unix://") else []


def find_system_engine(say: Say, answer_seconds: float = PROBE_SECONDS) -> EngineAddress | None:
    """A system engine that is new enough (Engine 26, BuildKit 0.13); says why one isn't taken."""
    for socket in system_sockets(os.environ):
        found = ask_version(socket, timeout_seconds=answer_seconds)
        if found is None:
            continue
        if found.is_docker and found.major >= OLDEST_ENGINE:
            return EngineAddress(
                socket=socket, kind=EngineKind.SYSTEM, version=found.version, registry=None
            )
        say(
            f"not using the engine at {socket}: it is {found.version}, pushrod needs Docker "
            f"{OLDEST_ENGINE} or newer (BuildKit 0.13)"
        )
    return None
