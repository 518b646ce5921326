"""The graph of a build's steps: order, cycles, and what hangs on what.

Works on anything with a `name` and a `depends_on`, so on a workflow's steps and a build's alike.
Every function takes time linear in steps and dependencies (the order: times log steps).
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Protocol


class Dependent(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def depends_on(self) -> Sequence[str]: ...


class CycleFound(ValueError):
    """The steps can't be ordered: each of `cycle` waits for the next, the last for the first."""

    def __init__(self, cycle: Sequence[str]) -> None:
        super().__init__(describe_cycle(cycle))
        self.cycle = tuple(cycle)


def describe_cycle(cycle: Sequence[str]) -> str:
    """A cycle for people: `a → b → a`."""
    return " → ".join([*cycle, cycle[0]])


def topological_order(steps: Sequence[Dependent]) -> tuple[str, ...]:
    """Names so that each comes after its dependencies; else in the order given.

    Dependencies that are no steps here are passed over. Raises CycleFound.
    """
    position = {step.name: index for index, step in enumerate(steps)}
    waits_for = {step.name: len(_known(step, position)) for step in steps}
    dependants = _dependants(steps)
    ready = [position[name] for name, count in waits_for.items() if count == 0]
    heapq.heapify(ready)
    order: list[str] = []
    while ready:
        name = steps[heapq.heappop(ready)].name
        order.append(name)
        for dependant in dependants[name]:
            waits_for[dependant] -= 1
            if waits_for[dependant] == 0:
                heapq.heappush(ready, position[dependant])
    if len(order) < len(position):
        raise CycleFound(find_cycles(steps)[0])
    return tuple(order)


def find_cycles(steps: Sequence[Dependent]) -> tuple[tuple[str, ...], ...]:
    """One cycle for each knot of steps that wait for one another, in the order of the steps.

    A cycle begins at its knot's first step that lies on one of the shortest ways round from it.
    """
    names = {step.name for step in steps}
    edges = {step.name: _known(step, names) for step in steps}
    position = {step.name: index for index, step in enumerate(steps)}
    knots = [
        min(component, key=position.__getitem__)
        for component in _components(edges)
        if len(component) > 1 or component[0] in edges[component[0]]
    ]
    return tuple(_cycle_through(name, edges) for name in sorted(knots, key=position.__getitem__))


def transitive_dependencies(steps: Sequence[Dependent], name: str) -> tuple[str, ...]:
    """All that must run before `name`, itself left out, in the order of the steps."""
    names = {step.name for step in steps}
    edges = {step.name: _known(step, names) for step in steps}
    found: set[str] = set()
    open_names = [name]
    while open_names:
        new = set(edges[open_names.pop()]) - found
        found |= new
        open_names.extend(new)
    return tuple(step.name for step in steps if step.name in found and step.name != name)


def precedence(steps: Sequence[Dependent]) -> Callable[[str, str], bool]:
    """Whether one step runs before another, `(earlier, later)`, because that depends on it, also by
    others: made once, it answers at once. Raises CycleFound."""
    by_name = {step.name: step for step in steps}
    bits = {name: 1 << index for index, name in enumerate(by_name)}
    before: dict[str, int] = {}
    for name in topological_order(steps):
        before[name] = 0
        for dependency in _known(by_name[name], by_name):
            before[name] |= before[dependency] | bits[dependency]
    return lambda earlier, later: bool(before[later] & bits[earlier])


def _known(step: Dependent, names: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name in dict.fromkeys(step.depends_on) if name in names)


def _dependants(steps: Sequence[Dependent]) -> dict[str, list[str]]:
    dependants: dict[str, list[str]] = {step.name: [] for step in steps}
    for step in steps:
        for dependency in _known(step, dependants):
            dependants[dependency].append(step.name)
    return dependants


def _cycle_through(start: str, edges: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """The shortest way from `start` back to it, breadth first; there must be one."""
    came_from: dict[str, str] = {}
    queue = deque([start])
    while queue:
        name = queue.popleft()
        for neighbour in edges[name]:
            if neighbour == start:
                return _way_back(start, name, came_from)
            if neighbour not in came_from:
                came_from[neighbour] = name
                queue.append(neighbour)
    raise ValueError(f"{start} lies on no cycle")


def _way_back(start: str, last: str, came_from: Mapping[str, str]) -> tuple[str, ...]:
    way = [last]
    while way[-1] != start:
        way.append(came_from[way[-1]])
    return tuple(reversed(way))


def _components(edges: Mapping[str, Sequence[str]]) -> Iterator[list[str]]:
    """Strongly connected components (Tarjan), without recursion: 500 steps may be one chain."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    on_path: dict[str, None] = {}  # an ordered set
    for root in edges:
        if root in index:
            continue
        work = [(root, iter(edges[root]))]
        index[root] = low[root] = len(index)
        on_path[root] = None
        while work:
            name, neighbours = work[-1]
            for neighbour in neighbours:
                if neighbour not in index:
                    index[neighbour] = low[neighbour] = len(index)
                    on_path[neighbour] = None
                    work.append((neighbour, iter(edges[neighbour])))
                    break
                if neighbour in on_path:
                    low[name] = min(low[name], index[neighbour])
            else:
                work.pop()
                if work:
                    parent = work[-1][0]
                    low[parent] = min(low[parent], low[name])
                if low[name] == index[name]:
                    yield _popped_until(name, on_path)


def _popped_until(name: str, on_path: dict[str, None]) -> list[str]:
    component: list[str] = []
    while not component or component[-1] != name:
        component.append(on_path.popitem()[0])
    return component
