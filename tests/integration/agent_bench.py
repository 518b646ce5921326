"""What tests of the agent stand on: a strict coordinator, folders, an agent in or out of us."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from agent.engines.host import HostEngine
from agent.engines.host_trees import remove_tree
from agent.journal import FILE_NAME
from agent.journal_entries import SPOOL_SUFFIX, Phase
from agent.journal_records import Attempt, replayed
from agent.settings import AgentSettings
from agent.worker import Agent
from tests.integration.fake_coordinator import FakeCoordinator, Step

PATIENCE_SECONDS = 60.0


class Bench:
    def __init__(self, root: Path, user_ids: range | None = None) -> None:
        self.root = root
        self.user_ids = user_ids
        self.coordinator = FakeCoordinator(repositories=root / "repositories")
        self.data = root / "data"
        self.work = root / "work"
        self.processes: list[asyncio.subprocess.Process] = []

    def new_agent(
        self,
        *,
        slots: int = 2,
        max_steps: int | None = None,
        token: str | None = None,
        min_free_bytes: int = 1024,
        engine_dir: Path | None = None,
    ) -> Agent:
        settings = AgentSettings(
            url=self.coordinator.url,
            token=token or self.coordinator.registration_token,
            data_dir=self.data,
            name="agent",
            slots=slots,
            max_steps=max_steps,
            cancel_report_seconds=3.0,
            min_free_bytes=min_free_bytes,
            engine_dir=engine_dir,
        )
        return Agent(settings, self.new_engine())

    def new_engine(self) -> HostEngine:
        if self.user_ids is None:
            return HostEngine(data_dir=self.data, work_dir=self.work)
        return HostEngine(
            data_dir=self.data,
            work_dir=self.work,
            user_ids=self.user_ids,
            user_id_table=self.root / "users" / "user-ids.json",
        )

    @asynccontextmanager
    async def agent(self, *, slots: int = 2) -> AsyncIterator[Agent]:
        """An agent that works within the block and is drained at its end."""
        agent = self.new_agent(slots=slots)
        running = asyncio.create_task(agent.run())
        try:
            yield agent
        finally:
            agent.cancel_all()
            await asyncio.wait_for(running, PATIENCE_SECONDS)

    async def start_process(
        self, *, slots: int = 2, within: Sequence[str] = ()
    ) -> asyncio.subprocess.Process:
        """An agent, started by the command line `within` if there is one."""
        with open(self.root / "agent.log", "ab") as log:
            process = await asyncio.create_subprocess_exec(
                *within,
                sys.executable,
                str(Path(__file__).with_name("agent_process.py")),
                self.coordinator.url,
                self.coordinator.registration_token,
                str(self.data),
                str(self.work),
                str(slots),
                stderr=log,
                stdout=subprocess.DEVNULL,
            )
        self.processes.append(process)
        return process

    async def kill(self, process: asyncio.subprocess.Process) -> None:
        process.kill()
        await process.wait()

    @property
    def attempts(self) -> dict[str, Attempt]:
        """What the journal's file has, also that of a killed agent."""
        folder = self.data / "attempts"
        try:
            return replayed((folder / FILE_NAME).read_bytes(), folder).attempts
        except FileNotFoundError:
            return {}

    @property
    def journal(self) -> list[str]:
        """The attempts that are in the journal, or have left a file."""
        files = {
            path.name.removesuffix(SPOOL_SUFFIX) for path in (self.data / "attempts").iterdir()
        }
        return sorted(files - {FILE_NAME} | self.attempts.keys())

    def attempt(self, step: Step) -> Attempt | None:
        return self.attempts.get(f"{step.step_id}-{step.epoch}")

    def has_ended(self, step: Step) -> bool:
        """Whether the journal has how the step's script ended."""
        attempt = self.attempt(step)
        return attempt is not None and attempt.entry.phase is not Phase.ACCEPTED

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", "-c", "user.name=T", "-c", "user.email=t@example.org", *arguments],
            cwd=self.root / "clone",
            check=True,
            capture_output=True,
            text=True,
            env={"PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": str(self.root)},
        )
        return done.stdout.strip()

    def make_repository(self) -> None:
        """An empty repository at the coordinator and a clone of it to commit in."""
        bare = self.root / "repositories" / "acme" / "app.git"
        bare.mkdir(parents=True)
        (self.root / "clone").mkdir()
        self.git("init", "-q", "--bare", "-b", "main", str(bare))
        self.git("init", "-q", "-b", "main", ".")
        self.git("config", "core.autocrlf", "false")
        self.git("remote", "add", "origin", str(bare))

    def commit(self) -> str:
        """Commit and push everything in the clone."""
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "change")
        self.git("push", "-q", "origin", "main")
        return self.git("rev-parse", "HEAD")

    def source(self, commit: str) -> dict[str, str]:
        return {"url": f"{self.coordinator.url}/git/acme/app.git", "commit": commit}


async def ended(step: Step) -> Step:
    await asyncio.wait_for(step.ended.wait(), PATIENCE_SECONDS)
    return step


@asynccontextmanager
async def open_bench(user_ids: range | None = None) -> AsyncIterator[Bench]:
    """Its agents in this process share the machine's table of user ids with all others, or have
    `user_ids` and a table of their own."""
    # Not tmp_path: pytest makes that unreachable for the user scripts run as.
    root = Path(tempfile.mkdtemp(prefix="pushrod-agent-"))
    root.chmod(0o711)
    bench = Bench(root, user_ids)
    await bench.coordinator.start()
    try:
        yield bench
        assert bench.coordinator.breaches == [], bench.coordinator.breaches
    finally:
        for process in bench.processes:
            if process.returncode is None:
                await bench.kill(process)
        await bench.coordinator.stop()
        await asyncio.to_thread(remove_tree, root)
