"""Agents without work, as many as wanted in one process: URL TOKEN_FILE COUNT.

Each is an agent's own client, with its retries. Every second a line of JSON says how many polls are
held, and how many requests were made and how many of them failed since the beginning.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

from agent.coordinator_client import CoordinatorClient
from agent.coordinator_errors import CoordinatorError
from agent.polling import QUICK_ANSWER_SECONDS
from agent.retries import keep_trying
from pipelines_schema.contract import PollRequest, RegisterRequest

REGISTER_AT_ONCE = 8
POLL_TIMEOUT_SECONDS = 70.0


@dataclass(slots=True)
class Counts:
    registered: int = 0
    held: int = 0
    requests: int = 0
    failed: int = 0


@dataclass(slots=True)
class IdleAgent:
    client: CoordinatorClient
    counts: Counts
    request: PollRequest

    async def go_on(self) -> None:
        while True:
            answer = await keep_trying(self._poll, self._failed, on=CoordinatorError)
            if answer < QUICK_ANSWER_SECONDS:
                await asyncio.sleep(QUICK_ANSWER_SECONDS)

    async def _poll(self) -> float:
        began = time.monotonic()
        self.counts.requests += 1
        self.counts.held += 1
        try:
            answer = await self.client.poll(self.request)
        finally:
            self.counts.held -= 1
        self.request = self.request.model_copy(update={"seen": answer.seen})
        return time.monotonic() - began

    def _failed(self, _error: Exception) -> None:
        self.counts.failed += 1


async def main(url: str, token: str, count: int) -> None:
    counts, few = Counts(), asyncio.Semaphore(REGISTER_AT_ONCE)

    async def one(number: int) -> None:
        async with CoordinatorClient(url, poll_timeout_seconds=POLL_TIMEOUT_SECONDS) as client:
            async with few:
                registered = await client.register(
                    token, RegisterRequest(name=f"idle-{number}", labels={"zone": "a"}, slots=2)
                )
            client.credential = registered.token
            counts.registered += 1
            request = PollRequest(
                labels={"zone": "a"},
                free=2,
                disk={"freeBytes": 10**11, "totalBytes": 10**12, "floorBytes": 10**9},
                capabilities=["users", "shells", "inputs", "services"],
                instance=uuid4().hex,
                takes_begun=True,
            )
            await IdleAgent(client, counts, request).go_on()

    async with asyncio.TaskGroup() as tasks:
        for number in range(count):
            tasks.create_task(one(number))
        while True:
            sys.stdout.write(json.dumps(asdict(counts)) + "\n")
            sys.stdout.flush()
            await asyncio.sleep(1)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]).read_text().strip(), int(sys.argv[3])))
