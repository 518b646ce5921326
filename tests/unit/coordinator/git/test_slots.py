"""Who gets a git process, and who waits."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from hypothesis import given
from hypothesis import strategies as st

from coordinator.git.slots import GitClient, GitSlots


def person(account: str) -> GitClient:
    return GitClient(account_id=account)


def agent(account: str) -> GitClient:
    return GitClient(account_id=account, is_agent=True)


async def holding(stack: AsyncExitStack, slots: GitSlots, *clients: GitClient) -> None:
    for client in clients:
        await stack.enter_async_context(slots.slot(client))


async def gets_one(slots: GitSlots, client: GitClient) -> bool:
    async def take() -> None:
        async with slots.slot(client):
            pass

    task = asyncio.create_task(take())
    for _ in range(5):
        await asyncio.sleep(0)
    got = task.done()
    task.cancel()
    await asyncio.wait({task})
    return got


async def test_one_account_never_has_more_than_half_of_what_is_not_the_agents() -> None:
    slots = GitSlots(8, 2)
    async with AsyncExitStack() as stack:
        await holding(stack, slots, *[person("beta")] * 3)
        assert not await gets_one(slots, person("beta"))
        assert await gets_one(slots, person("alpha"))


async def test_two_slots_are_left_to_agents_whoever_holds_the_others() -> None:
    slots = GitSlots(8, 2)
    async with AsyncExitStack() as stack:
        await holding(stack, slots, *[person("a")] * 3, *[person("b")] * 3)
        assert not await gets_one(slots, person("c"))
        await holding(stack, slots, agent("a"))
        assert await gets_one(slots, agent("c"))


async def test_agents_take_their_own_slots_before_those_of_their_account() -> None:
    slots = GitSlots(8, 2)
    async with AsyncExitStack() as stack:
        await holding(stack, slots, *[agent("a")] * 4)
        assert not await gets_one(slots, agent("a"))
        assert await gets_one(slots, person("b"))


async def test_one_accounts_agents_leave_one_of_their_slots_to_the_others() -> None:
    slots = GitSlots(8, 2)
    async with AsyncExitStack() as stack:
        await holding(stack, slots, *[agent("a")] * 4, *[person("b")] * 3)
        assert await gets_one(slots, agent("c"))


async def test_the_fewest_slots_still_serve_everybody() -> None:
    for total in (1, 2, 3):
        slots = GitSlots(total, 2)
        assert await gets_one(slots, person("a"))
        assert await gets_one(slots, agent("a"))


async def test_a_slot_that_was_given_to_one_who_has_gone_goes_to_the_next() -> None:
    slots = GitSlots(1)
    async with slots.slot(person("a")):
        gone, next_one = (asyncio.create_task(hold(slots)) for _ in range(2))
        await asyncio.sleep(0)
    # It is given to the first now, which is cancelled before it runs.
    gone.cancel()
    async with asyncio.timeout(5):
        await next_one
    assert await gets_one(slots, person("a"))


async def hold(slots: GitSlots) -> None:
    async with slots.slot(person("a")):
        pass


CLIENTS = st.builds(GitClient, account_id=st.sampled_from("abc"), is_agent=st.booleans())


@given(st.integers(1, 8), st.integers(0, 3), st.lists(CLIENTS, max_size=30), st.randoms())
def test_whoever_comes_and_goes_all_get_their_turn(
    total: int, own: int, clients: list[GitClient], dice: object
) -> None:
    async def run() -> None:
        slots = GitSlots(total, own)
        most = 0

        async def use(client: GitClient, turns: int) -> None:
            nonlocal most
            async with slots.slot(client):
                most = max(most, running(slots))
                for _ in range(turns):
                    await asyncio.sleep(0)

        turns = getattr(dice, "randint")  # noqa: B009
        tasks = [asyncio.create_task(use(client, turns(0, 3))) for client in clients]
        async with asyncio.timeout(5):
            await asyncio.gather(*tasks)
        assert most <= total
        assert running(slots) == 0

    asyncio.run(run())


def running(slots: GitSlots) -> int:
    return slots._agents.total() + slots._accounts.total()
