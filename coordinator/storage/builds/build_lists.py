"""The one list of builds under all dialects: every order and filter stands on an index of its own.

The indexes are those of the table `builds`; `tests/integration/builds/test_list_plans.py` holds
each of these queries to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from coordinator.domain.errors import Invalid
from coordinator.domain.lifecycle import FINISHED_BUILD, BuildState
from coordinator.domain.listing import BuildListing, BuildOrder, Scope, Window
from coordinator.domain.model import Build
from coordinator.storage.builds.build_counts import count_builds, counted_builds
from coordinator.storage.builds.builds import build_of
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.marks import UNMARKED, Known, read_page
from coordinator.storage.pages import Comers, Pages, Stretch, shown_rows
from coordinator.storage.rows import columns
from coordinator.storage.tables import builds

_UNFINISHED = [state for state in BuildState if state not in FINISHED_BUILD]
_SHOWN = shown_rows(builds, *columns(Build, builds))


async def list_builds(
    connection: AsyncConnection, scope: Scope, listing: BuildListing, known: Known = UNMARKED
) -> tuple[Sequence[Build], int]:
    """The page, and how many builds its list has. Raises Invalid for what has no index."""
    pages = pages_of(scope, listing)
    total = await count_builds(connection, scope, states=listing.states, branch=listing.branch)
    page = await read_page(
        connection,
        pages,
        _SHOWN,
        build_of,
        total=total,
        limit=listing.limit,
        offset=listing.offset,
        known=known,
    )
    return page, total


async def newest_builds(connection: AsyncConnection, scope: Scope, limit: int) -> Sequence[Build]:
    """Without how many there are, which is counted over all projects."""
    pages = pages_of(scope, BuildListing(limit=limit))
    window = Window(offset=0, count=limit, backwards=False)
    return await pages.read(connection, _SHOWN, window, build_of)


def pages_of(scope: Scope, listing: BuildListing) -> Pages:
    """Raises Invalid for what has no index."""
    by, states = _order(scope, listing), listing.states or frozenset()
    some = 0 < len(states) < len(BuildState)
    return Pages(
        table=builds,
        stretches=_stretches(scope, listing),
        by=by,
        ascending=listing.ascending,
        # A project's first build has the number 1, whenever it is made.
        comes_within=by == BuildOrder.NUMBER.value,
        steady=not some or states <= FINISHED_BUILD,
        # What ends has moved last, and comes last by that.
        comers=_unfinished(scope) if some and by != BuildOrder.UPDATED_AT.value else None,
    )


def _unfinished(scope: Scope) -> Comers:
    of_states = builds.c.state.in_([state.value for state in _UNFINISHED])
    return Comers(
        all_of_them=counted_builds(scope, states=_UNFINISHED),
        are=sa.and_(Stretch(of=_whose(scope)).condition(), of_states),
    )


def _order(scope: Scope, listing: BuildListing) -> str | None:
    """What the list is sorted by before the ordinal, which a project's numbers follow."""
    if listing.order is BuildOrder.CREATED_AT:
        return None
    if listing.order is BuildOrder.NUMBER and scope.project_id is not None:
        return None
    if scope.account_id is None and scope.project_id is None:
        raise Invalid("name a project or an account: over all of them builds are listed by age")
    return listing.order.value


def _stretches(scope: Scope, listing: BuildListing) -> Sequence[Stretch]:
    """One for each state asked for, since an index has each state by itself."""
    states, whose = listing.states, _whose(scope)
    if listing.branch:
        return [_of_a_branch(scope, whose, listing)]
    if states is None or len(states) == len(BuildState):
        return [Stretch(of=whose)]
    return [Stretch(of=[*whose, (builds.c.state, state.value)]) for state in sorted(states)]


def _whose(scope: Scope) -> Sequence[tuple[sa.Column[Any], str]]:
    if scope.project_id is not None:
        return [(builds.c.project_id, scope.project_id)]
    return [] if scope.account_id is None else [(builds.c.account_id, scope.account_id)]


def _of_a_branch(
    scope: Scope, whose: Sequence[tuple[sa.Column[Any], str]], listing: BuildListing
) -> Stretch:
    if scope.project_id is None:
        raise Invalid("name a project: a branch is one of a project's")
    only = None
    if listing.states is not None:
        # An expression, which no index has: for one state SQLite would else take the index of
        # states, and read a row for each build of another branch.
        only = builds.c.state.concat("").in_(sorted(state.value for state in listing.states))
    if listing.order is BuildOrder.UPDATED_AT:
        of_branch = builds.c.branch == listing.branch
        return Stretch(of=whose, only=of_branch if only is None else sa.and_(of_branch, only))
    return Stretch(of=[*whose, (builds.c.branch, listing.branch or "")], only=only)
