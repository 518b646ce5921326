"""Who holds a hand-out, as a text: `agent:<id>`, or `token:<id>` for a worker without an agent."""

from __future__ import annotations

AGENT = "agent:"


def holder_of(agent_id: str) -> str:
    return f"{AGENT}{agent_id}"


def agent_of(holder: str) -> str | None:
    """The agent's id; None where it is no agent."""
    return holder.removeprefix(AGENT) if holder.startswith(AGENT) else None
