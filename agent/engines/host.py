"""The host engine: scripts run as plain processes of this machine, with the agent's rights.

Where the agent is root, scripts run as their project's own user instead (`user_ids.py`), who can
read neither the agent's data folder nor another project's files and processes, nor get rights back
(no_new_privs). Steps of one project are not isolated from each other: that is what containers are
for.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from agent.carried import in_thread
from agent.descriptors import are_lacking
from agent.engines.authorities import variables
from agent.engines.host_caches import HostCaches
from agent.engines.host_folders import (
    AttemptFolders,
    CacheLinks,
    begins_in,
    lay_source,
    link_cache,
    place_caches,
)
from agent.engines.host_trees import (
    copy_tree,
    own_small_tree,
    own_tree,
    owner_of,
    remove_tree,
    remove_trees,
)
from agent.engines.marked_processes import ATTEMPT_VARIABLE, end_marked
from agent.engines.outputs import Collected, collect_outputs
from agent.engines.protocol import (
    BEGINS_AS_COPY,
    EngineInfo,
    EngineUnavailable,
    ImageRequest,
    Outcome,
    OutputSink,
    StepRequest,
    StepResult,
)
from agent.engines.shells import command_of, no_folder, no_program
from agent.engines.supervised_script import Nursery, SupervisedScript
from agent.engines.user_ids import DEFAULT_USER_IDS, NoFreeUserIdError, UserIds
from agent.engines.value_file import Values, read_values
from agent.engines.work_folder import ROOT_WORK_FOLDER, WorkFolder, work_folder_for
from agent.settings import KEEP_DAYS
from pipelines_schema.log_frames import Stream
from pipelines_schema.step_outputs import OUTPUT_VARIABLE

USER_ID_TABLE = ROOT_WORK_FOLDER / "users" / "user-ids.json"
SCRIPT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""The same on every machine, whatever started the agent; a workflow's `env` may set another."""
SUPERVISOR_GRACE_SECONDS = 1.0
USER_ID_RETRY_SECONDS = 1.0
"""Ids are also freed by other agents, which tell us nothing."""


def script_environment(
    request: StepRequest, folders: AttemptFolders, *, has_authorities: bool = False
) -> dict[str, str]:
    """The whole environment of the script: nothing of the agent's."""
    return {
        "PATH": SCRIPT_PATH,
        "HOME": str(folders.home),
        "LANG": "C.UTF-8",
        "TMPDIR": str(folders.temporary),
        "SHELL": "/bin/bash",
        **(variables(str(folders.authorities)) if has_authorities else {}),
        **request.env,
        **request.secrets,
        **({"PUSHROD_SECRETS": str(folders.secrets)} if request.secrets else {}),
        "PUSHROD_WORKSPACE": str(folders.workspace),
        OUTPUT_VARIABLE: str(folders.values),
        ATTEMPT_VARIABLE: request.attempt_id,
    }


def _unenforced(request: StepRequest) -> list[str]:
    """What is asked for but not done here, for people."""
    asked = {"memory": request.memory_bytes, "cpus": request.cpus}
    names = " and ".join(name for name, limit in asked.items() if limit is not None)
    return [f"resources: the host engine does not limit {names}."] if names else []


def refusal(request: StepRequest) -> str | None:
    """Why this step can't be run by any shell, or None."""
    if request.own_command:
        return "The step runs an image, which the host engine can't: it needs an agent on BuildKit."
    if request.privileged:
        return (
            "The step is `privileged`, which the host engine can't make it: it runs scripts as "
            "users of this machine. Run it on BuildKit."
        )
    if request.services:
        names = ", ".join(f"`{service.name}`" for service in request.services)
        return (
            f"The step has the services {names}, which the host engine can't run: it runs no "
            "images. Remove `services`, or run the step on BuildKit."
        )
    if request.user:
        return (
            f"The step asks for the user {request.user}, which the host engine can't give it: its "
            "scripts run as the project's own user. Remove `user`, or run it on BuildKit."
        )
    if "\0" in request.script:
        line = request.script[: request.script.index("\0")].count("\n") + 1
        return f"The script has a NUL byte on line {line}; remove it."
    for name, value in request.env.items():
        if "\0" in name or "\0" in value or "=" in name or not name:
            shown = name.replace("\0", "\\0")
            return f"The environment variable {shown!r} has a NUL byte or an impossible name."
    return None


class HostEngine:
    """Runs each attempt below `work_dir`, as its project's own user where the agent is root."""

    def __init__(
        self,
        *,
        data_dir: Path,
        work_dir: Path | None = None,
        user_ids: range = DEFAULT_USER_IDS,
        user_id_table: Path = USER_ID_TABLE,
        authorities: str = "",
        keep_days: int = KEEP_DAYS,
    ) -> None:
        work_dir = work_dir or work_folder_for(data_dir)
        users = UserIds(table=user_id_table, work_dir=work_dir, ids=user_ids)
        self._users = users if os.geteuid() == 0 else None
        self._folder = WorkFolder(work_dir, data_dir=data_dir, others_pass=self._users is not None)
        self._nursery = Nursery()
        self._bash: str | None = None
        self._authorities = authorities
        self._caches = HostCaches(self._folder.caches, keep_days=keep_days)

    async def check(self) -> EngineInfo:
        """Make the work folder. Raises EngineUnavailable where bash is missing or it can't."""
        bash = self._found_bash()
        if bash is None:
            raise EngineUnavailable("bash is not installed: apt-get install bash")
        try:
            await asyncio.to_thread(self._folder.make)
        except OSError as error:
            raise EngineUnavailable(
                f"the work folder {self._folder.path} can't be used: {error}"
            ) from error
        return EngineInfo(name="host", version=os.uname().release, address=bash)

    def _found_bash(self) -> str | None:
        """Where it was, if it still is there."""
        if self._bash is None or not os.access(self._bash, os.X_OK):
            self._bash = shutil.which("bash")
        return self._bash

    async def close(self) -> None:
        """Leave no empty folders; caches stay for the next start."""
        self._nursery.close()
        await asyncio.to_thread(self._folder.close)

    async def reap(self, attempt_id: str) -> None:
        """Wait until the supervisor of a dead agent has done its work, then do what is left."""
        await asyncio.to_thread(end_marked, attempt_id, SUPERVISOR_GRACE_SECONDS)
        await asyncio.to_thread(remove_tree, self._folders(attempt_id).root)

    @property
    def builds_images(self) -> bool:
        return False

    @property
    def platforms(self) -> Sequence[str]:
        return ()

    @property
    def allows_privileged(self) -> bool:
        return False

    @property
    def ends_at_term(self) -> bool:
        return True

    async def build_image(self, request: ImageRequest, output: OutputSink) -> StepResult:
        message = "The host engine can't build images: an agent with BuildKit can."
        return StepResult(outcome=Outcome.ENGINE_FAILED, message=message)

    async def run(self, request: StepRequest, output: OutputSink) -> StepResult:
        problem = refusal(request)
        bash = self._found_bash()
        if problem is None and bash is None:
            problem = "bash is not installed: apt-get install bash"
        if problem is not None:
            return StepResult(outcome=Outcome.ENGINE_FAILED, message=problem)
        with self._user_held(request.isolation):
            return await self._run(request, str(bash), output)

    @contextmanager
    def _user_held(self, name: str) -> Iterator[None]:
        """Let the user of that name be nobody else's."""
        if self._users is None:
            yield
            return
        self._users.hold(name)
        try:
            yield
        finally:
            self._users.let_go(name)

    def _clear(self, uid: int) -> bool:
        """Remove an idle project's caches; False if an attempt that died is not cleaned up yet."""
        self._folder.make()
        if any(owner_of(path) == uid for path in self._folder.attempts.iterdir()):
            return False
        for path in self._caches.folder.iterdir():
            if owner_of(path) == uid:
                remove_tree(path)
        return True

    async def _run(self, request: StepRequest, bash: str, output: OutputSink) -> StepResult:
        folders = self._folders(request.attempt_id)
        caches = place_caches(request.cache_mounts, folders)
        self._caches.borrow(request)
        succeeded = False
        going: Sequence[Path] | None = None
        try:
            uid = await self._prepare(request, folders, caches, output)
            result = await self._run_script(request, folders, bash, uid, output)
            succeeded = result.exit_code == 0
            collected = await self._collect(request, folders, uid)
            going = self._caches.give_back(request, succeeded=succeeded)
            values = await in_thread(self._leave, request, folders, uid, going)
            return StepResult(
                outcome=result.outcome,
                exit_code=result.exit_code,
                message=result.message,
                notes=(*_unenforced(request), *caches.notes, *result.notes, *collected.notes),
                unkept=(*collected.unkept, *values.unkept),
                values=values.written,
            )
        except OSError as error:
            if are_lacking(error):
                raise
            return StepResult(outcome=Outcome.ENGINE_FAILED, message=f"The host engine: {error}")
        finally:
            if going is None:
                going = self._caches.give_back(request, succeeded=succeeded)
                await asyncio.shield(asyncio.to_thread(remove_trees, [folders.root, *going]))

    async def _collect(
        self, request: StepRequest, folders: AttemptFolders, uid: int | None
    ) -> Collected:
        if not request.output_paths or request.end.made:
            return Collected()
        return await asyncio.to_thread(
            collect_outputs,
            folders.workspace,
            request.output_paths,
            request.outputs,
            owner=uid,
            above=self._folder.attempts,
        )

    def _leave(
        self,
        request: StepRequest,
        folders: AttemptFolders,
        uid: int | None,
        going: Sequence[Path],
    ) -> Values:
        """What the script hands on, once its folders and those caches are removed. Blocking."""
        try:
            return self._values(request, folders, uid)
        finally:
            remove_trees([folders.root, *going])

    def _values(self, request: StepRequest, folders: AttemptFolders, uid: int | None) -> Values:
        """Blocking."""
        if request.end.made:
            return Values()
        owner = os.geteuid() if uid is None else uid
        return read_values(folders.values, above=self._folder.attempts, owner=owner)

    def _folders(self, attempt_id: str) -> AttemptFolders:
        return AttemptFolders(root=self._folder.attempts / attempt_id)

    async def _prepare(
        self,
        request: StepRequest,
        folders: AttemptFolders,
        caches: CacheLinks,
        output: OutputSink,
    ) -> int | None:
        """Lay out all that the script finds; whose it is, None where that is the agent's user."""
        told = False
        while True:
            try:
                uid, copied = await in_thread(self._begin, request, folders, caches)
                break
            except NoFreeUserIdError as error:
                if not told:
                    output.write(Stream.STDERR, f"waits for a free user id: {error}\n".encode())
                told = True
            await asyncio.sleep(USER_ID_RETRY_SECONDS)
        if request.source is not None:
            await lay_source(request.source, folders.workspace)
        if request.inputs is not None:
            await copy_tree([request.inputs], folders.workspace)
        if request.brings_files:
            copied = await in_thread(self._hand_over, folders, caches, uid)
        for path in copied:
            output.write(Stream.STDOUT, f"{BEGINS_AS_COPY.format(path=path)}\n".encode())
        return uid

    def _begin(
        self, request: StepRequest, folders: AttemptFolders, caches: CacheLinks
    ) -> tuple[int | None, Sequence[str]]:
        """All of it that needs no source. Blocking. Raises NoFreeUserIdError, OSError."""
        users = self._users
        uid = None if users is None else users.allot(request.isolation, self._clear)
        self._make_folders(request, folders)
        if request.brings_files:
            return uid, ()
        return uid, self._hand_over(folders, caches, uid)

    def _make_folders(self, request: StepRequest, folders: AttemptFolders) -> None:
        try:
            folders.root.mkdir(mode=0o700)
        except FileNotFoundError:
            self._folder.make()
            folders.root.mkdir(mode=0o700)
        for folder in (folders.workspace, folders.home, folders.temporary):
            folder.mkdir(mode=0o755)
        if request.secrets:
            folders.secrets.mkdir(mode=0o700)
        for name, value in request.secrets.items():
            file = folders.secrets / name
            file.touch(mode=0o600)
            file.write_text(value, encoding="utf-8", newline="")
        if self._authorities:
            folders.authorities.write_text(self._authorities)
        folders.script.write_bytes(request.script.encode("utf-8", "surrogateescape"))
        folders.script.chmod(0o600)
        folders.values.touch(mode=0o600)

    def _hand_over(
        self, folders: AttemptFolders, caches: CacheLinks, uid: int | None
    ) -> Sequence[str]:
        """Link the caches, then make everything the script's user's own; the caches that begin as
        copies of others."""
        if caches.links:
            self._folder.make()  # somebody may have cleared the caches away
        copied = []
        for place, mount in caches.links.items():
            if self._caches.make(mount, uid):
                copied.append(mount.path)
            link_cache(place, self._caches.path(mount.id), folders)
        if uid is not None and not own_small_tree(folders.root, uid):
            own_tree(folders.root, uid)
        return copied

    async def _run_script(
        self,
        request: StepRequest,
        folders: AttemptFolders,
        bash: str,
        uid: int | None,
        output: OutputSink,
    ) -> StepResult:
        env = script_environment(request, folders, has_authorities=bool(self._authorities))
        program, *arguments = command_of(request.shell)
        found = bash if program == "bash" else shutil.which(program, path=env.get("PATH"))
        if found is None:
            output.write(Stream.STDOUT, no_program(program).encode())
            return StepResult(outcome=Outcome.EXITED, exit_code=127)
        place = begins_in(folders.workspace, request.workdir)
        if place is None:
            output.write(Stream.STDOUT, no_folder(request.workdir).encode())
            return StepResult(outcome=Outcome.EXITED, exit_code=1)
        process = SupervisedScript(
            nursery=self._nursery,
            attempt_id=request.attempt_id,
            argv=[found, *arguments, str(folders.script)],
            env=env,
            cwd=place,
            uid=uid,
            offline=request.offline,
            output=output,
            grace_seconds=request.grace_seconds,
            end=request.end,
            term=request.term,
        )
        return await process.run(request.timeout_seconds)
