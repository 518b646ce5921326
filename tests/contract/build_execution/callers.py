"""The endpoints of specification 001, and a build by it that has failed."""

from __future__ import annotations

from typing import Any

from tests.integration.coordinator_fixture import Caller
from tests.integration.execution_fixture import Tenant

# Method, path, permission: the document's two tables of endpoints.
ENDPOINTS = [
    ("POST", "/builds", "build:create"),
    ("GET", "/builds", "build:list"),
    ("GET", "/builds/{id}", "build:read"),
    ("DELETE", "/builds/{id}", "build:delete"),
    ("POST", "/builds/{id}/start", "build:create"),
    ("POST", "/builds/{id}/cancel", "build:cancel"),
    ("POST", "/builds/{id}/retry", "build:create"),
    ("GET", "/builds/{id}/status", "build:read"),
    ("GET", "/builds/{id}/logs", "build:read"),
    ("GET", "/builds/{id}/logs/stream", "build:read"),
]


OF_A_BUILD = [(method, path) for method, path, _ in ENDPOINTS if "{id}" in path]


async def failed(admin: Caller, tenant: Tenant, project: dict[str, Any]) -> dict[str, Any]:
    build = await tenant.started(project)
    agent = await admin.new_agent()
    spec = await agent.take()
    (await agent.append(spec, 0, b"it broke\n")).expect(204)
    (await agent.complete(spec, status="failed", exitCode=7)).expect(200)
    return await tenant.shown(build)
