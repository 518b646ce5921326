"""Members of a request that nobody knows: a slip is refused, what is left out is told.

Specification 003 allows members beside its own. The answer names those that meant nothing to us
in a header.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from urllib.parse import quote

from aiohttp import web

from coordinator.domain.errors import Invalid
from pipelines_schema.suggestions import closest

HEADER = "X-Pushrod-Ignored"
"""Paths of members, such as `steps[0].colour`, with a comma between."""
MAX_NAMED = 20
MAX_PATH_CHARACTERS = 100
_NOTED = web.RequestKey("ignored_members", list[str])


def note_ignored(request: web.Request, paths: Iterable[str]) -> None:
    request.setdefault(_NOTED, []).extend(paths)


def refuse_slips(unknown: Iterable[str], known: Collection[str], part: str) -> None:
    """Raises Invalid where a member is almost one that is known."""
    near = {name: closest(name, known) for name in unknown}
    details = [
        {"path": name, "message": f"there is no such field: did you mean {meant!r}?"}
        for name, meant in near.items()
        if meant is not None
    ]
    if details:
        raise Invalid(f"the request's {part} breaks its rules", details=details)


async def tell_ignored(request: web.Request, response: web.StreamResponse) -> None:
    noted = request.get(_NOTED)
    if noted:
        paths = (
            # A name may hold what is no Unicode.
            quote(one[:MAX_PATH_CHARACTERS], safe="[]._-", errors="replace")
            for one in noted[:MAX_NAMED]
        )
        response.headers[HEADER] = ", ".join(paths)
