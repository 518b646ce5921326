"""What agents call: register, poll, renew; and what people see of them."""

from __future__ import annotations

from aiohttp import web

from coordinator.api.context import ACCOUNTS, CORE, DISPATCH
from coordinator.api.middleware import principal_of, read_model
from coordinator.api.times import iso
from coordinator.domain.errors import Forbidden
from coordinator.domain.model import AgentRecord
from coordinator.domain.permissions import Principal, PrincipalKind, Right
from coordinator.storage import accounts as stored
from pipelines_schema.contract import (
    PollRequest,
    RegisterRequest,
    RegisterResponse,
    RenewRequest,
)


def add_routes(app: web.Application) -> None:
    app.router.add_post("/api/agents/register", register)
    app.router.add_post("/api/agents/poll", poll)
    app.router.add_post("/api/agents/renew", renew)
    app.router.add_get("/api/agents", list_agents)


async def register(request: web.Request) -> web.Response:
    principal = await principal_of(request, Right.REGISTER)
    wanted = await read_model(request, RegisterRequest)
    agent, token = await request.app[ACCOUNTS].register_agent(
        principal, name=wanted.name, labels=dict(wanted.labels), slots=wanted.slots
    )
    answer = RegisterResponse(agent_id=agent.id, token=token)
    return web.json_response(answer.to_json(), status=201)


async def poll(request: web.Request) -> web.Response:
    agent = await _agent(request)
    answer = await request.app[DISPATCH].poll(agent, await read_model(request, PollRequest))
    return web.json_response(answer.to_json())


async def renew(request: web.Request) -> web.Response:
    agent = await _agent(request)
    wanted = await read_model(request, RenewRequest)
    return web.json_response(request.app[DISPATCH].renew(agent, wanted.leases).to_json())


async def _agent(request: web.Request) -> AgentRecord:
    principal = await principal_of(request, Right.RUN)
    return await agent_of(request, principal)


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


async def list_agents(request: web.Request) -> web.Response:
    principal = await principal_of(request, Right.READ)
    dispatch = request.app[DISPATCH]
    return web.json_response(
        [
            {
                "id": agent.id,
                "name": agent.name,
                "labels": dict(agent.labels),
                "slots": agent.slots,
                "online": dispatch.is_online(agent.id),
                "lastSeenAt": iso(agent.last_seen_at),
            }
            for agent in await request.app[ACCOUNTS].list_agents(principal)
        ]
    )
