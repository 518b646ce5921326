"""What clients of git are answered over HTTP."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from aiohttp import web

from coordinator.git import pkt_lines
from coordinator.git.cgi_answer import CgiAnswer
from coordinator.storage.trouble import trouble_of

log = structlog.get_logger(__name__)

NO_CACHE = {
    "Cache-Control": "no-cache, max-age=0, must-revalidate",
    "Expires": "Fri, 01 Jan 1980 00:00:00 GMT",
    "Pragma": "no-cache",
}


def answered(answer: CgiAnswer, why: str | None, lines: Sequence[str]) -> web.Response:
    """`why`: why the refs that git moved are as they were."""
    body = answer.body
    if why is not None:
        try:
            body = pkt_lines.with_refusal(body, why)
        except pkt_lines.MalformedPktLines:
            return refusal(503, why)
    return web.Response(
        status=answer.status,
        body=pkt_lines.with_remote_lines(body, lines),
        headers=headers(answer),
    )


def not_stored(error: Exception, repository: str) -> str:
    trouble = trouble_of(error)
    if trouble is None:
        log.exception("a push was not stored", repository=repository)
        return f"it could not be stored ({type(error).__name__}, see the coordinator's log)"
    log.error("a push was not stored", repository=repository, trouble=trouble.value)
    if trouble.leaves_open:
        return f"it is not known whether it was stored, push again: {trouble.value}"
    return f"it could not be stored, push again later: {trouble.value}"


def headers(answer: CgiAnswer) -> dict[str, str]:
    return {"Content-Type": answer.content_type, **NO_CACHE}


def refusal(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text + "\n")
