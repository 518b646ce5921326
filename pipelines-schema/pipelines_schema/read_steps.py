"""The `steps` of a document, each by itself and all together, with every mistake noted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeGuard

from pipelines_schema.dag import describe_cycle, find_cycles
from pipelines_schema.fields import Field, Reading
from pipelines_schema.limits import MAX_STEPS
from pipelines_schema.matrix import EVERY_OTHER
from pipelines_schema.nodes import Kind, MapNode, Node, ScalarNode, described
from pipelines_schema.older_steps import Generator
from pipelines_schema.problem import Place, shown
from pipelines_schema.read_output_names import check_output_names
from pipelines_schema.read_step import WrittenStep, read_step
from pipelines_schema.reuse import Reuse
from pipelines_schema.suggestions import closest

STEPS_HINT = "begin each step with `- name: …`"


def read_steps(
    reading: Reading,
    entry: Field,
    replaced: Sequence[str],
    params: Mapping[str, str],
    env: Mapping[str, str] | None,
    reuse: Reuse,
    generator: Generator | None = None,
) -> Sequence[WrittenStep]:
    """As `read_step`; `generator` is the step that has written them, of a build that goes on."""
    node = reading.list(entry, STEPS_HINT)
    if node is None:
        return ()
    if not node.items and generator is None:
        reading.add(node.place, f"`steps` is empty: {STEPS_HINT}")
    if len(node.items) > MAX_STEPS:
        reading.add(
            node.place,
            f"`steps` has {len(node.items):,} steps: at most {MAX_STEPS} are "
            f"allowed, so {_REMEDY[generator is None]}",
        )
        return ()
    written = [
        read_step(reading, reuse.step(item), number, replaced, params, env)
        for number, item in enumerate(node.items, start=1)
        if _is_mapping(item, number, reading)
    ]
    _check_names(reading, written)
    _check_expansion(reading, node.place, written, generator)
    _check_dependencies(reading, written, generator)
    check_output_names(reading, written, generator)
    return written


_REMEDY = {True: "split the workflow", False: "generate fewer"}
"""By whether a workflow has the steps."""


def _is_mapping(item: Node, number: int, reading: Reading) -> TypeGuard[MapNode]:
    """Where it is none, that is noted."""
    if isinstance(item, MapNode):
        return True
    if not (isinstance(item, ScalarNode) and item.kind is Kind.BROKEN):
        reading.add(
            item.place,
            f"step {number} must be a mapping, this is {described(item)}: begin it with "
            "`- name: …`",
        )
    return False


def _check_names(reading: Reading, written: Sequence[WrittenStep]) -> None:
    first: dict[str, Place] = {}
    for step in written:
        if step.name is None:
            continue
        if step.name in first:
            reading.add(
                step.place,
                f"a second step is named {shown(step.name)} (the first at "
                f"{_named(first[step.name])}): give it another name",
            )
        first.setdefault(step.name, step.place)


def _check_expansion(
    reading: Reading, place: Place, written: Sequence[WrittenStep], generator: Generator | None
) -> None:
    """What matrices make of the steps: not too many, and no two of one name."""
    older = {} if generator is None else generator.named()
    count = sum(len(step.step.matrix.combinations()) if step.step.matrix else 1 for step in written)
    if generator is not None and count + len(generator.steps) > MAX_STEPS:
        reading.add(
            place,
            f"with these {count:,} steps the build has {count + len(generator.steps):,}: at most "
            f"{MAX_STEPS} are allowed, so {_REMEDY[False]}",
        )
    elif count > MAX_STEPS:
        reading.add(
            place,
            f"with every `matrix` written out there are {count:,} steps: at most {MAX_STEPS} are "
            "allowed, so split the workflow",
        )
    for step in written:
        if step.name in older:
            reading.add(
                step.place,
                f"the build has a step {shown(step.name)} already: give this one another name",
            )
    plain = {step.name for step in written if step.name is not None and step.step.matrix is None}
    names = plain | older.keys()
    for step in written:
        if step.name is None or step.step.matrix is None:
            continue
        for name, _ in step.step.matrix.named(step.name):
            if name in names:
                reading.add(
                    step.place,
                    f"a combination of this step's `matrix` is named {shown(name)} as another step "
                    "is: give the step another name",
                )
            names.add(name)


def _check_dependencies(
    reading: Reading, written: Sequence[WrittenStep], generator: Generator | None
) -> None:
    older = {} if generator is None else generator.named()
    waiting = frozenset() if generator is None else generator.waiting()
    by_name: dict[str, WrittenStep] = {}
    for step in written:
        if step.name is not None:
            by_name.setdefault(step.name, step)
    owners = {combination: name for name, one in by_name.items() for combination in _named_by(one)}
    waits: dict[str, dict[str, Place]] = {}
    for step in written:
        before: dict[str, Place] = {}
        for place, dependency in step.dependencies:
            if dependency == EVERY_OTHER:
                before |= dict.fromkeys((name for name in by_name if name != step.name), place)
            elif dependency in owners:
                before.setdefault(owners[dependency], place)
            elif dependency not in older:
                known = [*owners, *older]
                reading.add(place, _unknown_dependency(dependency, step.name, known))
            elif generator is not None and not waiting.isdisjoint(older[dependency]):
                reading.add(place, _waits_for_it(dependency, generator.name))
        if step.name is not None:
            waits.setdefault(step.name, before)
    graph = [replace(one.step, depends_on=tuple(waits[name])) for name, one in by_name.items()]
    for cycle in find_cycles(graph):
        next_name = cycle[1] if len(cycle) > 1 else cycle[0]
        reading.add(waits[cycle[0]][next_name], _waiting_in_a_circle(cycle))


def _waits_for_it(dependency: str, generator: str) -> str:
    return (
        f"step {shown(dependency)} waits for {shown(generator)} and all that it generates, so for "
        "this step too: remove this"
    )


def _named_by(step: WrittenStep) -> list[str]:
    """What `dependsOn` may say for the step, or for one combination of it."""
    name, matrix = step.name or "", step.step.matrix
    return [name, *([] if matrix is None else (one for one, _ in matrix.named(name)))]


def _unknown_dependency(dependency: str, of: str | None, names: Sequence[str]) -> str:
    near = closest(dependency, [name for name in names if name != of])
    if near is not None:
        return f"there is no step {shown(dependency)}: did you mean {shown(near)}?"
    return f"there is no step {shown(dependency)}: `dependsOn` names steps of this workflow"


def _waiting_in_a_circle(cycle: Sequence[str]) -> str:
    if len(cycle) == 1:
        return f"step {shown(cycle[0])} depends on itself: remove this"
    shortened = cycle if len(cycle) <= 12 else [*cycle[:6], "…", *cycle[-5:]]
    way = shown(describe_cycle(shortened), max_characters=2000)
    return f"these steps wait for one another: {way}; remove one of these dependencies"


def _named(place: Place) -> str:
    return place.path or f"line {place.line}, column {place.column}"
