from __future__ import annotations

import asyncio

from coordinator.services.locks import Locks


async def test_one_thing_is_held_by_one_at_a_time_and_others_meanwhile() -> None:
    locks, entered = Locks(), []

    async def enter() -> None:
        async with locks.of("a"):
            entered.append(1)

    async with locks.of("a"):
        waiting = asyncio.create_task(enter())
        async with locks.of("b"):
            await asyncio.sleep(0)
        assert not entered
    await waiting
    assert entered


async def test_what_nobody_holds_is_forgotten_also_when_waiting_for_it_was_cancelled() -> None:
    locks = Locks()

    async def enter() -> None:
        async with locks.of("a"):
            pass

    async with locks.of("a"):
        waiting = [asyncio.create_task(enter()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.wait(waiting[:1])
        assert len(locks) == 1
    await asyncio.wait(waiting)
    assert len(locks) == 0
