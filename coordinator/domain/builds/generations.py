"""Steps that other steps of the build have generated."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from coordinator.domain.lifecycle import StepState
from coordinator.domain.model import Step


def generation_of(steps: Sequence[Step], step: Step) -> int:
    """0 for a step of the workflow, 1 for one that such a step has generated, and so on."""
    by_name = {one.name: one for one in steps}
    generation = 0
    while step.definition.generated_by is not None:
        generation, step = generation + 1, by_name[step.definition.generated_by]
    return generation


def without_generated(steps: Sequence[Step], again: Collection[str] | None) -> Sequence[Step]:
    """The build's steps but for those whose generator runs `again`, and generates them anew; None:
    every step does. So it is with the parts of an image, but where it is only to be joined again,
    or a part of it to be built again."""
    gone: set[str] = set()
    kept = _with_parts_kept(steps, again or ())
    for step in steps:  # a generator stands before what it generates
        by = step.definition.generated_by
        if step.definition.part_of is not None and step.definition.part_of not in kept:
            by = step.definition.part_of
        if by is not None and (again is None or by in again or by in gone):
            gone.add(step.name)
    return [_without(step, gone) for step in steps if step.name not in gone] if gone else steps


def _with_parts_kept(steps: Sequence[Step], again: Collection[str]) -> set[str]:
    """Names of steps that run `again` with their parts: one had failed, or to join them had."""
    parts = {step.definition.part_of for step in steps if step.name in again}
    return {
        step.name
        for step in steps
        if step.definition.parts
        and (step.name in parts or step.state is not StepState.SUCCEEDED)
        and step.name in again
    }


def _without(step: Step, gone: set[str]) -> Step:
    if not gone & set(step.depends_on):
        return step
    depends_on = [name for name in step.depends_on if name not in gone]
    written = replace(step.written, depends_on=tuple(depends_on))
    parts = tuple(name for name in step.definition.parts if name not in gone)
    definition = replace(step.definition, written=written, parts=parts)
    return replace(step, depends_on=depends_on, definition=definition)
