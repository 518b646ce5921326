"""The calls of the HTTP API for agents and what they are wanted for."""

from __future__ import annotations

from pushrod.transport import Json, Transport, quoted


class AgentCalls(Transport):
    """A method per call; each raises a CommandError."""

    async def demand(self) -> list[Json]:
        answer = await self.object_at("GET", "/api/agents/demand")
        return list(answer["groups"])

    async def drain_agent(self, agent_id: str) -> Json:
        return await self.object_at("POST", f"/api/agents/{quoted(agent_id)}/drain")

    async def agents(self) -> list[Json]:
        return await self.list_at("/api/agents")

    async def agent(self, agent_id: str) -> Json:
        return await self.object_at("GET", f"/api/agents/{quoted(agent_id)}")

    async def pause_agent(self, agent_id: str) -> Json:
        return await self.object_at("POST", f"/api/agents/{quoted(agent_id)}/pause")

    async def remove_agent(self, agent_id: str) -> None:
        await self.request("DELETE", f"/api/agents/{quoted(agent_id)}")

    async def resume_agent(self, agent_id: str) -> Json:
        return await self.object_at("POST", f"/api/agents/{quoted(agent_id)}/resume")
