"""The page's scripts, styles and icon, read once and addressed by what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files

_CONTENT_TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticFile:
    body: bytes
    content_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticFiles:
    by_name: Mapping[str, StaticFile]
    version: str
    """Digest over all names and bodies. It stands in the folder's part of each URL, so that
    modules import each other by relative paths and may still be cached for ever."""


@cache  # they are the program's own and stay
def load_static_files() -> StaticFiles:
    folder = files("coordinator.web").joinpath("static")
    by_name = {
        entry.name: StaticFile(body=entry.read_bytes(), content_type=content_type)
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if (content_type := _CONTENT_TYPES.get("." + entry.name.rpartition(".")[2]))
    }
    return StaticFiles(by_name=by_name, version=version_of(by_name))


def version_of(by_name: Mapping[str, StaticFile]) -> str:
    digest = sha256()
    for name, file in sorted(by_name.items()):
        digest.update(f"{name}\0{len(file.body)}\0".encode())
        digest.update(file.body)
    return digest.hexdigest()[:16]
