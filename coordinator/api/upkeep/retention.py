"""What is kept, and for how long: of a project, and of the installation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from aiohttp import web
from pydantic import ConfigDict, Field

from coordinator.api.http.api_model import ApiModel
from coordinator.api.http.context import RETENTION, SWEEPING, project_of
from coordinator.api.http.fields import Body, QueryBool, Shown
from coordinator.api.http.operations import add_operations, operation
from coordinator.domain.errors import Forbidden
from coordinator.domain.model import Project
from coordinator.domain.people.permissions import Principal, Right
from coordinator.domain.upkeep.retention import MAX_BYTES, MAX_DAYS, MAX_NUMBER, TOTAL, Kind
from coordinator.services.upkeep.retention import INSTALLATION, NOT_OF_ALL
from coordinator.services.upkeep.sweeping import Going

OF_A_PROJECT = "/api/projects/{project_id}/retention"
OF_ALL = "/api/retention"
NOT_SET = "Kinds that are left out stay as they are."


class LimitsWanted(ApiModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    days: int | None = Field(None, ge=0, le=MAX_DAYS, description="Since the build ended")
    number: int | None = Field(
        None, ge=0, le=MAX_NUMBER, description="So many of a project's newest builds stay"
    )
    bytes: int | None = Field(
        None, ge=0, le=MAX_BYTES, description="A project's newest builds stay within so many"
    )


class KeepWanted(ApiModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    days: int | None = Field(
        None, ge=0, le=MAX_DAYS, description="No `keep` of outputs counts for longer than that"
    )


class ProjectRetentionWanted(Body):
    builds: LimitsWanted | None = Field(None, description=f"With all that is theirs. {NOT_SET}")
    logs: LimitsWanted | None = None
    artifacts: LimitsWanted | None = Field(None, description="Of those without a `keep`")
    keep: KeepWanted | None = Field(
        None,
        description="The most that counts of what outputs say themselves; a project's is no longer "
        "than the installation's",
    )
    unset: list[Kind] = Field([], description="Kinds of which what was set is taken back")


class RetentionWanted(ProjectRetentionWanted):
    total: LimitsWanted | None = Field(
        None,
        description="Of all projects together: what is too much goes from those that have most",
    )
    unset: list[Kind | Literal["total"]] = Field(  # type: ignore[assignment]
        [], description="Kinds of which what was set is taken back"
    )
    enforced: bool | None = Field(
        None, strict=True, description="Whether anything is deleted, or only told what would be"
    )


class OutlookQuery(Body):
    outlook: QueryBool = Field(
        False, description="Also say what the next look would delete, which reads all builds"
    )


class LimitsShown(Shown):
    days: int | None = None
    number: int | None = None
    bytes: int | None = None


class GoingShown(Shown):
    builds: int = Field(description="Of how many builds it goes")
    bytes: int


class RetentionShown(Shown):
    enforced: bool
    limits: dict[str, LimitsShown] = Field(
        description="That hold: by `builds`, `logs`, …; `total` of the installation alone"
    )
    own: list[str] = Field(description="Kinds whose limits were set here")
    goes_next: dict[str, GoingShown] | None = Field(
        None, description="What the next look deletes, or would delete if it were enforced"
    )


def add_routes(app: web.Application) -> None:
    add_operations(app, [show_retention, set_retention])
    add_operations(app, [show_project_retention, set_project_retention])


@operation(
    "GET", OF_ALL, tag="Operations", summary="Show what is kept, and how long", right=Right.READ
)
async def show_retention(
    request: web.Request, principal: Principal, query: OutlookQuery
) -> RetentionShown:
    """The limits of projects that have none of their own. For a token of all accounts."""
    if principal.account_id is not None:
        raise Forbidden(NOT_OF_ALL)
    return await _shown(request, None, outlook=query.outlook)


@operation(
    "PATCH",
    OF_ALL,
    tag="Operations",
    summary="Set what is kept, and how long",
    right=Right.ADMINISTER,
)
async def set_retention(
    request: web.Request, principal: Principal, body: RetentionWanted
) -> RetentionShown:
    """For projects that have no limits of their own. By an administrator of all accounts."""
    limits = _limits(body)
    await request.app[RETENTION].set_rules(principal, None, limits, enforced=body.enforced)
    return await _shown(request, None)


@operation(
    "GET",
    OF_A_PROJECT,
    tag="Projects",
    summary="Show what is kept of a project, and how long",
    right=Right.READ,
    errors={404: "Project not found"},
)
async def show_project_retention(
    request: web.Request, principal: Principal, query: OutlookQuery
) -> RetentionShown:
    project = await project_of(request, principal)
    return await _shown(request, project, outlook=query.outlook)


@operation(
    "PATCH",
    OF_A_PROJECT,
    tag="Projects",
    summary="Set what is kept of a project, and how long",
    right=Right.MANAGE,
    errors={404: "Project not found"},
)
async def set_project_retention(
    request: web.Request, principal: Principal, body: ProjectRetentionWanted
) -> RetentionShown:
    """In the place of the installation's limits of that kind."""
    project = await project_of(request, principal)
    await request.app[RETENTION].set_rules(principal, project, _limits(body))
    return await _shown(request, project)


def _limits(body: ProjectRetentionWanted) -> Mapping[str, Mapping[str, int] | None]:
    given: dict[str, Mapping[str, int] | None] = {str(kind): None for kind in body.unset}
    for kind in (*Kind, TOTAL):
        wanted: LimitsWanted | KeepWanted | None = getattr(body, kind, None)
        if wanted is not None:
            given[str(kind)] = wanted.model_dump(exclude_none=True)
    return given


async def _shown(
    request: web.Request, project: Project | None, *, outlook: bool = False
) -> RetentionShown:
    retention = request.app[RETENTION]
    scope_id = project.id if project else INSTALLATION
    rules = (await retention.rules(project.id if project else None)).to_json()
    if project is None:
        rules[TOTAL] = (await retention.total()).to_json()
    going = await request.app[SWEEPING].outlook(project) if outlook else None
    return RetentionShown(
        enforced=await retention.is_enforced(),
        limits={kind: LimitsShown(**limits) for kind, limits in rules.items()},
        own=sorted(await retention.own(scope_id)),
        goes_next=None if going is None else _goes_next(going),
    )


def _goes_next(going: Going) -> dict[str, GoingShown]:
    return {
        kind.value: GoingShown(builds=going.count[kind], bytes=going.size[kind]) for kind in Kind
    }
