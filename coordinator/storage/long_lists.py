"""Which lists are so long that their pages are walked to from marks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import sqlalchemy as sa

from coordinator.domain.lifecycle import FINISHED_BUILD, BuildState
from coordinator.domain.listing import AuditListing, BuildListing, BuildOrder, Scope
from coordinator.storage.audit import ALL_PROJECTS, audit_pages, count_audit
from coordinator.storage.builds.build_counts import ALL_BRANCHES, count_builds
from coordinator.storage.builds.build_lists import pages_of
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.marks import STEP
from coordinator.storage.pages import Pages
from coordinator.storage.pushes.deliveries import count_deliveries, delivery_pages
from coordinator.storage.tables import audit_counts, build_counts, projects

LONG = 8 * STEP
ALL = Scope(account_id=None)

_BUILDS = sa.select(
    build_counts.c.account_id,
    build_counts.c.project_id,
    build_counts.c.state,
    build_counts.c.builds.label("entries"),
).where(build_counts.c.branch == ALL_BRANCHES, build_counts.c.builds > 0)
_AUDIT = sa.select(
    audit_counts.c.account_id,
    audit_counts.c.project_id,
    audit_counts.c.action,
    audit_counts.c.entries,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LongList:
    pages: Pages
    total: Callable[[AsyncConnection], Coroutine[Any, Any, int]]
    """How many entries it has."""


async def long_lists(connection: AsyncConnection, least: int = LONG) -> Sequence[LongList]:
    """Those that have at least so many entries, and whose marks may hold; first those that are
    neither filtered nor sorted by anything but age, which are opened most."""
    found = [
        *await _of_builds(connection, least),
        *await _of_the_audit_log(connection, least),
        *await _of_deliveries(connection, least),
    ]
    return sorted(found, key=lambda one: (one.pages.by or "", len(one.pages.stretches[0].of)))


async def _of_builds(connection: AsyncConnection, least: int) -> Sequence[LongList]:
    counted: Counter[tuple[Scope, BuildState | None]] = Counter()
    for row in await connection.execute(_BUILDS):
        account = Scope(account_id=row.account_id)
        project = Scope(account_id=row.account_id, project_id=row.project_id)
        counted[ALL, None] += row.entries
        for scope, state in product((account, project), (None, BuildState(row.state))):
            counted[scope, state] += row.entries
    return [
        one
        for (scope, state), entries in counted.items()
        if entries >= least and (state is None or state in FINISHED_BUILD)
        for one in _orders_of(scope, state)
    ]


def _orders_of(scope: Scope, state: BuildState | None) -> Iterator[LongList]:
    states = None if state is None else frozenset({state})
    for order in _orders(scope):
        yield LongList(
            pages=pages_of(scope, BuildListing(limit=1, states=states, order=order)),
            total=partial(count_builds, scope=scope, states=states),
        )


def _orders(scope: Scope) -> Sequence[BuildOrder]:
    if scope == ALL:
        return [BuildOrder.CREATED_AT]
    if scope.project_id is not None:  # its numbers follow the order in which they are made
        return [BuildOrder.CREATED_AT, BuildOrder.UPDATED_AT]
    return list(BuildOrder)


async def _of_the_audit_log(connection: AsyncConnection, least: int) -> Sequence[LongList]:
    counted: Counter[tuple[Scope, str | None]] = Counter()
    for row in await connection.execute(_AUDIT):
        if row.project_id == ALL_PROJECTS:
            scopes = [ALL, Scope(account_id=row.account_id)]
        else:
            scopes = [Scope(account_id=row.account_id, project_id=row.project_id)]
        for scope, action in product(scopes, (None, row.action)):
            counted[scope, action] += row.entries
    return [
        LongList(
            pages=audit_pages(scope, AuditListing(limit=1, action=action)),
            total=partial(count_audit, scope=scope, action=action),
        )
        for (scope, action), entries in counted.items()
        if entries >= least
    ]


async def _of_deliveries(connection: AsyncConnection, least: int) -> Sequence[LongList]:
    large = sa.select(projects.c.id).where(projects.c.delivery_count >= least)
    return [
        LongList(
            pages=delivery_pages(project_id), total=partial(count_deliveries, project_id=project_id)
        )
        for project_id in (await connection.execute(large)).scalars()
    ]
