"""An agent as a process of its own, for tests that kill it: URL TOKEN DATA WORK SLOTS."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from pathlib import Path

from agent.engines.host import HostEngine
from agent.settings import AgentSettings
from agent.worker import Agent


async def main() -> None:
    url, token, data, work, slots = sys.argv[1:]
    settings = AgentSettings(
        url=url, token=token, data_dir=Path(data), name="agent", slots=int(slots)
    )
    agent = Agent(settings, HostEngine(data_dir=settings.data_dir, work_dir=Path(work)))
    signals: list[int] = []

    def on_signal() -> None:
        signals.append(1)
        agent.begin_drain() if len(signals) == 1 else agent.cancel_all()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, on_signal)
    await agent.run()


logging.basicConfig(level="INFO", stream=sys.stderr)
asyncio.run(main())
