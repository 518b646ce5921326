"""The steps that a build has already when one of them generates more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pipelines_schema.dag import topological_order
from pipelines_schema.workflow import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class OlderStep:
    name: str
    depends_on: Sequence[str]
    matrix_of: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Generator:
    """What the file of a generator is read beside."""

    name: str
    steps: Sequence[OlderStep]
    """Of its build, itself among them, matrices written out."""
    generation: int
    """Of what it generates: 1 for a step of the workflow."""
    secrets: Sequence[str] = ()
    """Those that the generated steps may name."""
    env: Mapping[str, str] = field(default_factory=dict)
    """What the workflow sets for every step."""
    params: Mapping[str, str] = field(default_factory=dict)
    """Of the build."""

    def named(self) -> dict[str, list[str]]:
        """What `dependsOn` may say of these steps, with the steps that are meant."""
        found: dict[str, list[str]] = {}
        for step in self.steps:
            found.setdefault(step.name, []).append(step.name)
            if step.matrix_of is not None:
                found.setdefault(step.matrix_of, []).append(step.name)
        return found

    def waiting(self) -> frozenset[str]:
        """Names of the steps that wait for it, however indirectly."""
        by_name = {step.name: step for step in self.steps}
        found = {self.name}
        for name in topological_order(self.steps):
            if not found.isdisjoint(by_name[name].depends_on):
                found.add(name)
        return frozenset(found - {self.name})

    def followed_by(self, steps: Sequence[Step]) -> list[Step]:
        """Steps that it generates: they depend on it, and on single steps of older matrices."""
        older = self.named()
        found = []
        for step in steps:
            meant = [one for name in step.depends_on for one in older.get(name, [name])]
            depends_on = tuple(dict.fromkeys([*meant, self.name]))
            found.append(replace(step, depends_on=depends_on))
        return found
