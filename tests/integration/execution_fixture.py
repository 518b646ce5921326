"""People who talk to /api/v1: a caller in a tenant, logged in by password or with a token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.integration.coordinator_fixture import Answer, Caller, Coordinator, step_of

PASSWORD = "correct horse battery"
UNKNOWN = "3d0dfa4e-7d46-4f3d-9a8f-7d1cf5f2f001"


@dataclass(frozen=True, slots=True)
class Tenant(Caller):
    """Calls below /api/v1, in one tenant."""

    tenant: str | None

    async def v1(self, method: str, path: str, body: object = None, **options: Any) -> Answer:
        headers = dict(options.pop("headers", {}))
        if self.tenant is not None:
            headers.setdefault("X-Tenant-ID", self.tenant)
        if body is not None:
            options["json"] = body
        return await self.call(method, f"/api/v1{path}", headers=headers, **options)

    async def create(self, project: Mapping[str, Any], **wanted: Any) -> dict[str, Any]:
        body = {"project_id": project["id"], "git_branch": "main", **wanted}
        return dict((await self.v1("POST", "/builds", body)).expect(201).json)

    async def start(self, build: Mapping[str, Any]) -> dict[str, Any]:
        return dict((await self.v1("POST", f"/builds/{build['id']}/start")).expect(200).json)

    async def started(self, project: Mapping[str, Any], **wanted: Any) -> dict[str, Any]:
        return await self.start(await self.create(project, **wanted))

    async def shown(self, build: Mapping[str, Any]) -> dict[str, Any]:
        return dict((await self.v1("GET", f"/builds/{build['id']}")).expect(200).json)

    async def logs(self, build: Mapping[str, Any], query: str = "") -> dict[str, Any]:
        answer = await self.v1("GET", f"/builds/{build['id']}/logs{query}")
        return dict(answer.expect(200).json)


async def new_user(
    admin: Caller,
    email: str,
    *,
    password: str = PASSWORD,
    administrator: bool = False,
    **roles: str,
) -> dict[str, Any]:
    body = {"email": email, "password": password, "administrator": administrator, "roles": roles}
    return dict((await admin.post("/api/users", body)).expect(201).json)


async def log_in(coordinator: Coordinator, email: str, password: str = PASSWORD) -> Answer:
    body = {"email": email, "password": password}
    return await coordinator.nobody.post("/api/v1/auth/login", body)


async def logged_in(coordinator: Coordinator, email: str, password: str = PASSWORD) -> Tenant:
    """In the first of the user's tenants."""
    answer = (await log_in(coordinator, email, password)).expect(200).json
    tenants = answer["tenants"]
    return Tenant(coordinator, answer["token"], tenants[0]["id"] if tenants else None)


async def new_member(admin: Caller, role: str, account: str = "default") -> Tenant:
    email = f"{role}@{account}.example"
    await new_user(admin, email, **{account: role})
    return await logged_in(admin.coordinator, email)


async def new_chain(admin: Caller, *names: str, **project: str) -> dict[str, Any]:
    """A project with a workflow `ci` of steps, each after the one before."""
    made = await admin.new_project(**project)
    pairs = zip(names, [None, *names], strict=False)
    await admin.new_workflow(made, *(step_of(name, *([b] if b else [])) for name, b in pairs))
    return made


def assert_envelope(answer: Answer, status: int, code: str) -> dict[str, Any]:
    """The error as specification 001 has it."""
    body = answer.expect(status).json
    assert set(body) <= {"error", "code", "timestamp", "trace_id", "details"}, body
    assert body["code"] == code
    assert body["error"]
    assert body["timestamp"].endswith("Z")
    assert len(body["trace_id"]) == 32
    if "details" in body:
        assert body["details"]
        assert all(isinstance(value, str) for value in body["details"].values())
    assert answer.headers["Content-Type"].startswith("application/json")
    assert {"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"} <= set(
        answer.headers
    )
    return dict(body)
