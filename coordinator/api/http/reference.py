"""The reference of all interfaces, for programs: `/api/openapi.json`."""

from __future__ import annotations

import json
from functools import cache
from importlib.metadata import version

from aiohttp import web

from coordinator.api.http.context import CORE
from coordinator.api.http.openapi import openapi_document
from coordinator.api.http.operations import OPERATIONS


def add_routes(app: web.Application) -> None:
    """For anybody: it says nothing that the source does not."""

    @cache
    def document() -> bytes:
        operations, server = app[OPERATIONS], app[CORE].public_url
        made = openapi_document(operations, server=server, version=version("pushrod"))
        return json.dumps(made).encode()

    async def get_openapi(_request: web.Request) -> web.Response:
        return web.Response(body=document(), content_type="application/json", charset="utf-8")

    app.router.add_get("/api/openapi.json", get_openapi)
