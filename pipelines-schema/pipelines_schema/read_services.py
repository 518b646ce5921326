"""The `services` of a step, with every mistake noted."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from pipelines_schema.fields import Field, Reading, Vocabulary
from pipelines_schema.limits import (
    DEFAULT_READY_SECONDS,
    MAX_COMMAND_WORDS,
    MAX_READY_SECONDS,
    MAX_SERVICES,
    MAX_WORD_CHARACTERS,
    SERVICE_NAME,
)
from pipelines_schema.nodes import Kind, ListNode, MapNode, ScalarNode, integer
from pipelines_schema.problem import shown
from pipelines_schema.read_endings import read_boolean, read_duration
from pipelines_schema.read_environment import read_environment
from pipelines_schema.read_image import read_image
from pipelines_schema.read_resources import read_memory, read_user
from pipelines_schema.services import Readiness, Service
from pipelines_schema.workflow import Network

SERVICES = "services"
_SERVICE = Vocabulary(
    where="a service",
    known=("image", "env", "command", "ready", "user", "memory", "privileged"),
    synonyms={
        "environment": "write `env`",
        "variables": "write `env`",
        "entrypoint": "write `command`, whose words follow the image's entry point",
        "commands": "write `command`, a list of words",
        "args": "write `command`, a list of words",
        "run": "write `command: [sh, -c, …]`",
        "ports": "the step reaches each port by the service's name: remove the key",
        "alias": "the service's key is its name: rename it",
        "name": "the service's key is its name: rename it",
        "options": "write `ready` for a health check, `user`, `memory`",
        "healthcheck": "write `ready: {exec: …}`",
        "health": "write `ready`",
        "volumes": "a service has the files of its image alone",
        "resources": "write `memory`",
        "dependsOn": "a service starts once those written before it are ready",
        "secrets": "secrets belong to the step: a service gets none",
        "timeout": "write `ready: {timeout: …}`",
    },
)
_READY = Vocabulary(
    where="`ready`",
    known=("tcp", "http", "exec", "timeout"),
    synonyms={
        "port": "write `tcp`",
        "url": "write `http`",
        "command": "write `exec`",
        "cmd": "write `exec`",
        "test": "write `exec`",
        "path": "write `http: http://name/path`",
        "interval": "readiness is asked for several times a second: remove the key",
        "retries": "write `timeout`",
    },
)
_HINT = "write a name and its image, such as `{db: {image: postgres:16, ready: {tcp: 5432}}}`"
_COMMAND_HINT = "write a list of words, such as `[serve, --port, '80']`"
_EXEC_HINT = "write a command for `sh`, or a list of its words"
_READY_HINT = "write one of `{tcp: 5432}`, `{http: 'http://name/path'}`, `{exec: command}`"
_HOST = "localhost"


def read_services(
    reading: Reading,
    fields: Mapping[str, Field],
    network: Network,
    allowed: Collection[str],
    places: Mapping[str, str],
) -> tuple[Service, ...]:
    """`allowed` may stand in values of `env`, `places`, each with an example, in `image`."""
    entry = fields.get(SERVICES)
    node = None if entry is None else reading.mapping(entry, _HINT)
    if entry is None or node is None:
        return ()
    if network is Network.NONE:
        why = "`services` can't be reached with `network: none`: remove one of them"
        reading.add(entry.key.place, why)
    if len(node.entries) > MAX_SERVICES:
        many = f"`services` has {len(node.entries)} services: at most {MAX_SERVICES} are allowed"
        reading.add(entry.place, many)
        return ()
    read = (_service(reading, Field(key, value), allowed, places) for key, value in node.entries)
    return tuple(service for service in read if service is not None)


def _service(
    reading: Reading, entry: Field, allowed: Collection[str], places: Mapping[str, str]
) -> Service | None:
    if not re.fullmatch(SERVICE_NAME, entry.name) or entry.name == _HOST:
        reading.add(
            entry.key.place,
            f"a service can't be named {entry.label}: write a host's name, of lower-case letters, "
            f"digits and `-`, at most 63, but not `{_HOST}`",
        )
    node = reading.mapping(entry, "write its image, such as `{image: postgres:16}`")
    if node is None:
        return None
    parts = reading.fields(node, _SERVICE)
    image = read_image(reading, _placed(node, entry), parts, f"service {entry.label}", places)
    return Service(
        name=entry.name,
        image=image or "",
        image_place=None if reading.is_json or image is None else parts["image"].place,
        env=read_environment(reading, parts.get("env"), allowed),
        command=_words(reading, parts.get("command"), _COMMAND_HINT),
        ready=_readiness(reading, parts.get("ready"), entry.name),
        user=read_user(reading, parts.get("user")),
        memory_bytes=read_memory(reading, parts.get("memory")),
        privileged=read_boolean(reading, parts.get("privileged")),
    )


def _placed(node: MapNode, entry: Field) -> MapNode:
    """What is missing is missing where the service's name stands."""
    return MapNode(node.entries, entry.key.place)


def _readiness(reading: Reading, entry: Field | None, service: str) -> Readiness:
    node = None if entry is None else reading.mapping(entry, _READY_HINT)
    if entry is None or node is None:
        return Readiness()
    parts = reading.fields(node, _READY)
    ways = [name for name in ("tcp", "http", "exec") if name in parts]
    is_a_slip = not ways and len(parts) < len(node.entries)  # the unknown key is told by itself
    if len(ways) != 1 and not is_a_slip:
        given = " and ".join(f"`{way}`" for way in ways) or "none of them"
        reading.add(entry.place, f"`ready` has {given}: {_READY_HINT}")
    bounds = f"must be from 1 second to {MAX_READY_SECONDS // 60} minutes"
    seconds = read_duration(reading, parts.get("timeout"), 1, MAX_READY_SECONDS, bounds)
    return Readiness(
        tcp=_port(reading, parts.get("tcp")),
        http=_url(reading, parts.get("http"), service),
        exec=_command(reading, parts.get("exec")),
        timeout_seconds=DEFAULT_READY_SECONDS if seconds is None else seconds,
    )


def _port(reading: Reading, entry: Field | None) -> int | None:
    if entry is None or entry.is_broken:
        return None
    value = entry.value
    is_number = isinstance(value, ScalarNode) and value.kind is Kind.INTEGER
    port = integer(value) if is_number and isinstance(value, ScalarNode) else None
    if port is None or not 1 <= port <= 65535:
        reading.add(entry.place, "`tcp` must be a port from 1 to 65535, such as `5432`")
        return None
    return port


def _url(reading: Reading, entry: Field | None, service: str) -> str | None:
    if entry is None:
        return None
    hint = f"write a URL such as `http://{service}:8080/health`"
    text = reading.line_of_text(entry, hint, MAX_WORD_CHARACTERS)
    if text is None:
        return None
    problem = url_problem(text, service)
    if problem is not None:
        reading.add(entry.place, f"the URL {shown(text)} of `http` {problem}: {hint}")
        return None
    return text


def url_problem(text: str, service: str) -> str | None:
    """Why a service can't be asked there, for people; None if it can."""
    try:
        parts = urlsplit(text)
        port, host = parts.port, parts.hostname
    except ValueError:
        return "is none"
    if parts.scheme != "http":
        return "must begin with `http://`"
    if host != service:
        return "must have the service's own name as its host"
    if port == 0 or parts.username is not None or parts.fragment or not text.isascii():
        return "must have no more than host, port, path and query"
    return "holds a space" if " " in text else None


def _command(reading: Reading, entry: Field | None) -> tuple[str, ...]:
    """A text is for `sh`."""
    if entry is not None and reading.is_text(entry.value):
        text = _words(reading, entry, _EXEC_HINT, one_allowed=True)
        return ("sh", "-c", *text) if text else ()
    return _words(reading, entry, _EXEC_HINT)


def _words(
    reading: Reading, entry: Field | None, hint: str, *, one_allowed: bool = False
) -> tuple[str, ...]:
    if entry is None:
        return ()
    found = reading.texts(entry, hint, MAX_COMMAND_WORDS, one_allowed=one_allowed)
    words = [text for _, text in found]
    is_empty = isinstance(entry.value, ListNode) and not entry.value.items
    if is_empty or (words and not words[0].strip()):
        reading.add(entry.place, f"{entry.label} is empty: {hint}")
    if sum(map(len, words)) > MAX_WORD_CHARACTERS:
        many = f"{entry.label} is longer than {MAX_WORD_CHARACTERS:,} characters"
        reading.add(entry.place, f"{many}: put it into the image")
        return ()
    return tuple(words)
