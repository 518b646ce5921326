"""The answer of `git http-backend`, as RFC 3875 (CGI) has it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from coordinator.git.process import GitProcess

_MAX_HEADER_BYTES = 16 * 1024
_MAX_WHOLE_ANSWER_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class CgiAnswer:
    status: int
    content_type: str
    body: bytes


async def read_cgi_head(process: GitProcess) -> CgiAnswer | None:
    """The answer's status and type with what was read of its body; None if git gave no answer."""
    raw = b""
    while len(raw) < _MAX_HEADER_BYTES:
        chunk = await process.read()
        raw += chunk
        head, separator, body = raw.partition(b"\r\n\r\n")
        if separator:
            return _parse_cgi(head, body)
        if not chunk:
            break
    return None


def _parse_cgi(head: bytes, body: bytes) -> CgiAnswer:
    """RFC 3875, section 6.3: an absent Status means 200."""
    fields = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in head.decode("latin-1").splitlines())
    }
    return CgiAnswer(
        status=int(fields.get("status", "200").split()[0]),
        content_type=fields.get("content-type", "text/plain"),
        body=body,
    )


async def read_whole_answer(process: GitProcess) -> CgiAnswer | None:
    head = await read_cgi_head(process)
    if head is None:
        return None
    body = bytearray(head.body)
    while chunk := await process.read():
        body += chunk
        if len(body) > _MAX_WHOLE_ANSWER_BYTES:
            await process.end()
            return None
    return replace(head, body=bytes(body))
