"""One request, passed on to the leader when its body has been read here already."""

from __future__ import annotations

import asyncio
import io
import socket
from http.client import HTTPException, HTTPResponse

from aiohttp import web
from multidict import CIMultiDict

from coordinator.api.http.error_shapes import error_answer
from coordinator.peers.upstream import Upstream

ANSWER_SECONDS = 60.0
NOBODY_ANSWERED = "the coordinator that leads has not answered: ask again"
PASSED_ON = "Pushrod-Passed-On"
"""A header of what a coordinator passes on: whoever gets it answers, and sends it nowhere."""
_OF_ONE_CONNECTION = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})
"""Said anew. What a body is encoded by was undone when it was read."""
_READ_ALREADY = _OF_ONE_CONNECTION | {"content-encoding", "expect"}


class NoAnswer(Exception):
    """The leader's connection ended before its answer did."""


async def answer_of_leader(request: web.Request, body: bytes, upstream: Upstream) -> web.Response:
    """503 where nobody leads for too long, or who led has gone."""
    found = await upstream.reach(request.remote or "")
    try:
        if found is None:
            raise NoAnswer
        return await relayed(request, body, found[1])
    except NoAnswer:
        return error_answer(request, 503, NOBODY_ANSWERED)


async def relayed(request: web.Request, body: bytes, leader: socket.socket) -> web.Response:
    """The leader's answer to the request. `leader` is a connection that was begun with the preface;
    it is closed. Raises NoAnswer."""
    with leader:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                loop = asyncio.get_running_loop()
                await loop.sock_sendall(leader, _head(request, len(body)) + body)
                received = bytearray()
                while part := await loop.sock_recv(leader, 65_536):
                    received += part
        except (OSError, TimeoutError) as error:
            raise NoAnswer from error
    return _read(request.method, bytes(received))


def _head(request: web.Request, length: int) -> bytes:
    lines = [f"{request.method} {request.raw_path} HTTP/1.1".encode()]
    lines += [
        name + b": " + value
        for name, value in request.raw_headers
        if name.decode("latin-1").lower() not in _READ_ALREADY
    ]
    lines += [PASSED_ON.encode() + b": 1"]
    lines += [b"Content-Length: %d" % length, b"Connection: close", b"", b""]
    return b"\r\n".join(lines)


class _Received:
    """What http.client reads an answer from."""

    def __init__(self, received: bytes) -> None:
        self._received = received

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._received)


def _read(method: str, received: bytes) -> web.Response:
    answer = HTTPResponse(_Received(received), method=method)  # type: ignore[arg-type]
    try:
        answer.begin()
        body = answer.read()
    except (HTTPException, ValueError) as error:
        raise NoAnswer from error
    headers = CIMultiDict(
        (name, value)
        for name, value in answer.getheaders()
        if name.lower() not in _OF_ONE_CONNECTION
    )
    return web.Response(status=answer.status, reason=answer.reason, headers=headers, body=body)
