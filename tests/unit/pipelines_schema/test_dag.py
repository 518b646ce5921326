from __future__ import annotations

import graphlib
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines_schema import (
    CycleFound,
    Step,
    find_cycles,
    topological_order,
    transitive_dependencies,
)
from pipelines_schema.dag import describe_cycle, precedence


def steps(**dependencies: str) -> tuple[Step, ...]:
    """`c="a b"`: the step c depends on a and b."""
    return tuple(
        Step(name=name, image="i", script="s", depends_on=tuple(names.split()))
        for name, names in dependencies.items()
    )


DIAMOND = steps(join="left right", right="first", left="first", first="", alone="")


def test_the_order_puts_dependencies_first_and_else_keeps_the_files_order() -> None:
    assert topological_order(DIAMOND) == ("first", "right", "left", "join", "alone")
    assert topological_order(steps(a="", b="", c="")) == ("a", "b", "c")


def test_all_that_a_step_hangs_on_is_found() -> None:
    assert transitive_dependencies(DIAMOND, "join") == ("right", "left", "first")
    assert transitive_dependencies(DIAMOND, "first") == ()


def test_what_comes_before_what_is_answered_for_all_pairs() -> None:
    comes_before = precedence(DIAMOND)
    names = [step.name for step in DIAMOND]
    for later in names:
        before = transitive_dependencies(DIAMOND, later)
        assert [comes_before(name, later) for name in names] == [name in before for name in names]
    with pytest.raises(CycleFound):
        precedence(steps(a="b", b="a"))


def test_a_cycle_is_named_by_the_way_round() -> None:
    circle = steps(x="a", a="b", b="c d", c="", d="a")
    assert find_cycles(circle) == (("a", "b", "d"),)
    assert describe_cycle(("a", "b", "d")) == "a → b → d → a"
    with pytest.raises(CycleFound, match="a → b → d → a") as raised:
        topological_order(circle)
    assert raised.value.cycle == ("a", "b", "d")


def test_each_knot_is_named_once_by_its_shortest_way() -> None:
    knots = steps(a="a", b="c", c="d b", d="b", e="a b", f="g", g="f")
    assert find_cycles(knots) == (("a",), ("b", "c"), ("f", "g"))


def test_a_graph_without_cycles_has_none() -> None:
    assert find_cycles(DIAMOND) == ()


def test_a_chain_longer_than_pythons_stack_is_walked() -> None:
    names = [f"s{number}" for number in range(3000)]
    chain = steps(**{names[0]: names[-1]}, **dict(itertools.pairwise(reversed(names))))
    assert len(find_cycles(chain)[0]) == 3000
    straight = steps(**dict(itertools.pairwise(reversed(names))), s0="")
    assert topological_order(straight)[-1] == "s2999"


def test_a_dense_graph_without_cycles_is_checked_at_once() -> None:
    # Each path counted by itself there are 2^198 of them: the exponential check of a peer.
    names = [f"s{number}" for number in range(200)]
    dense = steps(**{name: " ".join(names[:number]) for number, name in enumerate(names)})
    assert find_cycles(dense) == ()
    assert topological_order(dense) == tuple(names)


graphs = st.integers(1, 7).flatmap(
    lambda size: st.lists(
        st.sets(st.integers(0, size - 1), max_size=3), min_size=size, max_size=size
    )
)


@given(graphs)
@settings(deadline=None)
def test_cycles_and_orders_agree_with_the_standard_library(edges: list[set[int]]) -> None:
    graph = steps(**{f"s{n}": " ".join(f"s{m}" for m in sorted(to)) for n, to in enumerate(edges)})
    depends_on = {step.name: step.depends_on for step in graph}
    sorter = graphlib.TopologicalSorter(depends_on)
    try:
        sorter.prepare()
    except graphlib.CycleError:
        for cycle in find_cycles(graph):
            for name, waits_for in zip(cycle, [*cycle[1:], cycle[0]], strict=True):
                assert waits_for in depends_on[name]
        assert find_cycles(graph)
    else:
        assert find_cycles(graph) == ()
        order = topological_order(graph)
        assert sorted(order) == sorted(depends_on)
        for name in order:
            assert all(order.index(before) < order.index(name) for before in depends_on[name])
