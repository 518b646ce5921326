"""A page that is walked to from a mark is the one that a walk from an end of the list finds."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import replace
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest

from coordinator.domain.lifecycle import BUILD_TABLE, FINISHED_BUILD, BuildState
from coordinator.domain.listing import BuildListing, BuildOrder, Scope
from coordinator.domain.model import Project
from coordinator.services.list_marks import ListMarks
from coordinator.storage.builds import builds as stored
from coordinator.storage.builds.build_counts import count_builds
from coordinator.storage.builds.build_deletion import delete_builds
from coordinator.storage.builds.build_lists import list_builds, pages_of
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.database import Database
from coordinator.storage.marks import ranks_of
from tests.integration.list_fixture import (
    account_of,
    after,
    build_of,
    open_database,
    project_of,
    save,
)

Held = Callable[[BuildListing], Awaitable[bool]]
STEP = 4
SHOP, SITE, THEIRS = (
    project_of("acme", "shop"),
    project_of("acme", "site"),
    project_of("other", "theirs"),
)
EVERYBODY = Scope(account_id=None)
ACME = Scope(account_id="acme")
OF_SHOP = Scope(account_id="acme", project_id="shop")
SUCCEEDED, FAILED = frozenset({BuildState.SUCCEEDED}), frozenset({BuildState.FAILED})


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "pushrod.db") as database:
        things = [account_of("acme"), account_of("other"), SHOP, SITE, THEIRS]
        await database.write(partial(save, things=things))
        yield database


class Life:
    """What happens to builds, by chance; nobody sets the clock back."""

    def __init__(self, database: Database, chance: random.Random, *projects: Project) -> None:
        self._database, self._chance = database, chance
        self._projects = projects
        self.states: dict[str, BuildState] = {}
        self._now = 0
        self._numbers: Counter[str] = Counter()

    async def go_on(self, times: int) -> None:
        for _ in range(times):
            self._now += 1
            what = self._chance.choices(
                [self.make, self._move, self._delete, self._delete_the_newest], [8, 8, 1, 1]
            )[0]
            await what()

    async def make(self) -> str:
        project, state = self._chance.choice(self._projects), BuildState.QUEUED
        now = after(self._now)
        self._numbers[project.id] += 1
        number = self._numbers[project.id]
        build = build_of(project, number, state=state, created_at=now, updated_at=now)
        await self._database.write(partial(save, things=[build]))
        self.states[build.id] = state
        return build.id

    async def _move(self) -> None:
        moves = [
            (build, becomes)
            for build, state in self.states.items()
            for (before, _), becomes in BUILD_TABLE.items()
            if before is state
        ]
        # A finished build changes, too: somebody pins it.
        moves += [(build, state) for build, state in self.states.items() if len(moves) < 3]
        if moves:
            await self.move(*self._chance.choice(moves))

    async def move(self, build: str, becomes: BuildState) -> None:
        move = partial(stored.update_build, build_id=build, now=after(self._now), state=becomes)
        await self._database.write(move)
        self.states[build] = becomes

    async def _delete(self) -> None:
        finished = [build for build, state in self.states.items() if state in FINISHED_BUILD]
        await self.delete(self._chance.sample(finished, min(len(finished), 2)))

    async def _delete_the_newest(self) -> None:
        """Their ordinals are given to those made next."""
        await self.delete(list(self.states)[-self._chance.randrange(1, 5) :])

    async def delete(self, builds: Collection[str]) -> None:
        await self._database.write(partial(delete_builds, build_ids=list(builds)))
        for build in builds:
            del self.states[build]


def listings() -> list[tuple[Scope, frozenset[BuildState] | None, BuildOrder, bool]]:
    kinds = product(
        (ACME, OF_SHOP),
        (None, SUCCEEDED, FAILED, SUCCEEDED | FAILED, frozenset({BuildState.QUEUED})),
        BuildOrder,
        (False, True),
    )
    return [*kinds, *((EVERYBODY, None, BuildOrder.CREATED_AT, one) for one in (False, True))]


@pytest.mark.usefixtures("each_database")
@pytest.mark.parametrize("seed", range(2))
async def test_whatever_happens_each_page_is_as_without_marks(
    database: Database, seed: int
) -> None:
    chance, marks = random.Random(seed), ListMarks()
    held: Counter[str | None] = Counter()
    life = Life(database, chance, SHOP, SHOP, SITE, THEIRS)
    await life.go_on(240)
    for _ in range(9):
        if chance.random() < 0.6:
            await marks.look(database, least=3 * STEP, step=STEP)
        await life.go_on(chance.randrange(5))
        for scope, states, order, ascending in listings():
            listing = BuildListing(
                limit=3,
                offset=chance.randrange(90),
                states=states,
                order=order,
                ascending=ascending,
            )
            walked, page = await database.read(partial(_both, scope, listing, marks))
            assert page == walked, (scope, listing)
            by = pages_of(scope, listing).by
            held[by] += await database.read(partial(_holds, scope, listing, marks))
    assert all(held[by] >= 5 for by in (None, "updated_at", "number")), held


async def _both(
    scope: Scope, listing: BuildListing, marks: ListMarks, connection: AsyncConnection
) -> tuple[Any, Any]:
    walked = await list_builds(connection, scope, listing)
    return walked, await list_builds(connection, scope, listing, marks.known)


async def _holds(
    scope: Scope, listing: BuildListing, marks: ListMarks, connection: AsyncConnection
) -> bool:
    pages = pages_of(scope, listing)
    known = marks.known.get(pages.key)
    total = await count_builds(connection, scope, states=listing.states)
    return known is not None and bool(await ranks_of(connection, pages, known, total))


@pytest.fixture
async def life(database: Database) -> Life:
    """20 builds that have succeeded, but for the third."""
    life = Life(database, random.Random(1), SHOP)
    for number in range(20):
        build = await life.make()
        if number != 2:
            await life.move(build, BuildState.SUCCEEDED)
    return life


OLDEST = BuildListing(limit=2, ascending=True)
OLDEST_SUCCESSES = BuildListing(limit=2, ascending=True, states=SUCCEEDED)


@pytest.fixture
def marks() -> ListMarks:
    return ListMarks()


@pytest.fixture
def held(database: Database, marks: ListMarks) -> Held:
    async def ask(listing: BuildListing) -> bool:
        return await database.read(partial(_holds, OF_SHOP, listing, marks))

    return ask


@pytest.mark.usefixtures("each_database")
async def test_marks_hold_while_builds_are_made_and_not_when_one_comes_or_goes(
    database: Database, life: Life, marks: ListMarks, held: Held
) -> None:
    await marks.look(database, least=3 * STEP, step=STEP)
    assert await held(OLDEST)
    assert await held(OLDEST_SUCCESSES)
    newest = [await life.make() for _ in range(STEP)]
    assert await held(OLDEST)
    assert await held(OLDEST_SUCCESSES)
    third = list(life.states)[2]
    await life.move(third, BuildState.SUCCEEDED)
    assert await held(OLDEST)
    assert not await held(OLDEST_SUCCESSES)
    await life.delete([third])
    assert not await held(OLDEST)
    await marks.look(database, least=3 * STEP, step=STEP)
    assert await held(OLDEST)
    assert await held(OLDEST_SUCCESSES)
    await life.delete(newest[1:])
    assert await held(OLDEST)


BY_NUMBER = BuildListing(limit=2, order=BuildOrder.NUMBER)
SUCCESSES_BY_NUMBER = BuildListing(limit=2, order=BuildOrder.NUMBER, states=SUCCEEDED)
WIDE = 16


@pytest.fixture
async def of_acme(database: Database, life: Life, marks: ListMarks) -> Held:
    """Whether marks hold, `WIDE` apart, which each page is then compared from."""
    for _ in range(2 * WIDE):
        await life.move(await life.make(), BuildState.SUCCEEDED)

    async def ask(listing: BuildListing) -> bool:
        await database.read(partial(_same_pages, listing, len(life.states), marks))
        return await database.read(partial(_holds, ACME, listing, marks))

    await marks.look(database, least=2 * WIDE, step=WIDE)
    return ask


async def _same_pages(
    listing: BuildListing, count: int, marks: ListMarks, connection: AsyncConnection
) -> None:
    for offset, ascending in product(range(0, count, 3), (False, True)):
        page = replace(listing, offset=offset, ascending=ascending)
        walked, found = await _both(ACME, page, marks, connection)
        assert found == walked, page


@pytest.mark.usefixtures("each_database")
async def test_by_number_marks_hold_while_a_small_project_builds_and_not_when_one_goes(
    database: Database, life: Life, marks: ListMarks, of_acme: Held
) -> None:
    assert await of_acme(BY_NUMBER)
    assert await of_acme(SUCCESSES_BY_NUMBER)
    small = Life(database, random.Random(1), SITE)
    for _ in range(3):
        await small.move(await small.make(), BuildState.SUCCEEDED)
        assert await of_acme(BY_NUMBER)
        assert await of_acme(SUCCESSES_BY_NUMBER)
    first, _, third, *_ = life.states
    await life.move(third, BuildState.FAILED)
    assert await of_acme(BY_NUMBER)
    assert not await of_acme(SUCCESSES_BY_NUMBER)
    await life.delete([first])
    assert not await of_acme(BY_NUMBER)
    assert not await of_acme(SUCCESSES_BY_NUMBER)


async def test_by_number_what_came_is_counted_once_by_a_look_and_nothing_walked_anew(
    database: Database, marks: ListMarks, of_acme: Held
) -> None:
    key = pages_of(ACME, BY_NUMBER).key
    before, small = marks.known[key], Life(database, random.Random(1), SITE)
    for _ in range(4):
        for _ in range(3):
            await small.make()
        await marks.look(database, least=2 * WIDE, step=WIDE)
        assert await of_acme(BY_NUMBER)
    now = marks.known[key]
    assert now.keys[: len(before.keys)] == before.keys
    assert now.edge > before.edge
    assert now.entries == before.entries + 12


async def test_by_number_marks_are_made_anew_where_many_have_come_between_two(
    database: Database, marks: ListMarks, of_acme: Held
) -> None:
    key = pages_of(ACME, BY_NUMBER).key
    before = marks.known[key].keys
    for n in range(3):
        small = project_of("acme", f"small-{n}")
        await database.write(partial(save, things=[small]))
        life = Life(database, random.Random(1), small)
        for _ in range(7):
            await life.make()
        await marks.look(database, least=2 * WIDE, step=WIDE)
        assert await of_acme(BY_NUMBER)
    now = marks.known[key]
    assert now.keys != before
    assert max(above - below for below, above in pairwise([0, *now.ranks])) <= 2 * WIDE


async def test_one_that_ends_does_not_hide_one_that_is_deleted(
    database: Database, life: Life, marks: ListMarks, held: Held
) -> None:
    await marks.look(database, least=3 * STEP, step=STEP)
    first, _, third, *_ = life.states
    await life.move(third, BuildState.SUCCEEDED)
    await life.delete([first])
    assert not await held(OLDEST_SUCCESSES)


async def test_more_builds_than_are_counted_do_not_hide_one_that_is_deleted(
    database: Database, life: Life, marks: ListMarks, held: Held
) -> None:
    await marks.look(database, least=3 * STEP, step=STEP)
    for _ in range(3 * STEP + 1):
        await life.make()
    await life.delete([next(iter(life.states))])
    assert not await held(OLDEST)


async def test_a_new_build_with_the_ordinal_of_a_deleted_one_does_not_hide_another(
    database: Database, life: Life, marks: ListMarks, held: Held
) -> None:
    await life.delete([list(life.states)[-2]])
    await life.make()
    await marks.look(database, least=3 * STEP, step=STEP)
    assert await held(OLDEST)
    first, *_, last_but_one, last = life.states
    await life.delete([last, last_but_one])
    await life.delete([first])
    for _ in range(3):
        await life.make()
    assert not await held(OLDEST)


async def test_a_look_that_finds_all_as_it_was_makes_nothing_anew(
    database: Database, life: Life, marks: ListMarks
) -> None:
    await marks.look(database, least=3 * STEP, step=STEP)
    before = dict(marks.known)
    assert before
    await marks.look(database, least=3 * STEP, step=STEP)
    assert all(marks.known[key] is before[key] for key in before)
    await life.delete(list(life.states)[2:])
    await marks.look(database, least=3 * STEP, step=STEP)
    assert not marks.known
