"""A program `pushrod` for shell scripts: it asks the test, which forks what a user would start.

`nursery.py` says why. A script's commands are the children of the test, so the program
(`asks_for_fork.py`) tells it what signals it gets, and ends as they do.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.e2e.nursery import MOST_BYTES, Forked, fork_pushrod

ASKS = Path(__file__).with_name("asks_for_fork.py")
PROGRAM = """\
#!/bin/sh
case $1 in up) exec {python} -m pushrod "$@" ;; esac
exec {python} -I -S {asks} {address} "$@"
"""
"""`pushrod up` begins as for users."""


@contextmanager
def forking_program(program: Path) -> Iterator[None]:
    """As long as this lasts, `program` can be run."""
    with (
        tempfile.TemporaryDirectory() as folder,  # with a short path, as sockets need it
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening,
    ):
        address = f"{folder}/socket"
        program.write_text(PROGRAM.format(python=sys.executable, asks=ASKS, address=address))
        program.chmod(0o755)
        listening.bind(address)
        listening.listen(64)
        accepting = threading.Thread(target=_accept, args=(listening,))
        accepting.start()
        try:
            yield
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            accepting.join()


def _accept(listening: socket.socket) -> None:
    answering = []
    with suppress(OSError):  # it was shut down
        while True:
            asker, _ = listening.accept()
            answering.append(threading.Thread(target=_answer, args=(asker,)))
            answering[-1].start()
    for thread in answering:
        thread.join()


def _answer(asker: socket.socket) -> None:
    with asker:
        message, descriptors, _, _ = socket.recv_fds(asker, MOST_BYTES, 3, socket.MSG_CMSG_CLOEXEC)
        try:
            process = _fork(message, descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        _await(process, asker)
        with suppress(BrokenPipeError):  # who asked was killed
            asker.send(str(process.returncode).encode())


def _fork(message: bytes, descriptors: Sequence[int]) -> Forked:
    count, folder, *texts = os.fsdecode(message).split("\0")
    words, variables = texts[: int(count)], texts[int(count) :]
    given, output, errors = descriptors
    environment = dict(variable.split("=", 1) for variable in variables)
    return fork_pushrod(words, environment, output, errors, given, Path(folder))


def _await(process: Forked, asker: socket.socket) -> None:
    """Until it has ended. Each message is a signal; the end of them is that of a killed one."""
    ending = os.pidfd_open(process.pid)
    try:
        while True:
            ready, _, _ = select.select([ending, asker], [], [])
            if ending in ready:
                process.wait(1.0)
                return
            with suppress(ConnectionResetError):
                if number := asker.recv(1):
                    process.send_signal(number[0])
                    continue
            process.kill()
            process.wait(60.0)
            return
    finally:
        os.close(ending)
