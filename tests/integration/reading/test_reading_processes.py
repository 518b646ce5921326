"""Processes that read outsiders' text: real ones, ended by the text they are given."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from coordinator.domain.reading import Question, answer_all, read_workflow
from coordinator.ports import NotRead
from coordinator.reading.limits import LENGTH, Limits
from coordinator.reading.processes import ReadingProcesses
from pipelines_schema import Circumstances, Place, Watch

A_SECOND = 'message.matches("(((a{10}){10}){10}){10}")'
"""Which it takes, holding the interpreter's lock: a regular expression, not a macro."""
MESSAGE = "a" * 10_000


@pytest_asyncio.fixture
async def readings() -> AsyncIterator[ReadingProcesses]:
    async with ReadingProcesses() as processes:
        yield processes


def question(expression: str, message: str = "") -> Question:
    circumstances = Circumstances(event="push", message=message, params={}, matrix={})
    return Question(expression=expression, circumstances=circumstances)


def process_id(watch: Watch) -> int:
    return os.getpid()


def end_by(watch: Watch, number: int) -> None:
    os.kill(os.getpid(), number)


def many_small_steps(watch: Watch) -> None:
    while True:
        with watch(Place(7, 9)):
            pass


def double(watch: Watch) -> int:
    text = "x"
    while True:
        text += text


def have_had(watch: Watch, size: int) -> int:
    return len(b"x" * size)


def refuse(watch: Watch) -> None:
    raise LookupError("not here")


async def test_a_condition_that_takes_too_long_is_named_with_its_place(
    readings: ReadingProcesses,
) -> None:
    questions = [question("true"), question(A_SECOND, MESSAGE), question("true")]
    with pytest.raises(NotRead, match="more than 250 ms of processor time") as fault:
        await readings.run("a", answer_all, questions)
    assert fault.value.place == Place(1, 0)


async def test_a_reading_that_takes_too_long_in_small_steps_is_ended(
    readings: ReadingProcesses,
) -> None:
    with pytest.raises(NotRead, match="more than 3 s of processor time"):
        await readings.run("a", many_small_steps)


async def test_a_bomb_of_memory_ends_with_its_process(readings: ReadingProcesses) -> None:
    with pytest.raises(NotRead, match="512 MiB of memory"):
        await readings.run("a", double)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
async def test_text_that_crashes_the_interpreter_is_told_so(
    readings: ReadingProcesses, number: signal.Signals
) -> None:
    with pytest.raises(NotRead, match=number.name):
        await readings.run("a", end_by, number)


async def test_text_is_read_again_when_somebody_else_ended_its_process(
    readings: ReadingProcesses,
) -> None:
    first = await readings.run("a", process_id)
    os.kill(first, signal.SIGSTOP)
    reading = asyncio.ensure_future(readings.run("a", process_id))
    await asyncio.sleep(0)
    os.kill(first, signal.SIGKILL)
    assert await reading != first


async def test_text_is_not_read_for_ever_where_its_process_is_always_ended(
    readings: ReadingProcesses,
) -> None:
    with pytest.raises(NotRead, match="twice"):
        await readings.run("a", end_by, signal.SIGKILL)


async def test_a_process_is_kept_for_the_next_text(readings: ReadingProcesses) -> None:
    assert await readings.run("a", process_id) == await readings.run("b", process_id)


async def test_what_holds_secrets_is_read_by_a_process_that_reads_nothing_else(
    readings: ReadingProcesses,
) -> None:
    kept = await readings.run("a", process_id)
    alone = [await readings.run_alone("a", process_id) for _ in range(2)]
    assert len({kept, *alone}) == 3
    assert await readings.run("a", process_id) == kept


async def test_a_process_is_kept_whatever_memory_the_coordinator_has(
    readings: ReadingProcesses,
) -> None:
    held = b"x" * 250 * 1024 * 1024
    assert await readings.run("a", process_id) == await readings.run("b", process_id)
    del held


async def test_a_process_that_was_ended_is_replaced(readings: ReadingProcesses) -> None:
    before = await readings.run("a", process_id)
    with pytest.raises(NotRead):
        await readings.run("a", end_by, signal.SIGSEGV)
    assert await readings.run("a", process_id) != before
    parsed = await readings.run("a", read_workflow, b"steps: []", ".pushrod.yml")
    assert parsed.problems


async def test_a_process_that_has_had_much_memory_is_not_kept(readings: ReadingProcesses) -> None:
    before = await readings.run("a", process_id)
    await readings.run("a", have_had, 250 * 1024 * 1024)
    assert await readings.run("a", process_id) != before


async def test_a_reading_that_is_cancelled_leaves_nothing_behind(
    readings: ReadingProcesses,
) -> None:
    pid = await readings.run("a", process_id)
    reading = asyncio.ensure_future(readings.run("a", many_small_steps))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert await readings.run("a", process_id) != pid


async def test_what_reading_raises_is_raised(readings: ReadingProcesses) -> None:
    with pytest.raises(LookupError, match="not here"):
        await readings.run("a", refuse)


async def test_one_accounts_slow_text_leaves_a_process_to_the_others(
    readings: ReadingProcesses,
) -> None:
    slow = [asyncio.ensure_future(readings.run("slow", many_small_steps)) for _ in range(4)]
    await asyncio.sleep(0)
    for _ in range(5):
        await readings.run("other", process_id)
    assert not any(one.done() for one in slow[1:])
    for one in slow:
        one.cancel()
    await asyncio.gather(*slow, return_exceptions=True)


async def test_a_process_has_nothing_of_the_coordinators_environment(
    readings: ReadingProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUSHROD_TOKEN", "secret")
    assert "PUSHROD_TOKEN" not in await readings.run("a", environment)


def environment(watch: Watch) -> list[str]:
    return list(os.environ)


def test_a_process_whose_coordinator_died_meanwhile_ends_without_a_word(tmp_path: Path) -> None:
    """Nobody takes the answer."""
    request = pickle.dumps((process_id, (), {}))
    command = [sys.executable, "-P", "-m", "coordinator.reading.child"]
    reader, writer = os.pipe()
    os.close(reader)
    with (tmp_path / "place").open("w+b") as place:
        arguments = (place.fileno(), Limits().seconds, Limits().memory_bytes)
        done = subprocess.run(
            [*command, *map(str, arguments)],
            input=LENGTH.pack(len(request)) + request,
            stdout=writer,
            stderr=subprocess.PIPE,
            pass_fds=(place.fileno(),),
            check=False,
        )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_process_whose_coordinator_died_with_its_answer_ends_without_a_word(
    tmp_path: Path,
) -> None:
    request = pickle.dumps((process_id, (), {}))
    ours, its = socket.socketpair()
    with its, (tmp_path / "place").open("w+b") as place:
        arguments = (place.fileno(), Limits().seconds, Limits().memory_bytes)
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "coordinator.reading.child", *map(str, arguments)],
            stdin=its.fileno(),
            stdout=its.fileno(),
            stderr=subprocess.PIPE,
            pass_fds=(place.fileno(),),
        )
    ours.sendall(LENGTH.pack(len(request)) + request)
    ours.recv(1)
    ours.close()
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, b"")
