"""Some of a build's steps: those that somebody names, that ended badly, that depend on others."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from coordinator.domain.errors import Invalid
from coordinator.domain.lifecycle import StepState
from coordinator.domain.model import Step
from pipelines_schema import topological_order
from pipelines_schema.suggestions import closest

ENDED_BADLY = frozenset({StepState.FAILED, StepState.CANCELLED})


def named(steps: Sequence[Step], names: Sequence[str]) -> Sequence[Step]:
    """The steps of these names. Raises Invalid for a name that none has."""
    by_name = {step.name: step for step in steps}
    for name in names:
        if name not in by_name:
            near = closest(name, list(by_name))
            hint = f": did you mean `{near}`?" if near else ""
            raise Invalid(
                f"the build has no step `{name[:200]}`{hint}",
                details=[{"path": "steps", "message": "no such step"}],
            )
    return [by_name[name] for name in names]


def ended_badly(steps: Sequence[Step]) -> frozenset[str]:
    """Names of the steps that failed, allowed to or not, or were cancelled."""
    return frozenset(step.name for step in steps if step.state in ENDED_BADLY)


def with_dependants(steps: Sequence[Step], names: Collection[str]) -> frozenset[str]:
    """Names of the steps of these names and of all that depend on them, however indirectly."""
    by_name = {step.name: step for step in steps}
    found: set[str] = set()
    for name in topological_order(steps):
        if name in names or not found.isdisjoint(by_name[name].depends_on):
            found.add(name)
    return frozenset(found)
