"""What is to go, and what never does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.domain.upkeep.retention import (
    BuildFacts,
    Kind,
    Limits,
    Rules,
    Used,
    Walk,
    shares,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)
NOTHING = Rules(builds=Limits(), logs=Limits(), artifacts=Limits())


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def limits() -> st.SearchStrategy[Limits]:
    some = st.none() | st.integers(0, 50)
    return st.builds(Limits, days=some, number=some, size=some)


def facts() -> st.SearchStrategy[BuildFacts]:
    return st.builds(
        BuildFacts,
        id=st.just(""),
        number=st.just(0),
        finished_at=st.none() | st.integers(0, 100).map(ago),
        succeeded=st.booleans(),
        branch=st.sampled_from(["main", "old", None]),
        series=st.sampled_from(["ci", "docs"]),
        pinned=st.booleans(),
        referred_to=st.booleans(),
        has_logs=st.booleans(),
        has_artifacts=st.booleans(),
        log_bytes=st.integers(0, 20),
        artifact_bytes=st.integers(0, 20),
    )


def numbered(found: Sequence[BuildFacts]) -> list[BuildFacts]:
    """Newest first."""
    return [
        BuildFacts(
            **{name: getattr(one, name) for name in BuildFacts.__slots__}
            | {"id": f"b{index}", "number": len(found) - index}
        )
        for index, one in enumerate(found)
    ]


def going(rules: Rules, *builds: BuildFacts, branches: set[str] | None = None) -> list[str]:
    walk = Walk(rules=rules, now=NOW, branches=branches)
    return [f"{one.id} {kind}" for one, kind in walk.going(builds)]


def build(name: str, days: float, **values: object) -> BuildFacts:
    return BuildFacts(id=name, number=1, finished_at=ago(days), **values)  # type: ignore[arg-type]


@settings(deadline=None)
@given(
    st.builds(Rules, builds=limits(), logs=limits(), artifacts=limits()),
    st.lists(facts(), max_size=25),
    st.none() | st.sets(st.sampled_from(["main", "old"])),
    st.integers(1, 7),
)
def test_what_is_always_kept_never_goes(
    rules: Rules, found: list[BuildFacts], branches: set[str] | None, page: int
) -> None:
    builds = numbered(found)
    walk = Walk(rules=rules, now=NOW, branches=branches)
    gone = {
        one.id
        for begin in range(0, len(builds), page)
        for one, _ in walk.going(builds[begin : begin + page])
    }
    newest: dict[object, str] = {}
    for one in builds:
        exists = one.branch is not None and (branches is None or one.branch in branches)
        if one.succeeded and exists:
            newest.setdefault((one.branch, one.series), one.id)
    kept = {one.id for one in builds if one.finished_at is None or one.pinned or one.referred_to}
    assert not gone & (kept | set(newest.values()))


@settings(deadline=None)
@given(st.lists(facts(), max_size=25), st.integers(0, 20))
def test_all_beyond_the_number_goes_that_is_not_kept(found: list[BuildFacts], number: int) -> None:
    builds = numbered(found)
    rules = NOTHING.with_those({"builds": {"number": number}})
    gone = going(rules, *builds, branches=set())
    assert gone == [
        f"{one.id} builds"
        for one in builds[number:]
        if one.finished_at is not None and not one.pinned and not one.referred_to
    ]


@settings(deadline=None)
@given(st.lists(facts(), max_size=25), st.booleans())
def test_without_limits_nothing_goes(found: list[BuildFacts], known: bool) -> None:
    assert going(NOTHING, *numbered(found), branches=set() if known else None) == []


def test_logs_and_artifacts_go_before_their_build() -> None:
    builds = [build("week", 7), build("month", 31), build("half", 181), build("years", 800)]
    rules = Rules(artifacts=Limits(days=30))
    assert going(rules, *builds) == [
        "month artifacts",
        "half logs",
        "half artifacts",
        "years builds",
    ]


def test_what_is_gone_already_does_not_go_again() -> None:
    assert going(Rules(), build("a", 200, has_logs=False, has_artifacts=False)) == []


def test_the_newest_success_of_each_branch_and_workflow_stays_while_the_branch_exists() -> None:
    builds = [
        build("failed", 400, branch="main", series="ci"),
        build("main", 500, branch="main", series="ci", succeeded=True),
        build("docs", 600, branch="main", series="docs", succeeded=True),
        build("older", 700, branch="main", series="ci", succeeded=True),
        build("gone", 800, branch="topic", series="ci", succeeded=True),
    ]
    assert going(Rules(), *builds, branches={"main"}) == [
        "failed builds",
        "older builds",
        "gone builds",
    ]
    assert going(Rules(), *builds) == ["failed builds", "older builds"]


def test_the_newest_stay_within_the_bytes() -> None:
    rules = NOTHING.with_those({"artifacts": {"bytes": 10}})
    builds = [build(name, 1, artifact_bytes=4, log_bytes=100) for name in ("a", "b", "c", "d")]
    assert going(rules, *builds) == ["c artifacts", "d artifacts"]
    assert going(NOTHING.with_those({"builds": {"bytes": 104}}), *builds) == [
        f"{name} {Kind.BUILDS}" for name in ("b", "c", "d")
    ]


def test_a_kind_that_is_given_has_only_the_limits_that_are_named() -> None:
    rules = Rules().with_those({"logs": {"number": 5}, "artifacts": {}})
    assert rules.to_json() == {
        "builds": {"days": 365},
        "logs": {"number": 5},
        "artifacts": {},
        "keep": {"days": 365},
    }


@settings(deadline=None)
@given(
    st.builds(Rules, builds=limits(), logs=limits(), artifacts=limits()),
    st.lists(facts(), max_size=25),
    st.lists(st.integers(1, 90), max_size=3, unique=True),
)
def test_what_says_itself_how_long_it_stays_goes_then_and_not_before(
    rules: Rules, found: list[BuildFacts], days: list[int]
) -> None:
    keeps = tuple(one * 86_400 for one in days)
    builds = [replace(one, keeps=keeps) for one in numbered(found)]
    walk = Walk(rules=rules, now=NOW, branches=set())
    gone = {(one.id, kind) for one, kind in walk.going(builds)}
    for one in builds:
        if one.finished_at is None or one.pinned or one.referred_to:
            continue
        over = [keep for keep in keeps if NOW - one.finished_at > timedelta(seconds=keep)]
        if len(over) < len(keeps):
            assert (one.id, Kind.BUILDS) not in gone
        whole = (one.id, Kind.BUILDS) in gone
        assert ((one.id, Kind.KEEP) in gone) == (bool(over) and not whole)


def used() -> st.SearchStrategy[dict[str, Used]]:
    one = st.builds(Used, builds=st.integers(0, 100), size=st.integers(0, 1000))
    return st.dictionaries(st.text("abcdef", min_size=1, max_size=2), one, max_size=6)


@given(used(), st.integers(0, 2000), st.integers(0, 300))
def test_shares_keep_all_projects_within_the_total_and_take_from_those_that_have_most(
    projects: dict[str, Used], size: int, number: int
) -> None:
    found = shares(Limits(days=7, size=size, number=number), projects)
    left = {
        one: min(its.size, found[one].size if found[one].size is not None else its.size)
        for one, its in projects.items()
    }
    assert sum(left.values()) <= size
    assert all(share.days == 7 for share in found.values())
    cut = [one for one in projects if left[one] < projects[one].size]
    assert len({left[one] for one in cut}) <= 1
    for one in cut:
        # Nobody who keeps all of his has more than those that were cut down.
        assert max(left.values()) <= left[one]
    if cut:
        # No byte more could be given to each of them.
        assert size - sum(left.values()) < len(cut)
    numbers = (its.builds for its in projects.values())
    assert (sum(numbers) > number) == any(one.number is not None for one in found.values())


def test_a_total_takes_from_the_largest_alone() -> None:
    projects = {
        "small": Used(builds=1, size=10),
        "middle": Used(builds=1, size=100),
        "large": Used(builds=9, size=1000),
    }
    found = shares(Limits(size=400), projects)
    assert {one: share.size for one, share in found.items()} == {
        "small": None,
        "middle": None,
        "large": 290,
    }
