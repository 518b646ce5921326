"""The process in which outsiders' text is read: `python -m coordinator.reading.child FD
SECONDS BYTES`.

Its timers end it by the default action of their signals, in the kernel: a library that holds the
interpreter's lock for ever, or a handler of Python's, can't delay them. It has no more of the
coordinator than its code: no environment, no open file but its pipes.
"""

from __future__ import annotations

import importlib
import math
import os
import pickle
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, BinaryIO

from coordinator.domain import reading as _reading  # noqa: F401 - most requests need it
from coordinator.reading.limits import (
    CONDITION_SECONDS,
    KEPT_BYTES,
    LENGTH,
    OUT_OF_MEMORY,
)
from pipelines_schema import Place

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    _load_conditions()
    place_fd, seconds, memory_bytes = map(int, sys.argv[1:4])
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    os.close(0)
    _limit_memory(memory_bytes)
    while (request := _receive(requests)) is not None:
        try:
            kept = _answer(answers, request, place_fd, seconds)
        except BrokenPipeError:
            os._exit(0)  # the coordinator is dead; what is left in `answers` would be sent at exit
        if not kept:
            return


def _load_conditions() -> None:
    """The first condition must not pay for it; and nobody needs its command line, which would be
    three quarters of the time and 15 MB of libraries for terminals."""
    sys.modules["cel.cli"] = ModuleType("cel.cli")
    importlib.import_module("cel")


def _limit_memory(most: int) -> None:
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * PAGE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (now + most, now + most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_processor_time(most: int) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = math.ceil(used.ru_utime + used.ru_stime) + most
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))


def _receive(requests: BinaryIO) -> bytes | None:
    """None once the coordinator has closed its end, or is dead."""
    try:
        head = requests.read(LENGTH.size)
    except ConnectionResetError:
        return None  # it had not read the last answer
    if len(head) < LENGTH.size:
        return None
    return requests.read(LENGTH.unpack(head)[0])


def _answer(answers: BinaryIO, request: bytes, place_fd: int, seconds: int) -> bool:
    """Whether this process can be asked again."""
    _note_place(place_fd, None)
    _limit_processor_time(seconds)
    try:
        answer = _read(request, place_fd)
        kept = _most_memory() < KEPT_BYTES
        body = pickle.dumps((*answer, kept))
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    answers.write(LENGTH.pack(len(body)) + body)
    answers.flush()
    return kept


def _most_memory() -> int:
    """That it ever had, in bytes. `ru_maxrss` would count what the coordinator had at the fork."""
    with open("/proc/self/status") as file:
        peak = next(line for line in file if line.startswith("VmHWM:"))
    return int(peak.split()[1]) * 1024


def _read(request: bytes, place_fd: int) -> tuple[bool, Any]:
    """Whether it was read, and the result or the error."""
    read: Callable[..., Any]
    read, args, keywords = pickle.loads(request)  # noqa: S301 - the coordinator wrote it
    try:
        return True, read(_watch(place_fd), *args, **keywords)
    except MemoryError:
        raise
    except Exception as error:  # the root of this process's work: the coordinator raises it
        return False, _portable(error)


def _portable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    except Exception:  # whatever its class does
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _watch(place_fd: int) -> Callable[[Place], Any]:
    @contextmanager
    def watch(place: Place) -> Iterator[None]:
        _note_place(place_fd, place)
        signal.setitimer(signal.ITIMER_PROF, CONDITION_SECONDS)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    return watch


def _note_place(place_fd: int, place: Place | None) -> None:
    """Where the coordinator finds it should this process come to its end."""
    os.pwrite(place_fd, pickle.dumps(place), 0)


if __name__ == "__main__":
    main()
