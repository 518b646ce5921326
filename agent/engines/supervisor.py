"""The processes between the agent and the scripts on the host: when the agent goes, they go.

Run by the host engine as `python -I -S supervisor.py SOCKET_FD`. This is the nursery: for each
script it forks a supervisor, which spares a step the start of an interpreter (14 of 17 ms). It
knows nothing and does nothing else, and ends when the agent's end of the socket closes. The
supervisor is forked before there is a script: it waits for the agent's message itself, and has the
nursery fork the next one once it has it.

A message has the attempt's id, and with it come five descriptors: control, stdout, stderr, status
and request. The request is a file in memory, marshalled: no secret of the step's environment is
ever an argument. The control pipe brings the ends of the attempt's term, each later than the one
before, and whether the script is asked to end: then its process group gets SIGTERM, and has its
grace. The pipe's own end means "kill it": the agent closes it, the kernel does when the agent dies.
An agent that is stopped does neither: then the script is ended here at its term, since its step may
be given to another agent soon after.

A supervisor is a child subreaper, so a double fork or setsid does not escape it. Its status gets
the line `supervisor PID`, and when no process of the script is left `exited CODE`; before that
`failed MESSAGE` where there was no script, `overdue` where its term ended.
"""

from __future__ import annotations

import ctypes
import marshal
import os
import resource
import select
import socket
import struct
import sys
import time
from _signal import (  # type: ignore[import-not-found]
    SIG_DFL,
    SIG_IGN,
    SIG_SETMASK,
    SIGCHLD,
    SIGKILL,
    SIGSTOP,
    SIGTERM,
    pthread_sigmask,
    valid_signals,
)
from _signal import signal as set_signal

TYPE_CHECKING = False
if TYPE_CHECKING:  # not imported: typing costs milliseconds
    from typing import Any

PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS = 0x8914
IFF_UP = 1
REAP_EVERY_SECONDS = 5.0
"""Adopted orphans that have ended are reaped about this often."""
LONGEST_TICK_SECONDS = 1.0
"""A poll's time stands still while the machine sleeps, so a term that ended then is seen this late
after it woke."""
CONTROL = struct.Struct("=d?")
"""When the term ends, and whether the script is asked to end."""
CONTROL_BYTES = 512 * CONTROL.size
PAUSE_SECONDS = 0.002
GROUP_TICK_SECONDS = 0.02
"""How soon it is seen that the last process of a group has ended, which nothing tells."""
GIVE_UP_SECONDS = 5.0
"""A process that can't be killed (in the kernel, or of another user) is left after this long."""
LIMITS = 16
"""The kernel numbers its limits from 0, without a gap."""
SOFT_LIMITS = {
    resource.RLIMIT_NOFILE: 1024,
    resource.RLIMIT_STACK: 8 << 20,
    resource.RLIMIT_CORE: 0,
}
"""What a script begins with; of all others the hard limit. It may raise these up to theirs."""
MOST_DESCRIPTORS = 1 << 16
IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
"""Numbers of the system call, which the C library has no name for."""
IOPRIO_WHO_PROCESS = 1
OOM_SCORE_ADJ = b"500"
"""The kernel, short of memory, takes the script before the agent."""

ENV_START_FIELD, ENV_END_FIELD = 47, 48
"""Of /proc/self/stat, counted from the state (proc(5) counts the process id and name too)."""
MESSAGE_BYTES = 1024
DESCRIPTORS = 5


def main() -> None:
    os.chdir("/")
    libc = ctypes.CDLL(None)
    _begin_clean(libc, int(sys.argv[1]))
    set_signal(SIGCHLD, SIG_IGN)  # supervisors that end are nobody's to wait for
    with socket.socket(fileno=int(sys.argv[1])) as agent:
        while _spare_was_taken(agent, libc):
            pass


def _spare_was_taken(agent: socket.socket, libc: ctypes.CDLL) -> bool:
    """Fork a supervisor and return once it has a script; False if it ended without: the agent is
    gone, or somebody killed it, and then the agent starts us anew."""
    taken, taking = os.pipe2(os.O_CLOEXEC)
    if os.fork() == 0:
        os.close(taken)
        _wait_for_script(agent, taking, libc)
    os.close(taking)
    try:
        return os.read(taken, 1) != b""
    finally:
        os.close(taken)


def _wait_for_script(agent: socket.socket, taking: int, libc: ctypes.CDLL) -> None:
    """In the child: be the supervisor of the next script."""
    try:
        os.setsid()
        set_signal(SIGCHLD, SIG_DFL)
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        mark = _place_of_mark()
        message, descriptors, _, _ = socket.recv_fds(
            agent, MESSAGE_BYTES, DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
        )
        if message:
            agent.close()
            _mark(mark, message)
            _tell_nursery(taking)
            _supervise(descriptors, libc)
    finally:
        os._exit(0)


def _tell_nursery(taking: int) -> None:
    try:
        os.write(taking, b".")
        os.close(taking)
    except BrokenPipeError:
        pass  # it was killed: the agent starts another for its next script


def _begin_clean(libc: ctypes.CDLL, agent: int) -> None:
    """Take off what the agent's start left on us: all that we fork begins the same everywhere.

    Where the agent isn't root, a niceness stays, and limits go no higher than the hard ones.
    """
    os.closerange(3, agent)
    os.closerange(agent + 1, MOST_DESCRIPTORS)
    try:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, 0, 0)
    except OSError:
        pass  # not allowed: only a preference
    if number := IOPRIO_SET.get(os.uname().machine):
        libc.syscall(number, IOPRIO_WHO_PROCESS, 0, 0)
    for limit in range(LIMITS):
        _reset_limit(limit)


def _reset_limit(limit: int) -> None:
    _, hard = resource.getrlimit(limit)
    soft = SOFT_LIMITS.get(limit, hard)
    if hard != resource.RLIM_INFINITY and (soft == resource.RLIM_INFINITY or soft > hard):
        soft = hard
    resource.setrlimit(limit, (soft, hard))


def _reset_signals() -> None:
    """To their default actions, none blocked: under nohup, a shell or Python some are ignored."""
    for number in valid_signals():
        if number not in (SIGKILL, SIGSTOP):
            set_signal(number, SIG_DFL)
    pthread_sigmask(SIG_SETMASK, ())


def _supervise(descriptors: list[int], libc: ctypes.CDLL) -> None:
    """Be the supervisor of one script, to its end."""
    *streams, status, request_file = descriptors
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.write(status, b"supervisor %d\n" % os.getpid())
    request = _read_request(request_file)
    if _boot_clock() >= request["ends_at"]:
        # The agent was stopped between taking the step and starting its script.
        os.write(status, b"overdue\nexited -1\n")
        return
    child = os.fork()
    if child == 0:
        _become_script(request, libc, status)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (1, 2):
        os.dup2(null, number)
    code = _wait(child, request["ends_at"], request["grace"], status)
    code = _end_everything(child, code)
    os.write(status, b"exited %d\n" % code)


def _place_of_mark() -> tuple[int, int]:
    """Where the kernel shows this process's environment, begin and end."""
    with open("/proc/self/stat", "rb") as file:
        stat = file.read()
    fields = stat[stat.rindex(b")") + 2 :].split()
    return int(fields[ENV_START_FIELD]), int(fields[ENV_END_FIELD])


def _mark(place: tuple[int, int], attempt: bytes) -> None:
    """Put the attempt's id in the place of the nursery's placeholder: by it the agent finds what
    is left."""
    start, end = place
    name = ctypes.string_at(start, end - start).partition(b"=")[0]
    ctypes.memmove(start, (name + b"=" + attempt).ljust(end - start, b"\0"), end - start)


def _read_request(number: int) -> dict[str, Any]:
    request: dict[str, Any] = marshal.loads(  # noqa: S302 - written by our own parent
        os.pread(number, os.fstat(number).st_size, 0)
    )
    os.close(number)
    return request


def _become_script(request: dict[str, Any], libc: ctypes.CDLL, status: int) -> None:
    """In the child: drop everything that is the agent's, then be bash."""
    try:
        os.setsid()
        _reset_signals()
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        try:
            with open("/proc/self/oom_score_adj", "wb") as score:
                score.write(OOM_SCORE_ADJ)
        except OSError:
            pass  # not allowed in some containers; only a preference
        if request["offline"]:
            _leave_the_network(libc)
        if request["uid"] is not None:
            os.setgroups([])
            os.setgid(request["uid"])
            os.setuid(request["uid"])
            libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)  # sudo and the like give nothing back
        os.umask(0o022)
        os.chdir(request["cwd"])
        os.closerange(3, status)
        os.closerange(status + 1, 256)
        os.set_inheritable(status, False)
        os.execve(request["argv"][0], request["argv"], request["env"])  # noqa: S606
    except BaseException as error:
        os.write(status, b"failed %s\n" % str(error).replace("\n", " ").encode("utf-8", "replace"))
    os._exit(127)


def _leave_the_network(libc: ctypes.CDLL) -> None:
    """Into a network namespace with nothing but loopback. Raises OSError."""
    import fcntl  # these two are loaded for such steps alone
    import socket

    uid, gid = os.getuid(), os.getgid()
    flags = CLONE_NEWNET if uid == 0 else CLONE_NEWNET | CLONE_NEWUSER
    if libc.unshare(flags) != 0:
        raise OSError("`network: none` needs root or user namespaces, and this machine has neither")
    if uid != 0:
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{uid} {uid} 1"),
            ("gid_map", f"{gid} {gid} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        request = b"lo".ljust(16, b"\0") + IFF_UP.to_bytes(2, sys.byteorder) + bytes(22)
        fcntl.ioctl(handle, SIOCSIFFLAGS, request)


def _wait(child: int, ends_at: float, grace: float, status: int) -> int:
    """The script's exit code; -1 as soon as the control pipe closes or the term is over, or, once
    it was asked to end, its grace."""
    poll = select.poll()
    poll.register(0, select.POLLIN | select.POLLHUP)
    handle = os.pidfd_open(child)
    poll.register(handle, select.POLLIN)
    reap_at, ended = _boot_clock() + REAP_EVERY_SECONDS, dict[int, int]()
    while True:
        ready = {number for number, _ in poll.poll(_tick_ms(ends_at))}
        if handle in ready or _boot_clock() >= reap_at:
            _reap(ended)
            reap_at = _boot_clock() + REAP_EVERY_SECONDS
        if child in ended:
            return _exit_code(ended[child])
        if 0 in ready:
            told = os.read(0, CONTROL_BYTES)
            if not told:
                return -1
            ends_at, asked = CONTROL.unpack(told[-CONTROL.size :])
            if asked:
                return _let_end(child, ends_at, grace, status)
        if _boot_clock() >= ends_at:
            os.write(status, b"overdue\n")
            return -1


def _let_end(child: int, ends_at: float, grace: float, status: int) -> int:
    """Ask the script's process group to end, and wait until none of it is left; the script's exit
    code, -1 if it had to be killed.

    Not only until the script itself has ended: a bash without a trap dies at once, while what it
    runs may be cleaning up.
    """
    code, ended = -1, dict[int, int]()
    kill_at = _boot_clock() + grace
    _kill_group(child, SIGTERM)
    control = select.poll()
    control.register(0, select.POLLIN | select.POLLHUP)
    while _boot_clock() < kill_at:
        _reap(ended)
        code = _exit_code(ended[child]) if child in ended else code
        if not _kill_group(child, 0):
            return code
        if control.poll(GROUP_TICK_SECONDS * 1000):
            told = os.read(0, CONTROL_BYTES)
            if not told:
                return code
            ends_at, _ = CONTROL.unpack(told[-CONTROL.size :])
        if _boot_clock() >= ends_at:
            os.write(status, b"overdue\n")
            return code
    return code


def _kill_group(leader: int, number: int) -> bool:
    """Whether the process group has a process; with the number 0 only that."""
    try:
        os.killpg(leader, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # set-uid programs alone, that we may not signal
    return True


def _reap(ended: dict[int, int]) -> bool:
    """Note the wait status of each child that has ended; whether there are others."""
    try:
        while True:
            pid, wait_status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return True
            ended[pid] = wait_status
    except ChildProcessError:
        return False


def _tick_ms(ends_at: float) -> int:
    """How long to wait, rounded up: a wait that ends before the term would only be repeated."""
    if ends_at == float("inf"):
        return int(REAP_EVERY_SECONDS * 1000)
    left = min(LONGEST_TICK_SECONDS, ends_at - _boot_clock())
    return max(0, int(left * 1000) + 1)


def _boot_clock() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _exit_code(wait_status: int) -> int:
    code = os.waitstatus_to_exitcode(wait_status)
    return code if code >= 0 else 128 - code


def _end_everything(child: int, code: int) -> int:
    """Kill every descendant and reap it; returns when none is left.

    All are stopped before the first is killed: a fork bomb that is being stopped can only shrink,
    while one that is being killed uses the room to grow again.
    """
    ended = dict[int, int]()
    give_up_at = time.monotonic() + GIVE_UP_SECONDS
    while _reap(ended) and time.monotonic() < give_up_at:
        stopped: set[int] = set()
        while True:
            found = _descendants() - stopped
            if not found:
                break
            for pid in found:
                _kill(pid, SIGSTOP)
            stopped |= found
        for pid in stopped:
            _kill(pid, SIGKILL)
        time.sleep(PAUSE_SECONDS)
    return _exit_code(ended[child]) if child in ended else code


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
    except PermissionError:
        pass  # a set-uid program that we may not signal


def _descendants() -> set[int]:
    children = _children()
    found: set[int] = set()
    todo = [os.getpid()]
    while todo:
        below = children.get(todo.pop(), set()) - found
        found |= below
        todo.extend(below)
    return found


def _children() -> dict[int, set[int]]:
    """Every process of the machine, zombies too, by its parent."""
    children: dict[int, set[int]] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                stat = file.read()
        except OSError:
            continue
        # The command's name may hold spaces and brackets: what counts stands after the last one.
        parent = int(stat[stat.rindex(b")") + 2 :].split()[1])
        children.setdefault(parent, set()).add(int(name))
    return children


if __name__ == "__main__":
    main()
