"""What agents call: register, poll, renew; and what people see of them."""

from __future__ import annotations

from aiohttp import web

from coordinator.api.http.context import CORE, DISPATCH
from coordinator.api.http.fields import Instant, Shown
from coordinator.api.http.operations import add_operations, operation
from coordinator.api.http.waits import waiting
from coordinator.domain.errors import Forbidden
from coordinator.domain.model import AgentRecord
from coordinator.domain.people.permissions import Principal, PrincipalKind, Right
from coordinator.services.steps import agents
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


class AgentShown(Shown):
    id: str
    name: str
    labels: dict[str, str]
    slots: int
    online: bool
    last_seen_at: Instant


def add_routes(app: web.Application) -> None:
    add_operations(app, [register, poll, renew, goodbye, list_agents])


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
    agent = await agent_of(request, principal)
    with waiting(request, principal):
        return await request.app[DISPATCH].poll(agent, body)


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
    request.app[DISPATCH].goodbye(await agent_of(request, principal), body)


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
    dispatch = request.app[DISPATCH]
    return [
        AgentShown(
            id=agent.id,
            name=agent.name,
            labels=dict(agent.labels),
            slots=agent.slots,
            online=dispatch.is_online(agent.id),
            last_seen_at=agent.last_seen_at,
        )
        for agent in await agents.list_agents(request.app[CORE], principal)
    ]
