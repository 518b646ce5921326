"""The secrets of projects: set, listed by name, given to the steps that name them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from coordinator.domain.errors import Invalid, NotFound
from coordinator.domain.model import Project, SecretName, Step
from coordinator.domain.people.permissions import Principal, Right
from coordinator.services import audit
from coordinator.services.core import Core
from coordinator.services.sealing import seal, unseal
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.projects import secrets as stored
from pipelines_schema import secret_name_problem

MAX_SECRET_BYTES = 64 * 1024
MAX_SECRETS = 100
"""Of one project."""


@dataclass(frozen=True, slots=True)
class Secrets:
    core: Core

    async def set(self, principal: Principal, project: Project, name: str, value: str) -> None:
        """Raises Invalid. The value is in no log, no answer and no audit entry."""
        principal.require(Right.MANAGE)
        fault = secret_name_problem(name) or _value_fault(value)
        if fault is not None:
            raise Invalid(f"the secret {name[:100]!r} {fault}")
        sealed = seal(self.core.keys.master, _purpose(project.id, name), value.encode())

        async def save(connection: AsyncConnection) -> None:
            names = {one.name for one in await stored.list_secrets(connection, project.id)}
            if name not in names and len(names) >= MAX_SECRETS:
                raise Invalid(f"the project has {MAX_SECRETS} secrets already: delete one first")
            await stored.put_secret(connection, project.id, name, sealed, self.core.now())
            await self._audit(connection, "secret.set", principal, project, name)

        await self.core.database.write(save)

    async def list_of(self, principal: Principal, project: Project) -> Sequence[SecretName]:
        principal.require(Right.MANAGE)
        return await self.core.database.read(
            lambda connection: stored.list_secrets(connection, project.id)
        )

    async def delete(self, principal: Principal, project: Project, name: str) -> None:
        """Raises NotFound."""
        principal.require(Right.MANAGE)

        async def delete(connection: AsyncConnection) -> None:
            if not await stored.delete_secret(connection, project.id, name):
                raise NotFound(f"the project has no secret {name[:100]!r}")
            await self._audit(connection, "secret.deleted", principal, project, name)

        await self.core.database.write(delete)

    async def _audit(
        self,
        connection: AsyncConnection,
        action: str,
        principal: Principal,
        project: Project,
        name: str,
    ) -> None:
        await audit.record(
            self.core,
            connection,
            action,
            principal,
            account_id=project.account_id,
            project_id=project.id,
            secret=name,
        )


async def open_secrets(
    core: Core, connection: AsyncConnection, project_id: str, names: Collection[str]
) -> Mapping[str, str]:
    """The values of those that there are. Raises NotSealedHere where the key file was changed."""
    if not names:
        return {}
    sealed = await stored.sealed_secrets(connection, project_id, names)
    return {
        name: unseal(core.keys.master, _purpose(project_id, name), text).decode()
        for name, text in sealed.items()
    }


async def missing_secrets(
    connection: AsyncConnection, project_id: str, steps: Sequence[Step]
) -> Mapping[str, str]:
    """Name of a secret that the project lacks → the first step that names it."""
    wanted: dict[str, str] = {}
    for step in steps:
        for name in step.written.secrets:
            wanted.setdefault(name, step.name)
    if not wanted:
        return {}
    known = await stored.sealed_secrets(connection, project_id, list(wanted))
    return {name: step for name, step in wanted.items() if name not in known}


def _value_fault(value: str) -> str | None:
    if not value:
        return "is empty"
    if "\0" in value:
        return "holds a NUL byte, which no environment variable can"
    if len(value.encode("utf-8", "surrogatepass")) > MAX_SECRET_BYTES:
        return f"is larger than {MAX_SECRET_BYTES // 1024} KiB"
    return None


def _purpose(project_id: str, name: str) -> str:
    return f"secret {project_id} {name}"
