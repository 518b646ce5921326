"""What a client of the Build API asks, and what an agent does for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tests.integration.coordinator_fixture import AgentCaller, Caller

AGENT = {
    "agent.py": (
        "from openai import OpenAI\nimport requests\n\nclient = OpenAI()\n\ndef main():\n"
        "    print(client)\n\nif __name__ == '__main__':\n    main()\n"
    ),
    "requirements.txt": "openai>=1.0\nrequests",
}
REQUEST: dict[str, Any] = {"name": "my-agent", "files": AGENT, "entry_point": "agent.py"}
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
CAPABLE = {"capabilities": ["imageBuilds", "ownCommands", "healthChecks"]}


async def take(agent: AgentCaller, **request: Any) -> dict[str, Any]:
    [offer] = (await agent.poll(**CAPABLE, **request))["offers"]
    return dict((await agent.accept(offer)).expect(200).json)


async def start(caller: Caller, **changes: Any) -> dict[str, Any]:
    answer = await caller.post("/api/builds", {**REQUEST, **changes})
    return dict(answer.expect(202).json)


async def status(caller: Caller, build: Mapping[str, Any]) -> dict[str, Any]:
    return dict((await caller.get(f"/api/builds/{build['id']}")).expect(200).json)


DEPLOY: dict[str, Any] = {
    "agent_name": "my-agent",
    "source_files": {"agent.py": "...", "requirements.txt": "openai>=1.0"},
    "entry_point": "agent.py",
    "llm_configs": [{"provider": "openai", "model": "gpt-4o-mini"}],
}


async def deployed(caller: Caller, deployment: Mapping[str, Any]) -> dict[str, Any]:
    answer = await caller.get(f"/api/deploy/{deployment['id']}")
    return dict(answer.expect(200).json)


async def run_image(caller: Caller, host: AgentCaller, name: str = "bot") -> tuple[Any, Any]:
    """A deployment of an image that is there, and the running spec of its program."""
    body = {"agent_name": name, "image": "registry.example/bot:1"}
    deployment = (await caller.post("/api/deploy", body)).expect(202).json
    return deployment, await take(host)
