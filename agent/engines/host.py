"""The host engine: scripts run as plain processes of this machine, with the agent's rights.

Where the agent is root, scripts run as `uid` instead, a user that can read neither the agent's
data folder nor get rights back (no_new_privs). Steps that run at the same time are not isolated
from each other: that is what containers are for.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import marshal
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.engines.host_caches import HostCaches
from agent.engines.outputs import collect_outputs
from agent.engines.protocol import (
    CacheMount,
    EngineInfo,
    EngineUnavailable,
    ImageRequest,
    Outcome,
    OutputSink,
    StepRequest,
    StepResult,
)
from agent.journal import remove_folder
from pipelines_schema.contract import WORKSPACE
from pipelines_schema.log_frames import Stream

DEFAULT_UID = 60600
"""Of the range that neither Debian nor systemd hands out (60578 to 61183)."""
ROOT_WORK_FOLDER = Path("/var/lib/pushrod-work")
"""Reachable by every user, unlike a data folder below /root or a home."""
SCRIPT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""The same on every machine, whatever started the agent; a workflow's `env` may set another."""
ATTEMPT_VARIABLE = "PUSHROD_HOST_ATTEMPT"
"""In the environment of every process of an attempt, so that `reap` finds them."""
MAX_ATTEMPT_ID_CHARACTERS = 200
SMALL_TREE_ENTRIES = 500
"""So many files are handled here; for more, a process is started."""
PIPE_BYTES = 1 << 20
SUPERVISOR_END_SECONDS = 10.0
SUPERVISOR_GRACE_SECONDS = 1.0
REAP_SECONDS = 10.0
CONTAINER_HOME = "/root"


class LeftoverProcessesError(Exception):
    """Some process of an attempt could not be ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFolders:
    """The folders of one attempt, all owned by the user who runs the script."""

    root: Path

    @property
    def workspace(self) -> Path:
        return self.root / "workspace"

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def temporary(self) -> Path:
        return self.root / "tmp"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def script(self) -> Path:
        return self.root / "script.sh"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheLinks:
    links: Mapping[Path, str]
    """Where the script sees a cache → the cache's id."""
    notes: Sequence[str]


def work_folder_for(data_dir: Path) -> Path:
    """The folder for workspaces and caches: reachable by the script's user, and without secrets."""
    if os.geteuid() != 0:
        return data_dir / "work"
    return ROOT_WORK_FOLDER / hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:16]


def place_caches(mounts: Sequence[CacheMount], folders: AttemptFolders) -> CacheLinks:
    """Say where each cache's link goes; the host has no mounts, so only two places are possible."""
    links: dict[Path, str] = {}
    notes = []
    for mount in mounts:
        place = _cache_place(mount.path, folders)
        if place is None:
            notes.append(
                f"cacheDirs: the host engine ignores {mount.path}: it can keep only caches below "
                f"{WORKSPACE} or the home folder (~)."
            )
        else:
            links[place] = mount.id
    return CacheLinks(links=links, notes=tuple(notes))


def _cache_place(path: str, folders: AttemptFolders) -> Path | None:
    if ".." in Path(path).parts or not Path(path).name:
        return None
    for prefix, folder in (
        (WORKSPACE, folders.workspace),
        (CONTAINER_HOME, folders.home),
        ("~", folders.home),
        ("$HOME", folders.home),
        ("${HOME}", folders.home),
    ):
        if path.startswith(prefix + "/"):
            below = path[len(prefix) :].strip("/")
            return folder / below if Path(below).name else None
    return None if path.startswith(("/", "~", "$")) else folders.workspace / path


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
        await asyncio.to_thread(_end_marked, attempt_id, SUPERVISOR_GRACE_SECONDS)
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
            await asyncio.shield(asyncio.to_thread(_remove_trees, [folders.root, *going]))

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
                await _copy_tree(source, folders.workspace)
        if request.inputs is not None:
            await _copy_tree(request.inputs, folders.workspace)
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
        if self._uid is not None and not _own_small_tree(folders.root, self._uid):
            _own_tree(folders.root, self._uid)

    def _link_cache(self, place: Path, cache: Path, folders: AttemptFolders) -> None:
        cache.mkdir(mode=0o755, exist_ok=True)
        if self._uid is not None and cache.stat().st_uid != self._uid:
            _own_tree(cache, self._uid)
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


class Nursery:
    """The process that forks the supervisors: started by the first script, anew if it is gone."""

    def __init__(self) -> None:
        self._socket: int | None = None
        self._process = 0

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Ends the nursery; supervisors that it forked go on."""
        if self._socket is not None:
            os.close(self._socket)
            self._socket = None
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._process, 0)

    def fork(self, attempt_id: str, descriptors: Sequence[int]) -> None:
        """Have a supervisor forked that gets the descriptors. Raises OSError."""
        try:
            self._send(attempt_id, descriptors)
        except (BrokenPipeError, ConnectionResetError):
            self.close()
            self._send(attempt_id, descriptors)

    def _send(self, attempt_id: str, descriptors: Sequence[int]) -> None:
        if self._socket is None:
            self._socket = self._start()
        with socket.socket(fileno=os.dup(self._socket)) as connection:
            socket.send_fds(connection, [attempt_id.encode()], descriptors)

    def _start(self) -> int:
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, its:
            program = str(Path(__file__).with_name("supervisor.py"))
            self._process = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", "-B", program, "3"],
                # The place in which each supervisor writes its attempt's id.
                {ATTEMPT_VARIABLE: "-" * MAX_ATTEMPT_ID_CHARACTERS},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, its.fileno(), 3),
                    *((os.POSIX_SPAWN_OPEN, n, os.devnull, os.O_RDWR, 0) for n in range(3)),
                ],
                setsid=True,
            )
            return ours.detach()


class SupervisedScript:
    """One script below its supervisor: started, read, and ended as a whole."""

    def __init__(
        self,
        *,
        nursery: Nursery,
        attempt_id: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        uid: int | None,
        offline: bool,
        output: OutputSink,
    ) -> None:
        self._nursery = nursery
        self._attempt_id = attempt_id
        self._request = marshal.dumps(
            {
                "argv": list(argv),
                "env": dict(env),
                "cwd": str(cwd),
                "uid": uid,
                "offline": offline,
            }
        )
        self._output = output

    async def run(self, timeout_seconds: float) -> StepResult:
        loop = asyncio.get_running_loop()
        pipes = [_Pipe() for _ in range(3)]
        printed, status, control = pipes
        ended = asyncio.Event()
        lines: list[bytes] = []
        try:
            self._start(printed, status, control)
            drain = self._read_into_output(loop, printed)
            _read_pipe(loop, status, lines.append, ended.set)
            try:
                timed_out = not await _within(ended, timeout_seconds)
            finally:
                control.close_writer()
                await asyncio.shield(self._end(lines, ended))
                drain()
            return _result(b"".join(lines), timed_out, timeout_seconds)
        finally:
            for pipe in pipes:
                pipe.close(loop)

    def _start(self, printed: _Pipe, status: _Pipe, control: _Pipe) -> None:
        request = os.memfd_create("pushrod-request")
        try:
            os.write(request, self._request)
            self._nursery.fork(
                self._attempt_id,
                # Its streams are one, or lines would change places on their way to the log.
                [control.read, printed.write, printed.write, status.write, request],
            )
        finally:
            os.close(request)
        for pipe in (printed, status):
            pipe.close_writer()

    def _read_into_output(self, loop: asyncio.AbstractEventLoop, pipe: _Pipe) -> Callable[[], None]:
        """Give the pipe's bytes to the output as they come; the result drains what is left."""

        def take(data: bytes) -> None:
            self._output.write(Stream.STDOUT, data)

        _read_pipe(loop, pipe, take, None)
        return lambda: _drain(pipe, take)

    async def _end(self, lines: list[bytes], ended: asyncio.Event) -> None:
        """Wait for the supervisor to end everything; where it can't (was killed), do it here."""
        try:
            async with asyncio.timeout(SUPERVISOR_END_SECONDS):
                await ended.wait()
        except TimeoutError:
            # It holds its status open, so the number is still its own.
            if pid := _status_words(b"".join(lines)).get(b"supervisor"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
        if b"exited" not in _status_words(b"".join(lines)):
            await asyncio.to_thread(_end_marked, self._attempt_id, 0.0)


async def _within(event: asyncio.Event, seconds: float) -> bool:
    """Whether the event came before the time ran out."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


class _Pipe:
    def __init__(self) -> None:
        self.read, self.write = os.pipe2(os.O_CLOEXEC)
        with contextlib.suppress(OSError):  # beyond the user's limit for pipes: only slower
            fcntl.fcntl(self.read, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._open = {self.read, self.write}

    def close_writer(self) -> None:
        self._close_end(self.write)

    def close(self, loop: asyncio.AbstractEventLoop) -> None:
        if self.read in self._open:
            loop.remove_reader(self.read)
        self._close_end(self.read)
        self._close_end(self.write)

    def _close_end(self, end: int) -> None:
        if end in self._open:
            self._open.discard(end)
            os.close(end)


def _read_pipe(
    loop: asyncio.AbstractEventLoop,
    pipe: _Pipe,
    take: Callable[[bytes], None],
    at_end: Callable[[], None] | None,
) -> None:
    os.set_blocking(pipe.read, False)

    def readable() -> None:
        try:
            data = os.read(pipe.read, PIPE_BYTES)
        except BlockingIOError:
            return
        if data:
            take(data)
        else:
            loop.remove_reader(pipe.read)
            if at_end is not None:
                at_end()

    loop.add_reader(pipe.read, readable)


def _drain(pipe: _Pipe, take: Callable[[bytes], None]) -> None:
    """Take what is in the pipe now.

    Every process of the script is dead, so nothing more comes; an end held open elsewhere (the
    script may have passed it to a daemon) must not keep us waiting.
    """
    while True:
        try:
            data = os.read(pipe.read, PIPE_BYTES)
        except BlockingIOError:
            return
        if not data:
            return
        take(data)


def _status_words(status: bytes) -> dict[bytes, bytes]:
    return dict(line.partition(b" ")[::2] for line in reversed(status.splitlines()))


def _result(status: bytes, timed_out: bool, timeout_seconds: float) -> StepResult:
    """What the supervisor's status lines mean."""
    words = _status_words(status)
    if timed_out:
        message = f"The script ran longer than its timeout of {timeout_seconds:g} s."
        return StepResult(outcome=Outcome.TIMED_OUT, message=message)
    if b"failed" in words:
        why = words[b"failed"].decode("utf-8", "replace")
        return StepResult(
            outcome=Outcome.ENGINE_FAILED, message=f"The script could not be started: {why}"
        )
    if b"exited" in words:
        return StepResult(outcome=Outcome.EXITED, exit_code=int(words[b"exited"]))
    return StepResult(
        outcome=Outcome.ENGINE_FAILED,
        message="The supervisor of the script was killed, and the script with it.",
    )


async def _copy_tree(source: Path, target: Path) -> None:
    """Lay a folder over another: modes, times and links kept, links in the target replaced.

    A link is never written through: the source may hold one named like an input, to anywhere.
    """
    process = await asyncio.create_subprocess_exec(
        "cp",
        "-a",
        "--no-preserve=ownership",
        "--remove-destination",
        "--",
        f"{source}/.",
        str(target),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={"PATH": os.environ.get("PATH", SCRIPT_PATH), "LC_ALL": "C"},
    )
    try:
        _, errors = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        raise OSError(f"copying to the workspace: {errors.decode('utf-8', 'replace').strip()}")


def _own_small_tree(root: Path, uid: int) -> bool:
    """Give a folder that nobody else can enter yet to the user; False if it holds too much.

    A process of its own would take longer than this for a few files.
    """
    found = [str(root)]
    for folder in found:
        if not os.path.islink(folder) and os.path.isdir(folder):
            with os.scandir(folder) as entries:
                found += [entry.path for entry in entries]
        if len(found) > SMALL_TREE_ENTRIES:
            return False
    # The root last: until then only we can get in.
    for path in reversed(found):
        os.lchown(path, uid, uid)
    return True


def _own_tree(root: Path, uid: int) -> None:
    # chown and rm rather than os.walk and shutil: those recurse, and a tree can be any depth.
    _run_tool("chown", "-hR", f"{uid}:{uid}", "--", str(root))


def remove_tree(root: Path) -> None:
    """Remove a folder, also where scripts took the rights away; links are never followed."""
    try:
        remove_folder(root)
    except OSError:
        _run_tool("chmod", "-R", "u+rwx", "--", str(root))
        _run_tool("rm", "-rf", "--", str(root))


def _remove_trees(roots: Sequence[Path]) -> None:
    for root in roots:
        remove_tree(root)


def _run_tool(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise OSError(f"{argv[0]}: {done.stderr.decode('utf-8', 'replace').strip()[:500]}")


def _end_marked(attempt_id: str, grace_seconds: float) -> None:
    """End every process that carries the attempt's mark, after its supervisor had the grace."""
    kill_at = time.monotonic() + grace_seconds
    give_up_at = kill_at + REAP_SECONDS
    while marked := _marked_processes(attempt_id):
        if time.monotonic() > give_up_at:
            raise LeftoverProcessesError(
                f"processes {sorted(marked)} of attempt {attempt_id} can't be ended"
            )
        if time.monotonic() > kill_at:
            for pid in marked:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _marked_processes(attempt_id: str) -> set[int]:
    mark = f"{ATTEMPT_VARIABLE}={attempt_id}\0".encode()
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                environment = Path("/proc", name, "environ").read_bytes()
            except OSError:
                continue
            if (b"\0" + environment).find(b"\0" + mark) >= 0:
                found.add(int(name))
    return found
