"""The record of an engine's processes on disk, and the values told to callers."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path

from agent.engines.private.processes import ProcessIdentity, is_alive


class EngineKind(Enum):
    """Whose engine it is: `private` was started by us, `system` was there and is only used."""

    PRIVATE = "private"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineAddress:
    """Where an engine is reached.

    `registry` is the registry's address as the *engine* sees it (`127.0.0.1:5000` in the
    engine's own network namespace, not on the host); None with a system engine.
    """

    socket: Path
    kind: EngineKind
    version: str
    registry: str | None

    @property
    def url(self) -> str:
        """As DOCKER_HOST has it."""
        return f"unix://{self.socket}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStatus:
    """What is known of the machine's engine without starting anything.

    `address` is set when it runs; `problem` says what is wrong with one that half runs;
    `disk_bytes` only when it was asked for, since counting reads the whole folder.
    """

    running: bool
    data: Path
    log: Path
    address: EngineAddress | None = None
    pid: int | None = None
    uptime_seconds: float | None = None
    disk_bytes: int | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRecord:
    """The processes of a private engine.

    `holder` is unshare, outside, the parent of `init` (PID 1 inside); `network` is slirp4netns;
    `daemon` is dockerd, once it was seen to answer, with its `version`.
    """

    holder: ProcessIdentity
    init: ProcessIdentity | None = None
    network: ProcessIdentity | None = None
    daemon: ProcessIdentity | None = None
    version: str = ""
    packages: str = ""


def are_all_alive(record: EngineRecord) -> bool:
    """Whether the engine's core lives; the network can be mended, so it doesn't count."""
    parts = (record.holder, record.init, record.daemon)
    return all(part is not None and is_alive(part) for part in parts)


def has_network(record: EngineRecord) -> bool:
    """Whether the namespace still has its way out."""
    return record.network is not None and is_alive(record.network)


def write_record(path: Path, record: EngineRecord) -> None:
    """Replace the record in one step."""
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(asdict(record), indent=1))
    os.replace(draft, path)


def read_record(path: Path) -> EngineRecord | None:
    """The record; None if there is none or it can't be read (written by another version)."""
    try:
        fields = json.loads(path.read_text())
        for name in ("holder", "init", "network", "daemon"):
            if fields[name] is not None:
                fields[name] = ProcessIdentity(**fields[name])
        return EngineRecord(**fields)
    except (OSError, ValueError, TypeError, KeyError):
        return None
