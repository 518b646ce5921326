"""What an agent does for a step, counted: STEPS, one after another, as a chain's come.

Writes JSON: how often for a step, and its processor time in milliseconds, the fake coordinator's
part included. A process of its own, since an audit hook can't be taken off again.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.integration.agent_bench import ended, open_bench

WARM_UP_STEPS = 3
SETTLED_SECONDS = 0.3
USER_IDS = range(60582, 60590)
"""Of no other agent, by a table of no other: each id that another is given costs one more look."""

counts: Counter[str] = Counter()


def audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "os.mkdir":
        counts["made"] += 1
    elif event == "open" and isinstance(arguments[0], str):
        counts["opened"] += 1
        counts["made"] += bool(arguments[2] & os.O_CREAT)


def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        counts[name] += 1
        return function(*arguments, **named)

    return call


async def measured(steps: int) -> dict[str, float]:
    async with open_bench(USER_IDS) as bench, bench.agent(slots=1):
        for _ in range(WARM_UP_STEPS):
            await ended(bench.coordinator.add_step("echo warm"))
        await asyncio.sleep(SETTLED_SECONDS)
        counts.clear()
        began = time.process_time()
        for number in range(steps):
            await ended(bench.coordinator.add_step(f"echo {number}"))
        await asyncio.sleep(SETTLED_SECONDS)
        milliseconds = (time.process_time() - began) * 1000
        return {name: count / steps for name, count in counts.items()} | {
            "cpuMs": milliseconds / steps
        }


os.fsync = counted("synced", os.fsync)
os.fdatasync = counted("synced", os.fdatasync)
ThreadPoolExecutor.submit = counted("threads", ThreadPoolExecutor.submit)  # type: ignore[method-assign]
sys.addaudithook(audit)
json.dump(asyncio.run(measured(int(sys.argv[1]))), sys.stdout)
