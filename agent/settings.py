"""What an agent must be told before it starts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

MAX_SLOTS = 1000
MIN_FREE_BYTES = 1024**3
KEEP_DAYS = 30
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
"""Ids that may be names of folders."""


class InvalidSettingsError(ValueError):
    """A setting can't be used; the message names it and says what is wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    url: str
    """The coordinator's base URL, `http://host:port` with an optional path."""
    token: str = field(repr=False)
    """A registration token or the admin token: used only to register."""
    data_dir: Path
    """Journal, credential and sources; made with mode 0700, used by one agent at a time."""
    name: str
    """1 to 100 characters, for people."""
    slots: int = 1
    """Steps that run at a time, 1 to 1000."""
    max_steps: int | None = None
    """So many are begun, then `run` returns; None for no end. What is left of before its start
    doesn't count."""
    labels: Mapping[str, str] = field(default_factory=dict)
    min_free_bytes: int = MIN_FREE_BYTES
    """With less room than this on the disk of the data folder, or of the engine's folder, the agent
    asks for no work."""
    engine_dir: Path | None = None
    """Where the engine writes, if that is on this machine; None: nobody knows."""
    keep_days: int = KEEP_DAYS
    """Sources of projects and caches of the host engine that no step has used for so long go."""
    poll_timeout_seconds: float = 70.0
    """A held poll that is not answered for so long is given up and asked again."""
    by_itself: bool = True
    """Its process is its own: a watchdog kills it when it is stopped beyond a lease, and it ends
    when the coordinator drains it. One that shares the coordinator's process is never killed, since
    that gives out nothing either while it is stopped; drained, it takes no new steps and stays."""
    socket: Path | None = None
    """Of a coordinator that listens on no port, only on this path: `url` is but its name then."""
    repositories: Path | None = None
    """The folder of that coordinator's repositories, which git can't fetch by its socket."""
    lasting_dir: Path | None = None
    """Keeps what is to outlive the data folder, caches and what is known of them; None: that."""
    cancel_report_seconds: float = 10.0
    """After `cancel_all`, how long to try to tell the coordinator before leaving it to the next
    start."""

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise InvalidSettingsError(f"url: {self.url!r} must begin with http:// or https://")
        if not self.token.strip():
            raise InvalidSettingsError(
                "token: a registration token is needed (pushrod agent token)"
            )
        if not 1 <= len(self.name) <= 100:
            raise InvalidSettingsError("name: must have 1 to 100 characters")
        if not 1 <= self.slots <= MAX_SLOTS:
            raise InvalidSettingsError(f"slots: must be 1 to {MAX_SLOTS}, not {self.slots}")
        if self.max_steps is not None and self.max_steps < 1:
            raise InvalidSettingsError(f"max_steps: must be 1 or more, not {self.max_steps}")


def is_safe_name(text: str) -> bool:
    """Whether an id that came over the wire may become the name of a folder."""
    return SAFE_NAME.fullmatch(text) is not None
