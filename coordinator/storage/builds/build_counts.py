"""How many builds there are, of each project, branch and state: a list's total without a COUNT.

Kept in the transaction of whatever makes, moves or deletes a build; storage.builds alone does that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from coordinator.domain.lifecycle import BuildState
from coordinator.domain.listing import Scope
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.direct_statements import direct
from coordinator.storage.tables import build_counts

ALL_BRANCHES = ""
"""No branch is named so: the row that counts the builds of every branch and of none."""

# Both databases know it, but SQLAlchemy has one construct for each.
_ADD = direct(
    sa.text(
        "INSERT INTO build_counts (branch, account_id, project_id, state, builds)"
        " VALUES (:branch, :account_id, :project_id, :state, :builds)"
        " ON CONFLICT (branch, account_id, project_id, state)"
        " DO UPDATE SET builds = build_counts.builds + excluded.builds"
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Where a build is counted."""

    account_id: str
    project_id: str
    branch: str | None
    state: str


async def count(connection: AsyncConnection, *changes: tuple[Counted, int]) -> None:
    """Add to the counters: +1 where a build comes, -1 where it was."""
    rows = [row for counted, builds in changes for row in _rows(counted, builds)]
    # In one order for everybody: two that each wait for a row of the other's never end.
    rows.sort(key=lambda row: (row["branch"], row["project_id"], row["state"]))
    await connection.execute(_ADD, rows)


def _rows(counted: Counted, builds: int) -> Iterable[dict[str, Any]]:
    for branch in {ALL_BRANCHES, counted.branch or ALL_BRANCHES}:
        yield {
            "branch": branch,
            "account_id": counted.account_id,
            "project_id": counted.project_id,
            "state": counted.state,
            "builds": builds,
        }


async def count_builds(
    connection: AsyncConnection,
    scope: Scope,
    *,
    states: Collection[BuildState] | None = None,
    branch: str | None = None,
) -> int:
    """How many the scope has of these states and this branch."""
    query = counted_builds(scope, states=states, branch=branch)
    return int((await connection.execute(query)).scalar_one())


def counted_builds(
    scope: Scope,
    *,
    states: Collection[BuildState] | None = None,
    branch: str | None = None,
) -> sa.Select[Any]:
    counts = build_counts.c
    query = sa.select(sa.func.coalesce(sa.func.sum(counts.builds), 0)).where(
        counts.branch == (branch or ALL_BRANCHES)
    )
    if scope.account_id is not None:
        query = query.where(counts.account_id == scope.account_id)
    if scope.project_id is not None:
        query = query.where(counts.project_id == scope.project_id)
    if states is not None:
        query = query.where(counts.state.in_(sorted(state.value for state in states)))
    return query
