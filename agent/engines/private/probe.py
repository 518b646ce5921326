"""Short questions to an engine's socket: is it there, which version.

With http.client, not aiohttp: a second `up` or a `status` would spend more on that import than
on everything else it does.
"""

from __future__ import annotations

import http.client
import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.engines.private.packages import major_version


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineVersion:
    """What /version says: `version` 26.1.5+dfsg1; `is_docker` is False for a look-alike."""

    version: str
    is_docker: bool

    @property
    def major(self) -> int:
        return major_version(self.version)


class _SocketConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_seconds: float) -> None:
        super().__init__("localhost", timeout=timeout_seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def answers_ping(path: Path, *, timeout_seconds: float) -> bool:
    """Whether an engine listens on the socket and is ready."""
    answer = _get(path, "/_ping", timeout_seconds)
    return answer is not None and answer[0] == http.HTTPStatus.OK


def ask_version(path: Path, *, timeout_seconds: float) -> EngineVersion | None:
    """The engine's version; None if nothing (or nothing sensible) answers."""
    answer = _get(path, "/version", timeout_seconds)
    if answer is None or answer[0] != http.HTTPStatus.OK:
        return None
    try:
        return _parse_version(json.loads(answer[1]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def refuses_registry(path: Path, registry: str, *, timeout_seconds: float) -> bool:
    """Whether the engine can't connect to its registry (any answer of the registry is fine)."""
    answer = _get(path, f"/distribution/{registry}/pushrod/none:0/json", timeout_seconds)
    return answer is None or b"connection refused" in answer[1]


def _parse_version(answer: dict[str, Any]) -> EngineVersion:
    names = [component["Name"] for component in answer.get("Components") or []]
    return EngineVersion(version=str(answer["Version"]), is_docker="Engine" in names)


def _get(path: Path, target: str, timeout_seconds: float) -> tuple[int, bytes] | None:
    connection = _SocketConnection(path, timeout_seconds)
    try:
        connection.request("GET", target)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
