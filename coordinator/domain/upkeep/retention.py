"""What of a project's builds is to go: by age, number and size, never what is always kept.

A project's builds are looked at from the newest to the oldest. Whatever the limits say, a build
stays with its logs and artifacts that

- has not finished, or is held,
- is pinned,
- is the newest success of its workflow, and of its module, on a branch that exists,
- is referred to by another: a step's result was taken from it, or a deployment runs its image.

Outputs with a `keep` of their own go once it is over, and not before: while it lasts, the build
stays with them, beyond whatever limit it is. What outsiders wrote can only make theirs go earlier.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

MAX_DAYS = 36_500
MAX_NUMBER = 1_000_000_000
MAX_BYTES = 2**60


TOTAL = "total"
"""Limits of all projects' builds together, whatever limits of their own these have."""


class Kind(StrEnum):
    BUILDS = "builds"
    """With all that is theirs."""
    LOGS = "logs"
    ARTIFACTS = "artifacts"
    KEEP = "keep"
    """Outputs that say themselves how long they stay; its days are the most that counts of that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is beyond any of them goes; None: no such limit."""

    days: int | None = None
    """Since the build ended."""
    number: int | None = None
    """So many of the project's newest builds."""
    size: int | None = None
    """Bytes of the project's newest builds together."""

    def to_json(self) -> dict[str, int]:
        named = {"days": self.days, "number": self.number, "bytes": self.size}
        return {name: value for name, value in named.items() if value is not None}

    @classmethod
    def from_json(cls, value: Mapping[str, int]) -> Limits:
        return cls(days=value.get("days"), number=value.get("number"), size=value.get("bytes"))

    def within(self, other: Limits) -> Limits:
        """What is beyond either goes."""
        return Limits(
            days=_least(self.days, other.days),
            number=_least(self.number, other.number),
            size=_least(self.size, other.size),
        )


def _least(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else min(one, other)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    builds: Limits = field(default_factory=lambda: Limits(days=365))
    logs: Limits = field(default_factory=lambda: Limits(days=180))
    artifacts: Limits = field(default_factory=lambda: Limits(days=90))
    keep: Limits = field(default_factory=lambda: Limits(days=365))

    def of(self, kind: Kind) -> Limits:
        limits: Limits = getattr(self, kind.value)
        return limits

    def with_those(self, given: Mapping[str, Mapping[str, int]]) -> Rules:
        """Kinds that are given win as wholes: a limit that is not named there is none."""
        kinds = {kind: its for kind, its in given.items() if kind != TOTAL}
        return replace(self, **{kind: Limits.from_json(its) for kind, its in kinds.items()})

    def with_share(self, share: Limits) -> Rules:
        """With a project's share of the installation's total."""
        return replace(self, builds=self.builds.within(share))

    def within(self, most: Rules) -> Rules:
        """A project's: its own `keep` is no longer than the installation's."""
        days = [one.keep.days for one in (self, most) if one.keep.days is not None]
        return replace(self, keep=Limits(days=min(days, default=None)))

    def to_json(self) -> dict[str, Any]:
        return {one.name: self.of(Kind(one.name)).to_json() for one in fields(self)}

    @property
    def measures(self) -> bool:
        """Whether bytes count."""
        return any(self.of(kind).size is not None for kind in Kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What a project has."""

    builds: int
    size: int
    """Bytes of its logs and artifacts."""


def shares(total: Limits, used: Mapping[str, Used]) -> Mapping[str, Limits]:
    """What each project may have, by its id, so that all together are within the total.

    Those that have little keep it all: what is too much goes from those that have most, down to a
    measure that is the same for all of them.
    """
    sizes = {one: its.size for one, its in used.items()}
    numbers = {one: its.builds for one, its in used.items()}
    size, number = _measure(total.size, sizes), _measure(total.number, numbers)
    return {
        one: Limits(
            days=total.days,
            size=size if size is not None and its.size > size else None,
            number=number if number is not None and its.builds > number else None,
        )
        for one, its in used.items()
    }


def _measure(limit: int | None, amounts: Mapping[str, int]) -> int | None:
    """The largest one that keeps the sum of the amounts, none counted beyond it, within the limit;
    None where they are within it as they are."""
    if limit is None or sum(amounts.values()) <= limit:
        return None
    left = limit
    ascending = sorted(amounts.values())
    for place, amount in enumerate(ascending):
        others = len(ascending) - place
        if amount * others > left:
            return left // others
        left -= amount
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildFacts:
    id: str
    number: int
    finished_at: datetime | None
    """None while it has not finished."""
    succeeded: bool = False
    branch: str | None = None
    series: str = ""
    """Its workflow and, where one was asked for, its module."""
    pinned: bool = False
    referred_to: bool = False
    has_logs: bool = True
    has_artifacts: bool = True
    log_bytes: int = 0
    artifact_bytes: int = 0
    keeps: Sequence[int] = ()
    """Seconds that outputs of it stay after its end, as they say themselves, and which have not
    gone yet."""
    of_fork: bool = False

    def bytes_of(self, kind: Kind) -> int:
        """Where those are counted. Of artifacts all are, whatever they say themselves; how many of
        them do is not known here."""
        logs = self.log_bytes if kind in (Kind.BUILDS, Kind.LOGS) else 0
        return logs + (self.artifact_bytes if kind in (Kind.BUILDS, Kind.ARTIFACTS) else 0)


@dataclass(slots=True)
class Walk:
    """One look at a project's builds, newest first; give it page after page."""

    rules: Rules
    now: datetime
    branches: Collection[str] | None
    """Those that exist; None where nobody knows, so that all do."""
    _seen: int = 0
    _bytes: dict[Kind, int] = field(default_factory=dict)
    _successes: set[tuple[str, str]] = field(default_factory=set)

    def going(self, page: Sequence[BuildFacts]) -> Iterator[tuple[BuildFacts, Kind]]:
        """What goes of each of them; a build that goes as a whole is there once."""
        for facts in page:
            beyond = self._beyond(facts)
            if self._is_kept(facts):
                continue
            over = over_keeps(facts, self.rules, self.now)
            if Kind.BUILDS in beyond:
                if facts.of_fork or len(over) == len(facts.keeps):
                    yield facts, Kind.BUILDS
                    continue
                beyond |= {Kind.LOGS, Kind.ARTIFACTS}
            if over:
                yield facts, Kind.KEEP
            if Kind.LOGS in beyond and facts.has_logs:
                yield facts, Kind.LOGS
            if Kind.ARTIFACTS in beyond and facts.has_artifacts:
                yield facts, Kind.ARTIFACTS

    def _is_kept(self, facts: BuildFacts) -> bool:
        newest = self._is_newest_success(facts)
        return facts.finished_at is None or facts.pinned or facts.referred_to or newest

    def _is_newest_success(self, facts: BuildFacts) -> bool:
        if not facts.succeeded or facts.branch is None:
            return False
        if self.branches is not None and facts.branch not in self.branches:
            return False
        key = (facts.branch, facts.series)
        if key in self._successes:
            return False
        self._successes.add(key)
        return True

    def _beyond(self, facts: BuildFacts) -> set[Kind]:
        """Of which kinds it is beyond a limit; counts it in, whether it is kept or not."""
        self._seen += 1
        found = set()
        for kind in (Kind.BUILDS, Kind.LOGS, Kind.ARTIFACTS):
            limits = self.rules.of(kind)
            size = self._bytes[kind] = self._bytes.get(kind, 0) + facts.bytes_of(kind)
            if limits.number is not None and self._seen > limits.number:
                found.add(kind)
            if limits.size is not None and size > limits.size and facts.bytes_of(kind):
                found.add(kind)
            if limits.days is not None and _is_over(facts.finished_at, limits.days, self.now):
                found.add(kind)
        return found


def over_keeps(facts: BuildFacts, rules: Rules, now: datetime) -> frozenset[int]:
    """Those of its `keeps` that are over."""
    if facts.finished_at is None:
        return frozenset()
    most = [rules.keep.days, rules.artifacts.days if facts.of_fork else None]
    seconds = [days * 86_400 for days in most if days is not None]
    lasted = (now - facts.finished_at).total_seconds()
    return frozenset(keep for keep in facts.keeps if lasted > min([keep, *seconds]))


def _is_over(since: datetime | None, days: int, now: datetime) -> bool:
    return since is not None and now - since > timedelta(days=days)
