"""One build of the working tree: from the files to the exit code."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pushrod.audiences import MarkedLines
from pushrod.client import Client
from pushrod.connection import Connection, ConnectionOptions
from pushrod.errors import CommandError
from pushrod.following import Audience, follow_build
from pushrod.local.errors import CannotRun
from pushrod.local.gates import Gates
from pushrod.local.interrupts import Interrupts
from pushrod.local.live_view import LiveView, wants_live
from pushrod.local.place import RunPlace, run_place
from pushrod.local.refs import KnownRefs, known_refs
from pushrod.local.secrets_file import read_secrets
from pushrod.local.snapshot import Snapshot, take_snapshot
from pushrod.presentation import FINISHED_STEPS, duration_text, problem_line, say
from pushrod.references import steps_of
from pushrod.transport import Json

if TYPE_CHECKING:
    from agent.worker import Agent
    from coordinator.domain.model import Project
    from coordinator.services.builds.drafts import Draft
    from pushrod.local.coordinator import LocalCoordinator

SUCCEEDED, FAILED = 0, 1
REPORTED_SECONDS = 2.0
"""In which a build ends whose agent has reported all that it ran."""
ANY_LABELS = {"*": "*"}
HEAVY = ("coordinator.local_app", "agent.opening", "agent.worker", "pushrod.local.coordinator")
ENGINES = (
    "use another by --engine: `buildkit` (this machine's own, brought up if need be), an address "
    "such as unix:///run/docker.sock, or `host`, which runs scripts as plain processes of yours, "
    "with no container around them"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    folder: Path
    workflow: str | None = None
    steps: Sequence[str] = ()
    matrix: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    secrets_file: Path | None = None
    approved: Sequence[str] = ()
    images: Mapping[str, str] = field(default_factory=dict)
    """References by what workflows call them."""
    engine: str = "auto"
    slots: int = 2
    ca_file: Path | None = None
    output: Path | None = None
    only_list: bool = False
    send: str | None = None
    """Where results go: see `sending.destination`."""
    connection: ConnectionOptions = field(default_factory=ConnectionOptions)


async def run_here(options: RunOptions) -> int:
    """The exit code. Raises CannotRun, CommandError."""
    interrupts = Interrupts()
    with interrupts.heard():
        try:
            code = await _run(options, interrupts)
        except (asyncio.CancelledError, CommandError, BaseExceptionGroup):
            if interrupts.exit_code is None:
                raise
            code = FAILED
    return interrupts.exit_code or code


async def _run(options: RunOptions, interrupts: Interrupts) -> int:
    secrets = read_secrets(options.secrets_file)
    _check_output(options.output)
    with run_place(options.engine) as place:
        # While git reads the files, a thread imports what takes the longest.
        snapshot, _ = await _both(
            take_snapshot(options.folder, place.scratch), asyncio.to_thread(_import_heavy)
        )
        refs = await known_refs(snapshot)
        for note in snapshot.notes:
            say(f"note: {note}")
        sends_to = await _destination(options, refs)
        from pushrod.local.coordinator import local_coordinator

        async with local_coordinator(place) as local:
            run = _Run(
                options=options, place=place, local=local, snapshot=snapshot, refs=refs,
                interrupts=interrupts, sends_to=sends_to,
            )  # fmt: skip
            return await run.to_its_end(secrets)


async def _destination(options: RunOptions, refs: KnownRefs) -> tuple[Connection, str] | None:
    """A coordinator and the id of its project, asked before anything runs. Raises CannotRun."""
    if options.send is None:
        return None
    from pushrod.local.sending import destination

    try:
        found = destination(options.send, options.connection, refs.project)
        return found.connection, await found.project_id()
    except CommandError as error:
        raise CannotRun(f"--send: {error.message}") from error


def _check_output(folder: Path | None) -> None:
    """Before anything runs. Raises CannotRun where outputs of another run would be in the way."""
    if folder is not None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CannotRun(f"{folder} is no empty folder: remove it, or name another by --output")


async def _both(one: Awaitable[Snapshot], other: Awaitable[None]) -> tuple[Snapshot, None]:
    """The first failure ends both."""
    async with asyncio.TaskGroup() as group:
        first, second = group.create_task(_awaited(one)), group.create_task(_awaited(other))
    return first.result(), second.result()


async def _awaited(work: Awaitable[Any]) -> Any:
    return await work


def _import_heavy() -> None:
    for name in HEAVY:
        import_module(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    options: RunOptions
    place: RunPlace
    local: LocalCoordinator
    snapshot: Snapshot
    refs: KnownRefs
    interrupts: Interrupts
    sends_to: tuple[Connection, str] | None = None

    async def to_its_end(self, secrets: Mapping[str, str]) -> int:
        project = await self.local.project_of(
            self.snapshot, self.refs, self.place.data / "repositories"
        )
        draft = await self._draft(project, secrets)
        if self.options.only_list:
            from pushrod.local.listing import show_steps

            show_steps(draft)
            return SUCCEEDED
        async with self._agent() as agent, Client(self.local.connection) as client:
            await self.local.name_images(self.options.images)
            build = await self.local.begin(project, draft, secrets)
            return await self._follow(client, agent, build.id)

    async def _draft(self, project: Project, secrets: Mapping[str, str]) -> Draft:
        """Raises CannotRun with all that is wrong."""
        from pushrod.local.chosen import (
            check_gates,
            choose_workflow,
            missing_secrets,
            only_chosen,
        )

        options, commit = self.options, self.snapshot.commit
        path, whole = choose_workflow(await self.local.workflows(project, commit), options.workflow)
        chosen = only_chosen(whole, options.steps, options.matrix)
        check_gates(chosen, options.approved)
        draft = await self.local.draft(project, chosen, self.refs, commit, options.params)
        if draft.problems:
            lines = [problem_line(problem.to_json()) for problem in draft.problems]
            raise CannotRun("\n".join(["the workflow has mistakes", *lines]))
        missing = [] if options.only_list else missing_secrets(chosen, secrets)
        if missing:
            raise CannotRun("\n".join(["secrets are missing", *missing]))
        state = "with what is not committed" if self.snapshot.is_dirty else "as committed"
        say(f"-- {chosen.name} ({path}) on {self.refs.branch}, {state}: {_steps(len(draft.steps))}")
        return draft

    @asynccontextmanager
    async def _agent(self) -> AsyncIterator[_Working]:
        """An agent that works while the block runs; at its end it has ended all that ran."""
        from agent.engines.protocol import EngineUnavailable
        from agent.opening import create_agent
        from agent.settings import InvalidSettingsError

        options, place = self.options, self.place
        try:
            agent = await create_agent(
                url=self.local.connection.url,
                token=self.local.connection.token,
                data_dir=place.agent,
                name="pushrod run",
                slots=options.slots,
                labels=ANY_LABELS,
                engine=options.engine,
                ca_file=options.ca_file,
                by_itself=False,
                socket=place.socket,
                repositories=place.data / "repositories",
                lasting_dir=place.lasting,
            )
        except EngineUnavailable as error:
            raise CannotRun(_no_engine(error)) from error
        except InvalidSettingsError as error:
            raise CannotRun(str(error)) from error
        working = _Working(agent=agent, task=asyncio.create_task(agent.run(), name="agent"))
        self.interrupts.kill = working.kill
        try:
            yield working
        finally:
            self.interrupts.kill = None
            await working.end()

    async def _follow(self, client: Client, agent: _Working, build_id: str) -> int:
        build = await client.build(build_id)
        _say_problems(build)
        began = time.monotonic()
        async with self._view([str(step["name"]) for step in steps_of(build)]) as audience:
            gates = Gates(
                client=client,
                approved=self.options.approved,
                asks=sys.stdin.isatty() and sys.stderr.isatty(),
                pause=audience.pause if isinstance(audience, LiveView) else lambda paused: None,
            )
            following = asyncio.create_task(
                follow_build(client, build_id, audience, is_enough=gates.look)
            )
            self.interrupts.cancel = lambda: _cancel(self.local, build_id, following)
            try:
                await _first_of(following, agent.task)
                finished = await agent.unless_it_failed(following)
            finally:
                self.interrupts.cancel = None
                gates.close()
                following.cancel()
        code = _tell_end(finished, gates, time.monotonic() - began)
        if self.sends_to is not None and self.interrupts.exit_code is None:
            from pushrod.local.sending import send_results

            await send_results(self.local.services.core, build_id, *self.sends_to)
        if self.options.output is not None:
            await _take_outputs(client, finished, self.options.output)
        return code

    @asynccontextmanager
    async def _view(self, names: list[str]) -> AsyncIterator[Audience]:
        if not wants_live(os.environ):
            yield MarkedLines(names)
            return
        view = LiveView(names)
        drawing = asyncio.create_task(view.run())
        try:
            yield view
        finally:
            drawing.cancel()
            with suppress(asyncio.CancelledError):
                await drawing


def _steps(count: int) -> str:
    return "1 step" if count == 1 else f"{count} steps"


def _no_engine(error: BaseException) -> str:
    return f"no engine to run steps: {' '.join(str(error).split())}; {ENGINES}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Working:
    agent: Agent
    task: asyncio.Task[None]

    async def unless_it_failed(self, following: asyncio.Task[Json]) -> Json:
        """What was followed. Raises CannotRun where the agent has ended before."""
        error = self.task.exception() if self.task.done() and not following.done() else None
        if error is not None:
            raise CannotRun(_no_engine(error)) from error
        if self.task.done():
            await asyncio.wait({following}, timeout=REPORTED_SECONDS)
        if self.task.done() and not following.done():
            raise CommandError("the steps that ran were killed")
        return await following

    def kill(self) -> None:
        """What was asked to end before, or is asked now, gets no time for it."""
        self.agent.cancel_all()
        self.agent.cancel_all()

    async def end(self) -> None:
        """Nothing runs any more where the build has finished; what does is asked to end."""
        self.agent.cancel_all()
        with suppress(Exception):  # it was told, or is of no interest any more
            await asyncio.shield(self.task)


async def _first_of(*tasks: asyncio.Task[Any]) -> None:
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


_CANCELLING: set[asyncio.Task[Any]] = set()


def _cancel(local: LocalCoordinator, build_id: str, following: asyncio.Task[Json]) -> None:
    say("-- cancelling: running steps are asked to end; once more kills them")

    async def cancel() -> None:
        try:
            await local.cancel(build_id)
        except Exception:  # it has finished meanwhile, or can't be reached: then nothing is awaited
            following.cancel()

    task = asyncio.create_task(cancel())
    _CANCELLING.add(task)
    task.add_done_callback(_CANCELLING.discard)


def _say_problems(build: Json) -> None:
    """Of a build that failed as it was made. Raises CannotRun."""
    problems = [problem_line(problem) for problem in build.get("problems", [])]
    if problems:
        raise CannotRun("\n".join([str(build.get("reason") or "the build can't run"), *problems]))


def _tell_end(build: Json, gates: Gates, seconds: float) -> int:
    unfinished = [s for s in steps_of(build) if s["status"] not in FINISHED_STEPS]
    for step in unfinished:
        why = "waits for an approval" if step["id"] in gates.closed else "is behind one that waits"
        say(f"-- {step['name']}: not run: {why}")
    if unfinished:
        names = [str(step["name"]) for step in unfinished if step["id"] in gates.closed]
        say(f"-- approve by --approve {names[0] if names else 'all'}, or at a terminal")
        failed = any(s["status"] == "FAILED" and not s.get("allowFailure") for s in steps_of(build))
        state = "failed" if failed else "succeeded, as far as it was run"
    else:
        failed, state = build["state"] != "succeeded", str(build["state"])
    reason = f" ({build['reason']})" if build.get("reason") else ""
    say(f"-- {state}{reason} in {duration_text(seconds)}")
    return FAILED if failed else SUCCEEDED


async def _take_outputs(client: Client, build: Json, folder: Path) -> None:
    """What the steps left, each step's in a folder of its name. Raises CommandError."""
    from pushrod.downloads import folder_of, lay, outputs_of

    for step in steps_of(build):
        if step["status"] == "SUCCESS" and (left := await outputs_of(client, step)):
            place = folder_of(step, folder)
            await lay(client, left, place)
            say(f"-- {step['name']}: outputs in {place}")
