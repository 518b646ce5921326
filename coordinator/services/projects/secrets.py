"""The secrets of projects: set, listed by name, given to the steps that name them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from coordinator.domain.errors import Invalid
from coordinator.domain.model import Project, SecretName, Step
from coordinator.domain.people.permissions import Principal, Right
from coordinator.services.core import Core
from coordinator.services.projects.sealed_things import SealedThings
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.projects.sealed_things import SECRETS
from pipelines_schema import secret_name_problem

MAX_SECRET_BYTES = 64 * 1024
MAX_SECRETS = 100
"""Of one project."""

_SEALED = SealedThings(
    table=SECRETS,
    purpose="secret {project_id} {name}",
    key="name",
    most=MAX_SECRETS,
    too_many=f"the project has {MAX_SECRETS} secrets already: delete one first",
    set_action="secret.set",
    remove_action="secret.deleted",
    noted=("name", "secret"),
)


@dataclass(frozen=True, slots=True)
class Secrets:
    core: Core

    async def set(self, principal: Principal, project: Project, name: str, value: str) -> None:
        """Raises Invalid."""
        principal.require(Right.MANAGE)
        fault = secret_name_problem(name) or _value_fault(value)
        if fault is not None:
            raise Invalid(f"the secret {name[:100]!r} {fault}")
        await _SEALED.set(self.core, principal, project, value, name=name)

    async def list_of(self, principal: Principal, project: Project) -> Sequence[SecretName]:
        principal.require(Right.MANAGE)
        return await self.core.database.read(
            lambda connection: list_secrets(connection, project.id)
        )

    async def delete(self, principal: Principal, project: Project, name: str) -> None:
        """Raises NotFound."""
        principal.require(Right.MANAGE)
        missing = f"the project has no secret {name[:100]!r}"
        await _SEALED.remove(self.core, principal, project, missing, name=name)


async def list_secrets(connection: AsyncConnection, project_id: str) -> Sequence[SecretName]:
    found = await SECRETS.shown(connection, SecretName, [project_id])
    return sorted(found, key=lambda secret: secret.name)


async def open_secrets(
    core: Core, connection: AsyncConnection, project_id: str, names: Collection[str]
) -> Mapping[str, str]:
    """The values of those that there are. Raises NotSealedHere where the key file was changed."""
    if not names:
        return {}
    rows = await SECRETS.rows(connection, [project_id], name=names)
    return {row["name"]: _SEALED.open(core, row) for row in rows}


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
    known = await SECRETS.values_of(connection, project_id, "name")
    return {name: step for name, step in wanted.items() if name not in known}


def _value_fault(value: str) -> str | None:
    if not value:
        return "is empty"
    if "\0" in value:
        return "holds a NUL byte, which no environment variable can"
    if len(value.encode("utf-8", "surrogatepass")) > MAX_SECRET_BYTES:
        return f"is larger than {MAX_SECRET_BYTES // 1024} KiB"
    return None
