"""A build of 500 steps, most of them generated, with gates: what it costs the coordinator."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines_schema import Generator, OlderStep, parse_generated
from tests.integration.coordinator_fixture import AgentCaller, Coordinator, new_work_tree
from tests.integration.statements import collected

MOST_STATEMENTS_OF_A_GENERATED_STEP = 1.0
"""Being made ready is one; being added, with all others, is none of its own."""
MOST_PROCESSOR_MS = 300
MORE = "more.yml"
GATES = 10
STEPS = 500
WORKFLOW = """
on: {push: {}}
steps:
  - {name: shards, image: base, run: ./shards, generates: more.yml}
  - {name: last, image: base, run: "true", dependsOn: [shards]}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of the generator's end: its file read, its steps worked out and added."""

    statements: int
    processor_ms: float
    """Of the coordinator, with the caller's own part; without the reading of the file."""


def file_of(added: int, gates: int = GATES) -> bytes:
    """So many steps, in as many stages as there are gates, each behind its gate."""
    stage = max(added // gates, 1)
    lines = ["steps:"]
    for number in range(added):
        first = number - number % stage
        if number == first:
            lines.append(
                f"  - {{name: g{number}, approve: {{message: 'Go on?'}}, dependsOn: [shards]}}"
            )
        else:
            lines.append(
                f"  - name: s{number}\n    image: debian\n    run: ./test --shard {number}\n"
                f"    dependsOn: [g{first}]\n    env: {{SHARD: '{number}'}}\n    timeout: 10m"
            )
    return "\n".join([*lines, ""]).encode()


def reading_ms(added: int) -> float:
    """Processor time of reading such a file, which a process of its own does."""
    generator = Generator(
        name="shards", generation=1, steps=[OlderStep(name="shards", depends_on=())]
    )
    content = file_of(added)
    began = time.process_time()
    parsed = parse_generated(content, MORE, generator)
    spent = (time.process_time() - began) * 1000
    assert parsed.problems == ()
    return spent


@dataclass(frozen=True, slots=True, kw_only=True)
class Large:
    """A build whose generator has ended."""

    coordinator: Coordinator
    agent: AgentCaller
    build_id: str
    cost: Cost

    async def build(self) -> dict[str, Any]:
        return await self.coordinator.admin.build(self.build_id)

    async def approve(self, number: int = 0) -> None:
        [gate] = [one for one in (await self.build())["steps"] if one["name"] == f"g{number}"]
        path = f"/api/steps/{gate['id']}/approve"
        (await self.coordinator.admin.post(path, {})).expect(200)

    async def cancel(self) -> None:
        path = f"/api/projects/-/builds/{self.build_id}/cancel"
        (await self.coordinator.admin.post(path)).expect(200)

    async def statements_of_a_step(self) -> int:
        """From the report of one to that of the next, which comes with its answer; the fewest of
        some steps, for what runs by itself may come in between."""
        spec, counts = await self.agent.take(), []
        for _ in range(3):
            with collected() as sent:
                spec = await _next(self.agent, spec)
            counts.append(sum(not text.startswith("BEGIN") for text, _ in sent))
        return min(counts)


async def _next(agent: AgentCaller, spec: Mapping[str, Any]) -> dict[str, Any]:
    answer = await agent.complete(spec, next={"instance": "one"})
    return dict(answer.expect(200).json["next"])


async def large_build(coordinator: Coordinator, added: int, name: str = "shop") -> Large:
    admin = coordinator.admin
    project, agent = await admin.new_project(name=name), await admin.new_agent()
    tree = await new_work_tree(coordinator.data.parent, admin, project, name)
    await tree.commit({".pushrod.yml": WORKFLOW})
    await tree.push()
    spec = await agent.take()
    (await agent.upload(spec, MORE, file_of(added))).expect(201)
    with collected() as sent:
        began = time.process_time()
        answer = (await agent.complete(spec)).expect(200).json
        spent = (time.process_time() - began) * 1000
    assert answer["stepStatus"] == "SUCCESS", await admin.build(spec["buildId"])
    cost = Cost(statements=len(sent), processor_ms=spent)
    return Large(coordinator=coordinator, agent=agent, build_id=spec["buildId"], cost=cost)
