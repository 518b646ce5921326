"""Which further paths the engine has to deliver, since an output path leads through links.

The engine's patterns know of no link: it would deliver the link without what it leads to.
"""

from __future__ import annotations

from collections.abc import Sequence

from agent.engines.buildkit.build import Build, BuildFailedError
from agent.engines.buildkit.failures import is_gone
from agent.engines.buildkit.filesync import GO_DIRECTORY, GO_SYMLINK, GO_TYPES
from agent.engines.buildkit.pb import fsutil_pb2
from agent.engines.buildkit.step_graph import SOURCE_FOLDER
from agent.engines.buildkit.unpack import engine_pattern
from agent.engines.output_paths import (
    Asked,
    Kind,
    Listed,
    Listing,
    Matches,
    Names,
    OutsideWorkspaceError,
    parse_pattern,
    resolve,
)
from pipelines_schema.paths import WORKSPACE


async def patterns_through_links(
    build: Build, workspace: str, output_paths: Sequence[str]
) -> tuple[str, ...]:
    """In the engine's language. `workspace`: the id of its filesystem in the build."""
    folders = _Folders(build, workspace)
    patterns: dict[str, None] = {}
    for written in output_paths:
        try:
            names = parse_pattern(written)
        except OutsideWorkspaceError:
            continue
        found = await folders.resolve(names)
        patterns |= dict.fromkeys(engine_pattern(tuple(link.split("/"))) for link in found.links)
        for match in found.found:
            if match.through_link:
                at = tuple(match.path.split("/")) if match.path else ()
                patterns[engine_pattern((*at, *match.rest))] = None
    return tuple(patterns)


class _Folders:
    """The workspace's."""

    def __init__(self, build: Build, ref: str) -> None:
        self._build = build
        self._ref = ref

    async def resolve(self, names: Names) -> Matches:
        resolution = resolve(names, WORKSPACE)
        try:
            asked = next(resolution)
            while True:
                asked = resolution.send(await self._list(asked))
        except StopIteration as end:
            found: Matches = end.value
            return found

    async def _list(self, asked: Asked) -> Listing:
        path, pattern = f"/{SOURCE_FOLDER}/{asked.folder}", engine_pattern((asked.pattern,))
        try:
            entries = await self._build.list_folder(self._ref, path, include=pattern)
        except BuildFailedError as failure:
            if is_gone(failure.error):
                raise
            # No folder; or one of its names is not UTF-8, of which the collector tells more.
            return {}
        return {entry.path.rpartition("/")[2]: _listed(entry) for entry in entries}


def _listed(entry: fsutil_pb2.Stat) -> Listed:
    if entry.mode & GO_DIRECTORY:
        return Listed(Kind.FOLDER)
    if entry.mode & GO_SYMLINK:
        return Listed(Kind.LINK, entry.linkname)
    return Listed(Kind.OTHER if entry.mode & GO_TYPES else Kind.FILE)
