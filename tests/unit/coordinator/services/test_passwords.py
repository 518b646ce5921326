"""Passwords: hashed by argon2id, and the same work for whoever is not there."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

from argon2 import Type, extract_parameters

from coordinator.domain.errors import TooMany
from coordinator.services.people.passwords import MEMORY_KIB, MOST_WAITING, Passwords


async def test_only_the_right_password_matches() -> None:
    passwords = Passwords()
    hashed = await passwords.hash("correct horse")
    assert "correct" not in hashed
    assert await passwords.matches(hashed, "correct horse")
    assert not await passwords.matches(hashed, "correct horsf")
    assert not await passwords.matches("no hash at all", "correct horse")
    assert await passwords.hash("correct horse") != hashed, "each has a salt of its own"


async def test_for_nobody_the_same_work_is_done_and_nothing_matches() -> None:
    passwords = Passwords()
    assert not await passwords.matches(None, "correct horse")
    real = extract_parameters(await passwords.hash("x"))
    assert extract_parameters(passwords.stand_in) == real
    assert (real.type, real.memory_cost) == (Type.ID, MEMORY_KIB)


async def test_logins_keep_no_thread_that_other_work_needs() -> None:
    passwords = Passwords()
    loop = asyncio.get_running_loop()
    others = ThreadPoolExecutor(1)
    loop.set_default_executor(others)
    gate = threading.Event()
    held = others.submit(gate.wait, 20)
    # The only thread that other work has is taken: who needs one would wait for the gate.
    assert await passwords.matches(await passwords.hash("correct horse"), "correct horse")
    assert not held.done()
    gate.set()


async def test_more_logins_than_there_is_patience_for_are_refused_and_the_rest_answered() -> None:
    passwords = Passwords()
    tries = [asyncio.create_task(passwords.matches(None, "x")) for _ in range(MOST_WAITING + 5)]
    # Who is refused is refused at once; that another is answered by now does no harm.
    done, _ = await asyncio.wait(tries, return_when=asyncio.FIRST_COMPLETED)
    refused = [one.exception() for one in done if one.exception()]
    assert [type(error) for error in refused] == [TooMany] * 5
    # One that gave up before its turn makes room for another.
    waiting = [one for one in tries if not one.done()]
    for one in waiting[1:]:
        one.cancel()
    await asyncio.wait(tries)
    assert waiting[0].result() is False
    assert not await passwords.matches(None, "x")
