"""Modules: parts of a repository that can be built by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipelines_schema.dag import transitive_dependencies
from pipelines_schema.workflow import Workflow

MODULE_FILES = (".pushrod/modules.yml", ".pushrod/modules.yaml")
"""The file that declares a repository's modules, by either of its names; it is no workflow."""
DEFAULT_TARGET = "default"
WHOLE_REPOSITORY = "."
"""The path of a module that is all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What building a module means: a workflow, or one step of it and what that depends on."""

    workflow: str
    """The workflow's file in the repository."""
    step: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    name: str
    path: str
    """A folder relative to the repository's root; `.` is all of it."""
    targets: Mapping[str, Target]
    """By name; none where it declares none: then its files tell what can be built."""

    def to_json(self) -> dict[str, Any]:
        """The module for storage; `from_json` reads it back."""
        return {
            "name": self.name,
            "path": self.path,
            "targets": {name: _target_to_json(target) for name, target in self.targets.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Module:
        return cls(
            name=value["name"],
            path=value["path"],
            targets={
                name: Target(workflow=target["workflow"], step=target.get("step"))
                for name, target in value["targets"].items()
            },
        )


def _target_to_json(target: Target) -> dict[str, str]:
    step = {} if target.step is None else {"step": target.step}
    return {"workflow": target.workflow, **step}


def steps_for(workflow: Workflow, step_name: str | None) -> Workflow:
    """The workflow with that step and all it depends on, or whole where None is given.

    Raises KeyError where there is no such step.
    """
    if step_name is None:
        return workflow
    if step_name not in {step.name for step in workflow.steps}:
        raise KeyError(step_name)
    wanted = {step_name, *transitive_dependencies(workflow.steps, step_name)}
    return replace(workflow, steps=tuple(step for step in workflow.steps if step.name in wanted))
