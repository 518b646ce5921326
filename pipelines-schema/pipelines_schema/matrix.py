"""A step written once and run once for each combination of values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from math import prod
from typing import TYPE_CHECKING

from pipelines_schema.expressions import substituted
from pipelines_schema.placeholders import filled_image

if TYPE_CHECKING:
    from pipelines_schema.workflow import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    axes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    include: tuple[Mapping[str, str], ...] = ()
    """Combinations beside those of the axes, each as it stands."""
    exclude: tuple[Mapping[str, str], ...] = ()
    """Of the axes' combinations, those that have all these values are left out."""
    fail_fast: bool = False
    """The first combination that fails, and may not, ends the others."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of every value that some combination has."""
        included = (name for one in self.include for name in one)
        return tuple(dict.fromkeys([*self.axes, *included]))

    @property
    def most_combinations(self) -> int:
        """Before anything is excluded; known without making them."""
        of_axes = prod(len(values) for values in self.axes.values()) if self.axes else 0
        return of_axes + len(self.include)

    def combinations(self) -> tuple[Mapping[str, str], ...]:
        """In the order written, the last axis turning fastest; the included ones at the end."""
        of_axes = [
            dict(zip(self.axes, values, strict=True)) for values in product(*self.axes.values())
        ]
        kept = [one for one in of_axes if not any(has(one, out) for out in self.exclude)]
        return (*(kept if self.axes else ()), *self.include)


def has(combination: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(combination.get(name) == value for name, value in wanted.items())


def expanded_name(name: str, values: Mapping[str, str]) -> str:
    """`test (3.11, linux)`. A step's name holds no `/`, so `linux/arm64` becomes `linux-arm64`."""
    return f"{name} ({', '.join(values.values())})".replace("/", "-")


def expanded_steps(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Every combination as a step of its own; a dependency on a matrix is one on all of them."""
    names = {
        step.name: [expanded_name(step.name, values) for values in step.matrix.combinations()]
        for step in steps
        if step.matrix is not None
    }
    return tuple(
        replace(
            one,
            depends_on=tuple(
                name for before in one.depends_on for name in names.get(before, [before])
            ),
        )
        for step in steps
        for one in _expanded(step)
    )


def _expanded(step: Step) -> list[Step]:
    if step.matrix is None:
        return [step]
    return [_with_values(step, values) for values in step.matrix.combinations()]


def _with_values(step: Step, values: Mapping[str, str]) -> Step:
    known = {f"matrix.{name}": value for name, value in values.items()}
    return replace(
        step,
        name=expanded_name(step.name, values),
        image=None if step.image is None else filled_image(step.image, known),
        script=substituted(step.script, known),
        build=None if step.build is None else step.build.with_values(known),
        concurrency=None if step.concurrency is None else step.concurrency.with_values(known),
        env={name: substituted(value, known) for name, value in step.env.items()},
        agents={name: substituted(value, known) for name, value in step.agents.items()},
        matrix=None,
        matrix_values=values,
        matrix_of=step.name,
        fail_fast=step.matrix is not None and step.matrix.fail_fast,
    )
