"""Connections on which something came that is no request: answered before any route."""

from __future__ import annotations

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

log = structlog.get_logger()


class Connection(web.RequestHandler):
    """The parser's words and bytes are neither shown nor logged: they are anybody's."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        log.info("not a request", remote=request.remote, problem=type(exc).__name__)
        text = "this is no request that can be read: look at its first line, headers and encoding"
        response = web.json_response({"error": text}, status=status)
        response.force_close()
        return response
