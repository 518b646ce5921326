"""What `.git` adds to a step whose commit agent and engine know, counted: on one agent in this
process, steps of a repository of FILES files that have it and have it not, in turns.

    python -m tests.integration.git_counts FILES [BUILDKIT-ADDRESS IMAGE]

Writes JSON. A process of its own, since an audit hook can't be taken off again. The processor time
is this process's, without the `cp` of the files, which takes a hundred times as long and as much
more or less from step to step, and without the engine's. Of everything it is the median of the
differences between neighbours, which a busy machine moves little.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from agent.engines.buildkit.engine import BuildKitEngine
from agent.engines.protocol import Engine
from agent.settings import AgentSettings
from agent.worker import Agent
from tests.integration.agent_bench import Bench, ended, open_bench

FILE_BYTES = 2_000
PAIRS = 3
SETTLED_SECONDS = 0.3
USER_IDS = range(60590, 60594)
"""As in `agent_counts`."""

counts: Counter[str] = Counter()


def audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "os.mkdir":
        counts["made"] += 1
    elif event == "open" and isinstance(arguments[0], str):
        counts["opened"] += 1
        counts["made"] += bool(arguments[2] & os.O_CREAT)
    elif event in ("subprocess.Popen", "os.posix_spawn"):
        counts["processes"] += 1


def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        counts[name] += 1
        return function(*arguments, **named)

    return call


def repository_of(bench: Bench, files: int) -> str:
    """Its commit."""
    bench.make_repository()
    numbers = random.Random(1)
    for number in range(files):
        path = bench.root / "clone" / f"d{number % 100:02}" / f"f{number}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(numbers.randbytes(FILE_BYTES // 2).hex())
    return bench.commit()


async def measured(files: int, address: str, image: str) -> dict[str, float]:
    async with open_bench(USER_IDS) as bench:
        commit = repository_of(bench, files)
        engine: Engine = bench.new_engine()
        if address:
            engine = BuildKitEngine(address, data_dir=bench.data, log_limits_lifted=True)
        settings = AgentSettings(
            url=bench.coordinator.url,
            token=bench.coordinator.registration_token,
            data_dir=bench.data,
            name="agent",
            slots=1,
        )
        agent = Agent(settings, engine)
        running = asyncio.create_task(agent.run())
        try:
            return await _compared(bench, commit, image)
        finally:
            agent.cancel_all()
            await asyncio.wait_for(running, 60)


async def _compared(bench: Bench, commit: str, image: str) -> dict[str, float]:
    plain = bench.source(commit)
    sources: Mapping[bool, Mapping[str, Any]] = {
        False: plain,
        True: {**plain, "git": {"depth": 1, "state": "one"}},
    }
    differences: dict[str, list[float]] = {}
    for number in range(PAIRS + 1):
        costs = {}
        for has_git in (True, False) if number % 2 else (False, True):
            costs[has_git] = await _costs(bench, sources[has_git], image)
        if number:  # the first pair warms agent and engine up
            for name in costs[True].keys() | costs[False].keys():
                more = costs[True].get(name, 0.0) - costs[False].get(name, 0.0)
                differences.setdefault(name, []).append(more)
    return {name: statistics.median(values) for name, values in differences.items()}


async def _costs(bench: Bench, source: Mapping[str, Any], image: str) -> dict[str, float]:
    await asyncio.sleep(SETTLED_SECONDS)
    counts.clear()
    bench.coordinator.requests.clear()
    before = time.process_time()
    step = bench.coordinator.add_step("true", image=image, source=dict(source))
    await ended(step)
    await asyncio.sleep(SETTLED_SECONDS)
    assert step.completion is not None
    assert step.completion.exit_code == 0, step.completion
    spent = time.process_time() - before
    requests = sum(
        n for name, n in bench.coordinator.requests.items() if name not in ("poll", "renew")
    )
    return {
        **counts,
        "requests": requests,
        "fetches": bench.coordinator.requests["git"],
        "cpuMs": spent * 1000,
    }


def main() -> None:
    os.fsync = counted("synced", os.fsync)
    os.fdatasync = counted("synced", os.fdatasync)
    ThreadPoolExecutor.submit = counted("threads", ThreadPoolExecutor.submit)  # type: ignore[method-assign]
    sys.addaudithook(audit)
    address, image = sys.argv[2:4] if len(sys.argv) > 3 else ("", "any")
    json.dump(asyncio.run(measured(int(sys.argv[1]), address, image)), sys.stdout)


if __name__ == "__main__":
    main()
