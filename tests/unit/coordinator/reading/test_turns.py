"""Whose text is read next."""

from __future__ import annotations

import asyncio

from coordinator.reading.turns import Turns


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Readers:
    """Each begins in its turn and goes on until it is let go."""

    def __init__(self, at_once: int) -> None:
        self.turns = Turns(at_once)
        self.begun: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._let_go: dict[str, asyncio.Event] = {}

    async def add(self, *names: str) -> None:
        for name in names:
            self._let_go[name] = asyncio.Event()
            self.tasks[name] = asyncio.ensure_future(self._read(name))
        await settle()

    async def _read(self, name: str) -> None:
        async with self.turns.turn(name[0]):
            self.begun.append(name)
            await self._let_go[name].wait()

    async def let_go(self, *names: str) -> None:
        for name in names:
            self._let_go[name].set()
            await settle()


async def test_an_account_has_one_turn_at_a_time() -> None:
    readers = Readers(2)
    await readers.add("a1", "a2")
    assert readers.begun == ["a1"]
    await readers.let_go("a1")
    assert readers.begun == ["a1", "a2"]
    await readers.let_go("a2")


async def test_accounts_take_turns_however_much_one_has_to_read() -> None:
    readers = Readers(1)
    await readers.add("a1", "a2", "a3", "b1", "c1", "b2")
    await readers.let_go("a1", "b1", "c1", "a2", "b2", "a3")
    assert readers.begun == ["a1", "b1", "c1", "a2", "b2", "a3"]


async def test_who_gives_up_waiting_takes_no_turn() -> None:
    readers = Readers(1)
    await readers.add("a1", "b1", "c1")
    readers.tasks["b1"].cancel()
    await readers.let_go("a1")
    assert readers.begun == ["a1", "c1"]
    await readers.let_go("c1")


async def test_a_turn_given_to_one_who_gives_up_in_that_moment_goes_to_the_next() -> None:
    readers = Readers(1)
    await readers.add("a1", "b1", "c1")
    readers.tasks["a1"].cancel()
    await asyncio.sleep(0)  # a1's turn is given to b1, which has not begun yet
    readers.tasks["b1"].cancel()
    await settle()
    assert readers.begun == ["a1", "c1"]
    await readers.let_go("c1")
