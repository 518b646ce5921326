"""Secrets of projects and accounts: set, listed by name, given to the steps that name them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from coordinator.domain.errors import Invalid
from coordinator.domain.lifecycle import StepState
from coordinator.domain.model import Account, Build, Project, Step
from coordinator.domain.people.permissions import Principal, Right
from coordinator.domain.projects.sealed import SecretShown
from coordinator.domain.projects.secret_values import (
    CodeOf,
    Given,
    chosen,
    given,
    pattern_fault,
    pattern_of,
    words_of,
)
from coordinator.services.core import Core
from coordinator.services.projects.registry_logins import scopes_of
from coordinator.services.projects.sealed_things import SealedThings
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.projects.sealed_things import SECRETS
from pipelines_schema import secret_name_problem

MAX_SECRET_BYTES = 64 * 1024
MAX_SECRETS = 100
"""Of one project or account; one with several values counts as many."""

_SEALED = SealedThings(
    table=SECRETS,
    purpose="secret {scope_id} {name}",
    key=("name", "pattern"),
    most=MAX_SECRETS,
    too_many=f"there are {MAX_SECRETS} secrets already: delete one first",
    set_action="secret.set",
    remove_action="secret.deleted",
    noted=("name", "secret"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanting:
    """A secret that a step names and can't be given."""

    name: str
    step: str
    why: str
    """As in `the secret X, {which …}`."""
    missing: bool
    """It has no value at all, whatever the branch."""


@dataclass(frozen=True, slots=True)
class Secrets:
    core: Core

    async def set(
        self,
        principal: Principal,
        owner: Project | Account,
        name: str,
        value: str,
        *,
        branch: str | None = None,
        tag: str | None = None,
    ) -> None:
        """The value for builds of the branches or tags that a pattern names, or for every build
        that has none of its own. Raises Invalid."""
        principal.require(Right.MANAGE)
        fault = secret_name_problem(name) or _value_fault(value)
        if fault is not None:
            raise Invalid(f"the secret {name[:100]!r} {fault}")
        pattern = checked_pattern(branch, tag)
        told = _told(pattern)
        await _SEALED.set(self.core, principal, owner, value, told=told, name=name, pattern=pattern)

    async def list_of(
        self, principal: Principal, owner: Project | Account
    ) -> Sequence[SecretShown]:
        """By name and pattern; of a project with those of its account, which stand before its
        own."""
        principal.require(Right.MANAGE)
        scopes = scopes_of(owner)
        found = await self.core.database.read(
            lambda connection: SECRETS.shown(connection, SecretShown, scopes)
        )
        return sorted(found, key=lambda one: (one.name, scopes.index(one.scope_id), one.pattern))

    async def delete(
        self, principal: Principal, owner: Project | Account, name: str, *, only: str | None = None
    ) -> None:
        """All values of the name, or `only` that of a pattern. Raises NotFound."""
        principal.require(Right.MANAGE)
        whose = "project" if isinstance(owner, Project) else "account"
        missing = f"the {whose} has no secret {name[:100]!r}"
        if only is None:
            return await _SEALED.remove(self.core, principal, owner, missing, name=name)
        missing += f" for {words_of(only)[:100]}"
        told = {"for": words_of(only)}
        return await _SEALED.remove(
            self.core, principal, owner, missing, told=told, name=name, pattern=only
        )


def checked_pattern(branch: str | None, tag: str | None) -> str:
    """Raises Invalid."""
    if branch is not None and tag is not None:
        raise Invalid("a value is for a branch or for a tag: set it twice for both")
    for kind, written in (("branch", branch), ("tag", tag)):
        fault = None if written is None else pattern_fault(kind, written)
        if fault is not None:
            raise Invalid(fault, details=[{"path": kind, "message": fault}])
    return pattern_of(branch, tag)


async def secrets_given(
    connection: AsyncConnection, project: Project | Step | Build, names: Sequence[str], code: CodeOf
) -> Given:
    """Which values of the project's secrets, and of its account's, are for that code."""
    if not names:
        return Given(values={}, refused={})
    scopes = _scopes(project)
    values = await SECRETS.shown(connection, SecretShown, scopes, name=names)
    return given(values, scopes, names, code)


async def open_secrets(
    core: Core,
    connection: AsyncConnection,
    project: Project | Step | Build,
    names: Sequence[str],
    code: CodeOf,
) -> Mapping[str, str]:
    """The values of those that the code may have. Raises NotSealedHere where the key file was
    changed."""
    if not names:
        return {}
    scopes = _scopes(project)
    rows = await SECRETS.rows(connection, scopes, name=names)
    shown = [SecretShown(**{key: row[key] for key in _SHOWN}) for row in rows]
    by_key = {(row["scope_id"], row["name"], row["pattern"]): row for row in rows}
    return {
        name: _SEALED.open(core, by_key[one.scope_id, name, one.pattern])
        for name, one in chosen(shown, scopes, code).items()
    }


async def names_for(connection: AsyncConnection, project: Project, code: CodeOf) -> Sequence[str]:
    """Of all secrets that the code may have."""
    scopes = scopes_of(project)
    found = await SECRETS.shown(connection, SecretShown, scopes)
    return sorted(chosen(found, scopes, code))


async def wanting_secrets(
    connection: AsyncConnection, project: Project, steps: Sequence[Step], code: CodeOf
) -> Sequence[Wanting]:
    """What steps of a new build name that it can't be given, each with the first that does.

    A step that is skipped, or may be yet, is not refused what it will not ask for: many a workflow
    names its secrets in a step that is for one branch alone.
    """
    first: dict[str, str] = {}
    asked: dict[str, str] = {}
    for step in steps:
        for name in step.written.secrets:
            first.setdefault(name, step.name)
            if _surely_runs(step):
                asked.setdefault(name, step.name)
    found = await secrets_given(connection, project, list(first), code)
    return [
        Wanting(name=name, step=step, why="which the project does not have", missing=True)
        for name, step in first.items()
        if name not in found.values and name not in found.refused
    ] + [
        Wanting(name=name, step=step, why=found.refused[name], missing=False)
        for name, step in asked.items()
        if name in found.refused
    ]


def _surely_runs(step: Step) -> bool:
    when = step.written.when
    return step.state is not StepState.SKIPPED and not (when is not None and when.outputs)


def _scopes(owner: Project | Step | Build) -> list[str]:
    if isinstance(owner, Project):
        return scopes_of(owner)
    return [owner.account_id, owner.project_id]


def _told(pattern: str) -> Mapping[str, str]:
    return {"for": words_of(pattern)} if pattern else {}


_SHOWN = ("scope_id", "name", "pattern", "updated_at")


def _value_fault(value: str) -> str | None:
    if not value:
        return "is empty"
    if "\0" in value:
        return "holds a NUL byte, which no environment variable can"
    if len(value.encode("utf-8", "surrogatepass")) > MAX_SECRET_BYTES:
        return f"is larger than {MAX_SECRET_BYTES // 1024} KiB"
    return None
