"""What `git http-backend` is told of a request, as a CGI program is."""

from __future__ import annotations

import re
from pathlib import Path

from aiohttp import web

from coordinator.git.environment import git_environment
from coordinator.git.opened import OWN_REFS
from coordinator.git.repository_folders import repository_path

MAX_FETCH_REQUEST_BYTES = 10 * 1024 * 1024
"""What http-backend buffers of a fetch's wants and haves."""

_PROTOCOL = re.compile(r"version=[012]")
_NOT_IN_USER = re.compile(r"[^\w.@+-]", re.ASCII)


def backend_environment(
    root: Path,
    request: web.Request,
    project_id: str,
    path: str,
    *,
    pushes: bool,
    user: str,
    max_input_bytes: int,
) -> dict[str, str]:
    """`path` is what stands in the URL after the repository's; `user` who pushes, or empty."""
    repository = repository_path(root, project_id)
    config = {
        "http.receivepack": "true" if pushes else "false",
        "http.getanyfile": "false",
        "transfer.hideRefs": OWN_REFS.rstrip("/"),
        "receive.maxInputSize": str(max_input_bytes),
    }
    environment = {
        **git_environment(config),
        "GATEWAY_INTERFACE": "CGI/1.1",
        "REQUEST_METHOD": request.method,
        "GIT_PROJECT_ROOT": str(root),
        "GIT_HTTP_EXPORT_ALL": "1",
        "GIT_HTTP_MAX_REQUEST_BUFFER": str(2 * MAX_FETCH_REQUEST_BYTES),
        "PATH_INFO": f"/{repository.name}/{path}",
        "QUERY_STRING": "",
        "REMOTE_USER": _NOT_IN_USER.sub("_", user)[:100] or "anonymous",
        "REMOTE_ADDR": _NOT_IN_USER.sub("_", request.remote or "unknown"),
    }
    # No CONTENT_LENGTH and no HTTP_CONTENT_ENCODING: aiohttp has inflated the body, whose end
    # is the end of the pipe.
    protocol = request.headers.get("Git-Protocol", "")
    if _PROTOCOL.fullmatch(protocol):
        environment["GIT_PROTOCOL"] = protocol
    return environment
