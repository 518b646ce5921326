"""Answers that are put together of what was written before: to write a thousand objects anew costs
more than all else of their request."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web
from pydantic import BaseModel


def as_json(shown: BaseModel) -> bytes:
    """As an operation writes it that returns it."""
    return shown.model_dump_json(by_alias=True, exclude_none=True).encode()


def list_of(written: Iterable[bytes]) -> bytes:
    return b"[%b]" % b",".join(written)


def object_of(**members: bytes) -> bytes:
    return b"{%b}" % b",".join(b'"%b":%b' % (key.encode(), one) for key, one in members.items())


def json_response(written: bytes) -> web.Response:
    return web.Response(body=written, content_type="application/json", charset="utf-8")
