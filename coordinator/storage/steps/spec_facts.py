"""What a step's spec asks for that is one row each, in one statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from coordinator.domain.model import Project, Step
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.direct_statements import direct
from coordinator.storage.images.build_images import any_pushed_of, digest_of
from coordinator.storage.projects.projects import project_of, select_projects
from coordinator.storage.tables import projects, registry_logins

_FACTS = direct(
    select_projects()
    .add_columns(
        digest_of(sa.bindparam("its_build"), sa.bindparam("its_reference")).label("digest"),
        any_pushed_of(sa.bindparam("its_build")).label("any_pushed"),
        *(column.label(f"login__{column.name}") for column in registry_logins.c),
    )
    .outerjoin(
        registry_logins, registry_logins.c.scope_id.in_([projects.c.account_id, projects.c.id])
    )
    .where(projects.c.id == sa.bindparam("its_project"))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecFacts:
    project: Project
    logins: Sequence[Mapping[str, Any]]
    """Rows, of the project's and its account's, still sealed."""
    reference: str
    digest: str | None
    """What a step of the build was told that the reference means."""
    any_pushed: bool
    """A step of the build has pushed images."""


async def spec_facts(connection: AsyncConnection, step: Step, reference: str) -> SpecFacts:
    """`reference` is a whole tag. Raises LookupError without the project."""
    values = {
        "its_build": step.build_id,
        "its_reference": reference,
        "its_project": step.project_id,
    }
    rows = (await connection.execute(_FACTS, values)).all()
    if not rows:
        raise LookupError(f"step {step.id} has no project")
    row = rows[0]
    return SpecFacts(
        project=project_of(row),
        logins=[_login(one) for one in rows if one.login__scope_id is not None],
        reference=reference,
        digest=row.digest,
        any_pushed=bool(row.any_pushed),
    )


def _login(row: Any) -> Mapping[str, Any]:
    return {column.name: getattr(row, f"login__{column.name}") for column in registry_logins.c}
