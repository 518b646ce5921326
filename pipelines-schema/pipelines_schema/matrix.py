"""A step written once and run once for each combination of values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from math import prod
from typing import TYPE_CHECKING, TypeAlias

from pipelines_schema.expressions import substituted
from pipelines_schema.placeholders import filled_image

if TYPE_CHECKING:
    from pipelines_schema.workflow import Step


Value: TypeAlias = str | Mapping[str, str]
"""What a variable of the matrix has: a text, or an object of texts."""
EVERY_OTHER = "*"
"""In `dependsOn`: all steps but the one that says it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    axes: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    include: tuple[Mapping[str, Value], ...] = ()
    """What is added to the axes' combinations whose values agree; the rest stands by itself."""
    exclude: tuple[Mapping[str, Value], ...] = ()
    """Of the axes' combinations, those that have all these values are left out."""
    fail_fast: bool = False
    """The first combination that fails, and may not, ends the others."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of every value that some combination has, `os` and `platform.os`."""
        return tuple(dict.fromkeys(name for one in self.combinations() for name in one))

    @property
    def most_combinations(self) -> int:
        """Before anything is excluded; known without making them."""
        of_axes = prod(len(values) for values in self.axes.values()) if self.axes else 0
        return of_axes + len(self.include)

    def of_axes(self) -> list[dict[str, Value]]:
        """In the order written, the last axis turning fastest; less what is excluded."""
        if not self.axes:
            return []
        every = (dict(zip(self.axes, one, strict=True)) for one in product(*self.axes.values()))
        return [one for one in every if not any(has(one, out) for out in self.exclude)]

    def combinations(self) -> tuple[Mapping[str, str], ...]:
        """Those of the axes, then what stands by itself; objects as `platform.os`."""
        return tuple(values for _, values in self._titled())

    def named(self, step_name: str) -> list[tuple[str, Mapping[str, str]]]:
        """The combinations with the names of their steps."""
        return [(f"{step_name} ({title})", values) for title, values in self._titled()]

    def _titled(self) -> Iterator[tuple[str, Mapping[str, str]]]:
        """A combination is called by the values of its axes, not by what was added to them."""
        originals = self.of_axes()
        extended = [dict(one) for one in originals]
        alone: list[Mapping[str, Value]] = []
        for entry in self.include:
            agreeing = [n for n, one in enumerate(originals) if agrees(one, entry)]
            for number in agreeing:
                extended[number] |= entry
            if not agreeing:
                alone.append(entry)
        for original, one in zip(originals, extended, strict=True):
            yield _title(original), _flat(one)
        for entry in alone:
            yield _title(entry), _flat(entry)


def has(combination: Mapping[str, Value], wanted: Mapping[str, Value]) -> bool:
    return all(combination.get(name) == value for name, value in wanted.items())


def agrees(combination: Mapping[str, Value], entry: Mapping[str, Value]) -> bool:
    """Whether an entry of `include` leaves all that the combination has as it is."""
    return all(combination.get(name, value) == value for name, value in entry.items())


def variable_of(name: str) -> str:
    """`platform.os` → PUSHROD_MATRIX_PLATFORM_OS."""
    return f"PUSHROD_MATRIX_{name.upper().replace('.', '_')}"


def _title(values: Mapping[str, Value]) -> str:
    """A step's name holds no `/`, so `linux/arm64` becomes `linux-arm64`."""
    return ", ".join(filter(None, map(_called, values.values()))).replace("/", "-")


def _called(value: Value) -> str:
    if isinstance(value, str):
        return value
    return value.get("name") or ", ".join(filter(None, value.values()))


def _flat(values: Mapping[str, Value]) -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, str):
            flat[name] = value
        else:
            flat |= {f"{name}.{key}": text for key, text in value.items()}
    return flat


def expanded_steps(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Every combination as a step of its own; a dependency on a matrix is one on all of them."""
    names = {
        step.name: [name for name, _ in step.matrix.named(step.name)]
        if step.matrix is not None
        else [step.name]
        for step in steps
    }
    return tuple(
        replace(one, depends_on=_all_named(step, names))
        for step in steps
        for one in _expanded(step)
    )


def _all_named(step: Step, names: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """`names` are those of each step's combinations."""
    found: dict[str, None] = {}
    for before in step.depends_on:
        others = [before] if before != EVERY_OTHER else [one for one in names if one != step.name]
        found |= dict.fromkeys(name for other in others for name in names.get(other, [other]))
    return tuple(found)


def _expanded(step: Step) -> list[Step]:
    if step.matrix is None:
        return [step]
    return [_with_values(step, name, values) for name, values in step.matrix.named(step.name)]


def _with_values(step: Step, name: str, values: Mapping[str, str]) -> Step:
    known = {f"matrix.{name}": value for name, value in values.items()}
    return replace(
        step,
        name=name,
        image=None if step.image is None else filled_image(step.image, known),
        script=substituted(step.script, known),
        build=None if step.build is None else step.build.with_values(known),
        concurrency=None if step.concurrency is None else step.concurrency.with_values(known),
        env={name: substituted(value, known) for name, value in step.env.items()},
        agents={name: substituted(value, known) for name, value in step.agents.items()},
        services=tuple(service.with_values(known) for service in step.services),
        matrix=None,
        matrix_values=values,
        matrix_of=step.name,
        fail_fast=step.matrix is not None and step.matrix.fail_fast,
    )
