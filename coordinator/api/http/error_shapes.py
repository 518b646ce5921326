"""How an error is answered: each specification has its own shape, chosen by the path's start."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from aiohttp import web

ErrorShape = Callable[
    [web.Request, int, str, Sequence[Mapping[str, object]], Mapping[str, object]], web.Response
]
"""Request, status, message, `details` as `{path, message}`, further members of the answer."""
_SHAPES = web.AppKey("error_shapes", dict[str, ErrorShape])


def add_error_shape(app: web.Application, prefix: str, shape: ErrorShape) -> None:
    """Every error at or below the path `prefix`, also of routes that don't exist, looks so."""
    app.setdefault(_SHAPES, {})[prefix] = shape


def error_answer(
    request: web.Request,
    status: int,
    message: str,
    details: Sequence[Mapping[str, object]] = (),
    **fields: object,
) -> web.Response:
    shapes = request.app.get(_SHAPES, {})
    mine = [prefix for prefix in shapes if (request.path + "/").startswith(prefix + "/")]
    shape = shapes[max(mine, key=len)] if mine else plain_error
    response = shape(request, status, message, details, fields)
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="pushrod"'
    if status == 503:
        response.headers["Retry-After"] = "1"
    return response


def plain_error(
    _request: web.Request,
    status: int,
    message: str,
    details: Sequence[Mapping[str, object]],
    fields: Mapping[str, object],
) -> web.Response:
    """`{error, details?: [{path, message}]}`: specifications 003, 002, 000 and our own."""
    body: dict[str, object] = {"error": message}
    if details:
        body["details"] = [dict(detail) for detail in details]
    headers = {"Upload-Offset": str(fields["offset"])} if "offset" in fields else None
    return web.json_response({**body, **fields}, status=status, headers=headers)
