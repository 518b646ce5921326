"""Lists: which things of whom, in what order, which page."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from coordinator.domain.lifecycle import BuildState


class BuildOrder(StrEnum):
    CREATED_AT = "created_at"
    """In the order they were made, which is that of the clock unless somebody sets it back."""
    UPDATED_AT = "updated_at"
    NUMBER = "number"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Whose things a list is of: a project's, an account's, or everybody's."""

    account_id: str | None
    """None: of all accounts."""
    project_id: str | None = None
    """A project of that account; None: of all its projects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildListing:
    """One page of a list of builds, as a dialect asks for it."""

    limit: int
    offset: int = 0
    """May lie beyond the end, however far: the page is empty there."""
    states: frozenset[BuildState] | None = None
    """None: any state."""
    branch: str | None = None
    """Only with a project, whose branch it is; None or empty: any branch and none."""
    order: BuildOrder = BuildOrder.CREATED_AT
    ascending: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditListing:
    """One page of the audit log, newest first."""

    limit: int
    offset: int = 0
    action: str | None = None


NO_MARK = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """How a page is reached from the nearer end of its list."""

    offset: int
    """How many are skipped from the end where the walk begins."""
    count: int
    """How many are on the page; 0 beyond the end."""
    backwards: bool
    """The walk goes from the list's last one to its first, so that it meets the page's last one
    first."""
    mark: int = NO_MARK
    """Where the walk begins: behind this mark, or NO_MARK: at an end of the list."""


def window_of(*, total: int, limit: int, offset: int) -> Window:
    """Where the page stands in a list of `total`: a database skips one by one, so skip few."""
    count = max(min(limit, total - offset), 0)
    behind = total - offset - count
    if count and behind < offset:
        return Window(offset=behind, count=count, backwards=True)
    return Window(offset=offset if count else 0, count=count, backwards=False)


def nearest(window: Window, *, total: int, ranks: Sequence[int]) -> Window:
    """The same page, reached from where the fewest are skipped: from an end of the list, or from
    one of its marks. Of each, in order, `ranks` has how many entries of the list stand up to it: a
    walk backwards from a mark meets the last of these first, a walk forwards the one after it."""
    first = total - window.offset - window.count if window.backwards else window.offset
    behind = first + window.count
    ways = [(window.offset, window.backwards, NO_MARK)]
    if before := bisect_right(ranks, first):
        ways.append((first - ranks[before - 1], False, before - 1))
    after = bisect_left(ranks, behind)
    if after < len(ranks):
        ways.append((ranks[after] - behind, True, after))
    offset, backwards, mark = min(ways)
    return Window(offset=offset, count=window.count, backwards=backwards, mark=mark)


def offset_of_page(page: int, limit: int) -> int:
    """Of a page counted from 1."""
    return (page - 1) * limit
