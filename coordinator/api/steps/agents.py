"""What agents call: register, poll, renew; and what people see of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web
from pydantic import Field

from coordinator.api.http.context import ACCOUNTS, CORE, DISPATCH
from coordinator.api.http.fields import Instant, Shown
from coordinator.api.http.operations import add_operations, operation
from coordinator.api.http.waits import waiting
from coordinator.domain.errors import Forbidden
from coordinator.domain.model import AgentRecord
from coordinator.domain.people.permissions import Principal, PrincipalKind, Right
from coordinator.services.core import Core
from coordinator.services.steps import agents
from coordinator.services.steps.demand import demand_of
from coordinator.services.steps.dispatch import Dispatch
from coordinator.storage.people import accounts as stored
from pipelines_schema.contract import (
    GoodbyeRequest,
    PollRequest,
    PollResponse,
    RegisterRequest,
    RegisterResponse,
    RenewRequest,
    RenewResponse,
)

AGENT = "/api/agents/{agent_id:[0-9A-Fa-f-]{36}}"
NO_SUCH_AGENT = {404: "No such agent"}


class AgentShown(Shown):
    id: str
    name: str
    labels: dict[str, str]
    slots: int
    online: bool
    paused: bool = Field(description="It takes no new steps; what it runs goes on")
    drained: bool = Field(description="Besides, its process ends once what it runs is over")
    account_id: str | None = Field(None, description="UUID of its account; none works for all")
    created_at: Instant
    last_seen_at: Instant


class StepInHand(Shown):
    id: str
    build_id: str
    name: str


class AgentWithSteps(AgentShown):
    steps: list[StepInHand] = Field(
        description="Handed out to it, of the accounts that the token may see"
    )


class DemandShown(Shown):
    labels: dict[str, str] = Field(description="What the steps ask for by `agents`")
    needs: list[str] = Field(description="What of the steps not every agent can do")
    waiting: int = Field(
        description="Steps that a further agent would take: not those of a project that runs as "
        "many as it may"
    )
    oldest_seconds: float = Field(description="For how long the first of them has waited")
    free_slots: int = Field(description="Of the agents that could take them now")


class WholeDemand(Shown):
    groups: list[DemandShown]


def add_routes(app: web.Application) -> None:
    add_operations(app, [register, poll, renew, goodbye])
    add_operations(app, [list_agents, demand, show_agent, pause, drain, resume, remove])


@operation(
    "POST",
    "/api/agents/register",
    tag="Agents",
    summary="Register an agent",
    right=Right.REGISTER,
    status=201,
)
async def register(
    request: web.Request, principal: Principal, body: RegisterRequest
) -> RegisterResponse:
    registered = await agents.register_agent(
        request.app[CORE],
        principal,
        name=body.name,
        labels=dict(body.labels),
        slots=body.slots,
        previous=body.previous,
    )
    if registered.agent.paused:
        request.app[DISPATCH].paused(registered.agent.id)
    if registered.previous_id and body.instance:
        # Committed: what the old credential is no longer good for nobody can renew meanwhile. A
        # coordinator that dies before this line ends the hand-outs with their leases.
        request.app[DISPATCH].gone(registered.previous_id, body.instance)
    return RegisterResponse(agent_id=registered.agent.id, token=registered.secret)


@operation(
    "POST",
    "/api/agents/poll",
    tag="Agents",
    summary="Ask for work, held until there is some",
    right=Right.RUN,
    errors={429: "Too many polls of this agent are held"},
    held=True,
)
async def poll(request: web.Request, principal: Principal, body: PollRequest) -> PollResponse:
    with waiting(request, principal):
        polling = request.app[DISPATCH].poll(await agent_of(request, principal), body)
        del body  # a thousand of them are megabytes
        return await polling


@operation("POST", "/api/agents/renew", tag="Agents", summary="Renew leases", right=Right.RUN)
async def renew(request: web.Request, principal: Principal, body: RenewRequest) -> RenewResponse:
    return await request.app[DISPATCH].renew(await agent_of(request, principal), body)


@operation(
    "POST",
    "/api/agents/goodbye",
    tag="Agents",
    summary="Tell that an agent's process ends",
    right=Right.RUN,
)
async def goodbye(request: web.Request, principal: Principal, body: GoodbyeRequest) -> None:
    """What it holds is handed out again at once, but for the `leases` that it reports later."""
    await request.app[DISPATCH].goodbye(await agent_of(request, principal), body)


async def agent_of(request: web.Request, principal: Principal) -> AgentRecord:
    """Raises Forbidden for anybody but an agent."""
    if principal.kind is not PrincipalKind.AGENT or principal.agent_id is None:
        raise Forbidden("only an agent's own credential may do this: register first")
    agent_id = principal.agent_id
    agent = await request.app[CORE].database.read(
        lambda connection: stored.find_agent(connection, agent_id)
    )
    if agent is None:
        raise Forbidden("this agent is not registered any more")
    return agent


@operation("GET", "/api/agents", tag="Agents", summary="List the agents", right=Right.READ)
async def list_agents(request: web.Request, principal: Principal) -> list[AgentShown]:
    found = await agents.list_agents(request.app[CORE], principal)
    return [_shown(request, agent) for agent in found]


@operation(
    "GET",
    "/api/agents/demand",
    tag="Agents",
    summary="How many steps wait for an agent, by what they want of it",
    right=Right.READ,
)
async def demand(request: web.Request, principal: Principal) -> WholeDemand:
    """For what starts and ends machines."""
    core = request.app[CORE]
    found, now = await demand_of(core, request.app[DISPATCH], principal.account_id), core.now()
    return WholeDemand(
        groups=[
            DemandShown(
                labels=dict(one.labels),
                needs=sorted(one.needs),
                waiting=one.waiting,
                oldest_seconds=max((now - one.oldest).total_seconds(), 0.0),
                free_slots=one.free_slots,
            )
            for one in found
        ]
    )


@operation(
    "GET", AGENT, tag="Agents", summary="Show an agent", right=Right.READ, errors=NO_SUCH_AGENT
)
async def show_agent(request: web.Request, principal: Principal) -> AgentWithSteps:
    agent, steps = await agents.find_agent(
        request.app[CORE], principal, request.match_info["agent_id"]
    )
    in_hand = [StepInHand(id=step.id, build_id=step.build_id, name=step.name) for step in steps]
    return AgentWithSteps(**_shown(request, agent).model_dump(), steps=in_hand)


@operation(
    "POST",
    f"{AGENT}/pause",
    tag="Agents",
    summary="Have an agent take no new steps",
    right=Right.MANAGE,
    errors=NO_SUCH_AGENT,
)
async def pause(request: web.Request, principal: Principal) -> AgentShown:
    return await _change(agents.pause_agent, request, principal)


@operation(
    "POST",
    f"{AGENT}/drain",
    tag="Agents",
    summary="Have an agent finish what it runs and end",
    right=Right.MANAGE,
    errors=NO_SUCH_AGENT,
)
async def drain(request: web.Request, principal: Principal) -> AgentShown:
    """It is paused, too, and each process of it that begins later ends, until it is resumed."""
    return await _change(agents.drain_agent, request, principal)


@operation(
    "POST",
    f"{AGENT}/resume",
    tag="Agents",
    summary="Have a paused or drained agent take steps again",
    right=Right.MANAGE,
    errors=NO_SUCH_AGENT,
)
async def resume(request: web.Request, principal: Principal) -> AgentShown:
    return await _change(agents.resume_agent, request, principal)


@operation(
    "DELETE",
    AGENT,
    tag="Agents",
    summary="Remove an agent",
    right=Right.MANAGE,
    errors=NO_SUCH_AGENT,
)
async def remove(request: web.Request, principal: Principal) -> None:
    """Its credential ends; what it runs goes to another once its leases have ended."""
    accounts, dispatch = request.app[ACCOUNTS], request.app[DISPATCH]
    await agents.remove_agent(accounts, dispatch, principal, request.match_info["agent_id"])


_Change = Callable[[Core, Dispatch, Principal, str], Awaitable[AgentRecord]]


async def _change(change: _Change, request: web.Request, principal: Principal) -> AgentShown:
    core, dispatch = request.app[CORE], request.app[DISPATCH]
    return _shown(request, await change(core, dispatch, principal, request.match_info["agent_id"]))


def _shown(request: web.Request, agent: AgentRecord) -> AgentShown:
    return AgentShown(
        id=agent.id,
        name=agent.name,
        labels=dict(agent.labels),
        slots=agent.slots,
        online=request.app[DISPATCH].is_online(agent.id),
        paused=agent.paused,
        drained=agent.drained,
        account_id=agent.account_id,
        created_at=agent.created_at,
        last_seen_at=request.app[DISPATCH].last_seen(agent),
    )
