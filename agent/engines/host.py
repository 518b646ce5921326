"""The host engine: scripts run as plain processes of this machine, with the agent's rights.

Where the agent is root, scripts run as `uid` instead, a user that can read neither the agent's
data folder nor get rights back (no_new_privs). Steps that run at the same time are not isolated
from each other: that is what containers are for.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
from pathlib import Path

from agent.engines.host_caches import HostCaches
from agent.engines.host_folders import AttemptFolders, CacheLinks, place_caches
from agent.engines.host_trees import (
    copy_tree,
    own_small_tree,
    own_tree,
    remove_tree,
    remove_trees,
)
from agent.engines.marked_processes import ATTEMPT_VARIABLE, end_marked
from agent.engines.outputs import collect_outputs
from agent.engines.protocol import (
    EngineInfo,
    EngineUnavailable,
    ImageRequest,
    Outcome,
    OutputSink,
    StepRequest,
    StepResult,
)
from agent.engines.supervised_script import Nursery, SupervisedScript

DEFAULT_UID = 60600
"""Of the range that neither Debian nor systemd hands out (60578 to 61183)."""
ROOT_WORK_FOLDER = Path("/var/lib/pushrod-work")
"""Reachable by every user, unlike a data folder below /root or a home."""
SCRIPT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""The same on every machine, whatever started the agent; a workflow's `env` may set another."""
SUPERVISOR_GRACE_SECONDS = 1.0


def work_folder_for(data_dir: Path) -> Path:
    """The folder for workspaces and caches: reachable by the script's user, and without secrets."""
    if os.geteuid() != 0:
        return data_dir / "work"
    return ROOT_WORK_FOLDER / hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:16]


def script_environment(request: StepRequest, folders: AttemptFolders) -> dict[str, str]:
    """The whole environment of the script: nothing of the agent's."""
    return {
        "PATH": SCRIPT_PATH,
        "HOME": str(folders.home),
        "LANG": "C.UTF-8",
        "TMPDIR": str(folders.temporary),
        "SHELL": "/bin/bash",
        **request.env,
        **request.secrets,
        **({"PUSHROD_SECRETS": str(folders.secrets)} if request.secrets else {}),
        "PUSHROD_WORKSPACE": str(folders.workspace),
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
    if "\0" in request.script:
        line = request.script[: request.script.index("\0")].count("\n") + 1
        return f"The script has a NUL byte on line {line}; remove it."
    for name, value in request.env.items():
        if "\0" in name or "\0" in value or "=" in name or not name:
            shown = name.replace("\0", "\\0")
            return f"The environment variable {shown!r} has a NUL byte or an impossible name."
    return None


class HostEngine:
    """Runs each attempt below `work_dir`, as `uid` where the agent is root."""

    def __init__(self, *, work_dir: Path, uid: int = DEFAULT_UID) -> None:
        if uid <= 0:
            raise ValueError("scripts never run as root: the host engine's uid must be positive")
        self._work_dir = work_dir
        self._uid = uid if os.geteuid() == 0 else None
        self._nursery = Nursery()
        self._caches = HostCaches(work_dir / "caches")

    async def check(self) -> EngineInfo:
        """Make the work folder. Raises EngineUnavailable where bash is missing or it can't."""
        bash = shutil.which("bash")
        if bash is None:
            raise EngineUnavailable("bash is not installed: apt-get install bash")
        try:
            await asyncio.to_thread(self._make_work_folder)
        except OSError as error:
            raise EngineUnavailable(
                f"the work folder {self._work_dir} can't be used: {error}"
            ) from error
        return EngineInfo(name="host", version=os.uname().release, address=bash)

    async def close(self) -> None:
        """Leave no empty folders; caches stay for the next start."""
        self._nursery.close()
        for folder in (self._work_dir / "attempts", self._work_dir / "caches", self._work_dir):
            with contextlib.suppress(OSError):
                folder.rmdir()

    async def reap(self, attempt_id: str) -> None:
        """Wait until the supervisor of a dead agent has done its work, then do what is left."""
        await asyncio.to_thread(end_marked, attempt_id, SUPERVISOR_GRACE_SECONDS)
        await asyncio.to_thread(remove_tree, self._folders(attempt_id).root)

    @property
    def builds_images(self) -> bool:
        return False

    async def build_image(self, request: ImageRequest, output: OutputSink) -> StepResult:
        message = "The host engine can't build images: an agent with BuildKit can."
        return StepResult(outcome=Outcome.ENGINE_FAILED, message=message)

    async def run(self, request: StepRequest, output: OutputSink) -> StepResult:
        problem = refusal(request)
        bash = shutil.which("bash")
        if problem is None and bash is None:
            problem = "bash is not installed: apt-get install bash"
        if problem is not None:
            return StepResult(outcome=Outcome.ENGINE_FAILED, message=problem)
        folders = self._folders(request.attempt_id)
        caches = place_caches(request.cache_mounts, folders)
        self._caches.borrow(request)
        succeeded = False
        try:
            await self._prepare(request, folders, caches)
            result = await self._run_script(request, folders, str(bash), output)
            succeeded = result.exit_code == 0
            notes = await asyncio.to_thread(self._collect, request, folders)
            return StepResult(
                outcome=result.outcome,
                exit_code=result.exit_code,
                message=result.message,
                notes=(*_unenforced(request), *caches.notes, *result.notes, *notes),
            )
        except OSError as error:
            return StepResult(outcome=Outcome.ENGINE_FAILED, message=f"The host engine: {error}")
        finally:
            going = self._caches.give_back(request, succeeded=succeeded)
            await asyncio.shield(asyncio.to_thread(remove_trees, [folders.root, *going]))

    def _folders(self, attempt_id: str) -> AttemptFolders:
        return AttemptFolders(root=self._work_dir / "attempts" / attempt_id)

    def _make_work_folder(self) -> None:
        for folder in (self._work_dir, self._work_dir / "attempts", self._work_dir / "caches"):
            folder.mkdir(parents=True, exist_ok=True)
            # Others may pass through, but list nothing: the names below are theirs to know.
            folder.chmod(0o711 if self._uid is not None else 0o700)
        if self._uid is not None and self._work_dir.parent == ROOT_WORK_FOLDER:
            ROOT_WORK_FOLDER.chmod(0o711)

    async def _prepare(
        self, request: StepRequest, folders: AttemptFolders, caches: CacheLinks
    ) -> None:
        await asyncio.to_thread(self._make_work_folder)
        await asyncio.to_thread(self._make_folders, request, folders)
        if request.source is not None:
            async with request.source.open() as source:
                await copy_tree(source, folders.workspace)
        if request.inputs is not None:
            await copy_tree(request.inputs, folders.workspace)
        await asyncio.to_thread(self._hand_over, folders, caches)

    def _make_folders(self, request: StepRequest, folders: AttemptFolders) -> None:
        folders.root.mkdir(mode=0o700)
        for folder in (folders.workspace, folders.home, folders.temporary):
            folder.mkdir(mode=0o755)
        if request.secrets:
            folders.secrets.mkdir(mode=0o700)
        for name, value in request.secrets.items():
            file = folders.secrets / name
            file.touch(mode=0o600)
            file.write_text(value, encoding="utf-8", newline="")
        folders.script.write_bytes(request.script.encode("utf-8", "surrogateescape"))
        folders.script.chmod(0o600)

    def _hand_over(self, folders: AttemptFolders, caches: CacheLinks) -> None:
        """Link the caches, then make everything the script's user's own."""
        for place, cache_id in caches.links.items():
            self._link_cache(place, self._caches.path(cache_id), folders)
        if self._uid is not None and not own_small_tree(folders.root, self._uid):
            own_tree(folders.root, self._uid)

    def _link_cache(self, place: Path, cache: Path, folders: AttemptFolders) -> None:
        cache.mkdir(mode=0o755, exist_ok=True)
        if self._uid is not None and cache.stat().st_uid != self._uid:
            own_tree(cache, self._uid)
        # A link in the source must not lead the agent out of the attempt's folders.
        if not place.parent.resolve().is_relative_to(folders.root.resolve()):
            raise OSError(f"cacheDirs: {place} is behind a symbolic link")
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_dir() and not place.is_symlink():
            remove_tree(place)
        else:
            place.unlink(missing_ok=True)
        place.symlink_to(cache)

    def _collect(self, request: StepRequest, folders: AttemptFolders) -> tuple[str, ...]:
        return collect_outputs(
            folders.workspace,
            request.output_paths,
            request.outputs,
            owner=self._uid,
            above=self._work_dir / "attempts",
        )

    async def _run_script(
        self, request: StepRequest, folders: AttemptFolders, bash: str, output: OutputSink
    ) -> StepResult:
        process = SupervisedScript(
            nursery=self._nursery,
            attempt_id=request.attempt_id,
            argv=[bash, "-e", "-o", "pipefail", str(folders.script)],
            env=script_environment(request, folders),
            cwd=folders.workspace,
            uid=self._uid,
            offline=request.offline,
            output=output,
        )
        return await process.run(request.timeout_seconds)
