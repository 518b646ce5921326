"""The one list of builds under all dialects: every order and filter stands on an index of its own.

The indexes are those of the table `builds`; `tests/integration/test_list_plans.py` holds each of
these queries to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from coordinator.domain.errors import Invalid
from coordinator.domain.lifecycle import BuildState
from coordinator.domain.listing import BuildListing, BuildOrder, Scope, window_of
from coordinator.domain.model import Build
from coordinator.storage.build_counts import count_builds
from coordinator.storage.pages import page_ids, rows_of
from coordinator.storage.rows import columns, reader
from coordinator.storage.tables import builds

_build = reader(Build, state=BuildState)


async def list_builds(
    connection: AsyncConnection, scope: Scope, listing: BuildListing
) -> tuple[Sequence[Build], int]:
    """The page, and how many builds its list has. Raises Invalid for what has no index."""
    keys, arms = _keys(scope, listing), _arms(scope, listing)
    total = await count_builds(connection, scope, states=listing.states, branch=listing.branch)
    window = window_of(total=total, limit=listing.limit, offset=listing.offset)
    ids = await page_ids(connection, arms, keys, ascending=listing.ascending, window=window)
    shown = sa.select(*columns(Build, builds))
    return await rows_of(connection, shown, builds.c.id, ids, _build), total


def _keys(scope: Scope, listing: BuildListing) -> tuple[str, ...]:
    """What the list is sorted by; ends in what no two builds of it share."""
    if scope.project_id is not None and listing.order is not BuildOrder.UPDATED_AT:
        return (BuildOrder.NUMBER.value,)
    return (listing.order.value, "id")


def _arms(scope: Scope, listing: BuildListing) -> Sequence[sa.Select[Any]]:
    """The list in parts, one for each state asked for, since an index has each state by itself."""
    names = dict.fromkeys(("id", *_keys(scope, listing)))
    query = sa.select(*(builds.c[name] for name in names))
    states = _states(listing)
    if scope.account_id is None and scope.project_id is None:
        return [_of_everybody(query, listing, states)]
    if scope.project_id is not None:
        query = query.where(builds.c.project_id == scope.project_id)
    else:
        query = query.where(builds.c.account_id == scope.account_id)
    if listing.branch:
        return [_of_a_branch(query, scope, listing.branch, states)]
    if states is None:
        return [query]
    return [query.where(builds.c.state == state) for state in states] or [query.where(sa.false())]


def _states(listing: BuildListing) -> Sequence[str] | None:
    if listing.states is None or listing.states == frozenset(BuildState):
        return None
    return sorted(state.value for state in listing.states)


def _of_everybody(
    query: sa.Select[Any], listing: BuildListing, states: Sequence[str] | None
) -> sa.Select[Any]:
    if listing.branch or listing.order is not BuildOrder.CREATED_AT:
        raise Invalid("name a project or an account: over all of them builds are listed by age")
    return query if states is None else query.where(builds.c.state.in_(states))


def _of_a_branch(
    query: sa.Select[Any], scope: Scope, branch: str, states: Sequence[str] | None
) -> sa.Select[Any]:
    if scope.project_id is None:
        raise Invalid("name the project whose branch you mean")
    query = query.where(builds.c.branch == branch)
    if states is None:
        return query
    # An expression, which no index has: for one state SQLite would else take the index of states,
    # and read a row for each build of another branch.
    return query.where(builds.c.state.concat("").in_(states))
