"""What a Dockerfile's build is given: the context's folder, and the Dockerfile itself.

The workspace is made of layers (the source, over it the dependencies' artifacts). No link in it is
followed: it could lead out of the workspace, into the agent's own files.
"""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote_plus

import grpc

from agent.engines.buildkit.filesync import TreeSender
from agent.engines.buildkit.ignore_patterns import (
    BadPatternError,
    IgnorePatterns,
    TreeFilter,
    ignore_patterns,
)
from agent.engines.buildkit.session_calls import Call

CONTEXT = "context"
DOCKERFILE = "dockerfile"
"""BuildKit's frontend asks for these two folders by these names."""

Layers = Sequence[Path]


class UnusableContextError(Exception):
    """The context or the Dockerfile can't be used; the message says why and what to do."""


@dataclass(slots=True, kw_only=True)
class BuildContext:
    """Answers the engine's calls for the two folders."""

    layers: Layers
    """The workspace's, unchanged until the build has ended."""
    context: str
    """Relative to the workspace; `.` for all of it."""
    dockerfile: str
    """Relative to the context."""
    failure: Exception | None = None
    """Why what was asked for could not be sent."""

    def check(self) -> None:
        """Raises UnusableContextError where the context or the Dockerfile is not there."""
        folder = folder_of(self.layers, self.context)
        if not folder:
            raise UnusableContextError(
                f"the workspace has no folder `{self.context}`: name the context of the build by "
                "its path in the repository"
            )
        _check_file(folder, self.dockerfile, self.context)

    def mentions(self, word: str) -> bool:
        """Whether the Dockerfile has the word, in small or capital letters."""
        name = PurePosixPath(self.dockerfile).name
        for layer in reversed(folder_of(self.layers, self._dockerfile_folder)):
            if _mode(layer / name) is not None:
                return word in (layer / name).read_text(errors="replace").lower()
        return False

    async def serve(self, stream: Call) -> None:
        """Answer a DiffCopy call."""
        try:
            sender = self._sender(_Asked.of(stream))
        except UnusableContextError as error:
            self.failure = error
            await stream.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        try:
            await sender.serve(stream)
        finally:
            self.failure = self.failure or sender.failure

    def _sender(self, asked: _Asked) -> TreeSender:
        path = {CONTEXT: self.context, DOCKERFILE: self._dockerfile_folder}.get(asked.folder)
        if path is None:
            raise UnusableContextError(f"a build has no folder {asked.folder!r} to send")
        layers, only = folder_of(self.layers, path), None
        if asked.follow and not goes_through_link(layers, asked.follow):
            only = frozenset(one.strip("/") for one in asked.follow)

        @asynccontextmanager
        async def lend() -> AsyncIterator[Layers]:
            yield layers

        return TreeSender(open=lend, filter=TreeFilter(ignore=asked.ignored(), only=only))

    @property
    def _dockerfile_folder(self) -> str:
        return str(PurePosixPath(self.context, self.dockerfile).parent)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What a call of the engine's asks for, from its metadata."""

    folder: str
    exclude: Sequence[str]
    follow: Sequence[str]
    """Paths that are all that is needed; none is everything."""

    @classmethod
    def of(cls, stream: Call) -> _Asked:
        given: dict[str, list[str]] = {}
        for key, text in stream.metadata:
            given.setdefault(key, []).append(text)

        def texts(key: str) -> list[str]:
            # What is not ASCII comes encoded as a query of a URL is.
            encoded = f"{key}-encoded" in given
            return [unquote_plus(one) if encoded else one for one in given.get(key, ())]

        follow = texts("followpaths")
        has_pattern = any(set(one) & set("*?[\\") or not one.strip("/.") for one in follow)
        return cls(
            folder="".join(texts("dir-name")),
            exclude=texts("exclude-patterns"),
            follow=() if has_pattern else follow,
        )

    def ignored(self) -> IgnorePatterns:
        try:
            return ignore_patterns(self.exclude)
        except BadPatternError as error:
            raise UnusableContextError(str(error)) from error


def folder_of(layers: Layers, path: str) -> Layers:
    """The layers of a folder of the workspace; none where it isn't there or is no folder."""
    found = list(layers)
    for part in PurePosixPath(path).parts:
        found = _top_folders([layer / part for layer in found])
    return found


def _top_folders(paths: Sequence[Path]) -> list[Path]:
    """Of one name's entries in each layer, those that make up the folder, if it is one."""
    folders: list[Path] = []
    for path in paths:
        mode = _mode(path)
        if mode is not None:
            folders = [*folders, path] if stat.S_ISDIR(mode) else []
    return folders


def goes_through_link(layers: Layers, paths: Sequence[str]) -> bool:
    """Whether a part of some path is a symbolic link, so that more than the path is needed."""
    for path in paths:
        parts = PurePosixPath(path.strip("/")).parts
        for count in range(1, len(parts) + 1):
            part = Path(*parts[:count])
            if any(_is_link(layer / part) for layer in layers):
                return True
    return False


def _check_file(folder: Layers, path: str, context: str) -> None:
    where = str(PurePosixPath(context, path))
    above, name = PurePosixPath(path).parent, PurePosixPath(path).name
    modes = [_mode(layer / name) for layer in folder_of(folder, str(above))]
    present = [mode for mode in modes if mode is not None]
    if not present:
        raise UnusableContextError(
            f"there is no Dockerfile `{where}` in the workspace: add it, or name another by "
            "`build: {dockerfile: …}`"
        )
    if not stat.S_ISREG(present[-1]):
        kind = "a symbolic link" if stat.S_ISLNK(present[-1]) else "no file"
        raise UnusableContextError(f"`{where}` is {kind}: name the Dockerfile itself")


def _mode(path: Path) -> int | None:
    try:
        return os.lstat(path).st_mode
    except OSError:
        return None


def _is_link(path: Path) -> bool:
    mode = _mode(path)
    return mode is not None and stat.S_ISLNK(mode)
