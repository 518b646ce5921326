"""What a step is to do, from when its build is made: two things of it change afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pipelines_schema import Step as WorkflowStep

VERSION = 2
"""Of the stored JSON. Version 1 had no number and was flat: the workflow's keys beside ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """By what a deployment's program is known to be well."""

    port: int
    path: str | None = None
    """None: a connection is enough."""
    start_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDefinition:
    """The workflow's own words, and what no workflow can say."""

    written: WorkflowStep
    """Expanded: one combination of its matrix; `env` has the workflow's variables, too."""
    condition_false: bool = False
    """It was left out by its `when`."""
    program: bool = False
    """A deployment's: it runs until it is stopped."""
    own_command: bool = False
    """It runs its image by the image's own command, not a script."""
    health: Health | None = None
    """Of an own command."""
    max_lost: int | None = None
    """So many attempts may be lost with their agents and count for nothing; None: none."""

    generated_by: str | None = None
    """Name of the step of its build that has generated it; None: it is the workflow's."""
    workflow_env: Mapping[str, str] = field(default_factory=dict)
    """Of a step that generates others: what the workflow sets for every step, and so for those."""

    parts: tuple[str, ...] = ()
    """Names of the steps that build its image in parts, which it joins: none until an agent found
    that its engine can't build the whole."""
    part_of: str | None = None
    """Name of the step whose image it builds a part of, for the one platform of its `build`."""
    splits: int = 0
    """How many of its attempts only found that it has to be built in parts: they are no tries."""

    told: bool = False
    """The project's forge is told of its states."""
    input_files: str | None = None
    """A digest of the commit's files that its `inputs` name; None where it has none, or where they
    could not be looked at."""

    outputs: Mapping[str, str] = field(default_factory=dict)
    """What its `${{ outputs.… }}` stand for, by the words as written; none before it is resolved,
    which is one of the two things that change afterwards: the other is that it is split."""

    def to_json(self) -> dict[str, Any]:
        """For storage; `definition_from_json` reads it back."""
        stored: dict[str, Any] = {"version": VERSION, "written": self.written.to_json()}
        if self.condition_false:
            stored["conditionFalse"] = True
        if self.program:
            stored["program"] = True
        if self.own_command:
            stored["ownCommand"] = True
        if self.health is not None:
            stored["health"] = asdict(self.health)
        if self.max_lost is not None:
            stored["maxLost"] = self.max_lost
        if self.generated_by is not None:
            stored["generatedBy"] = self.generated_by
        if self.workflow_env:
            stored["workflowEnv"] = dict(self.workflow_env)
        if self.parts:
            stored["parts"] = list(self.parts)
        if self.part_of is not None:
            stored["partOf"] = self.part_of
        if self.splits:
            stored["splits"] = self.splits
        if self.told:
            stored["told"] = True
        if self.input_files is not None:
            stored["inputFiles"] = self.input_files
        if self.outputs:
            stored["outputs"] = dict(self.outputs)
        return stored


def definition_from_json(
    value: Mapping[str, Any],
    *,
    name: str,
    depends_on: tuple[str, ...],
    labels: Mapping[str, str],
) -> StepDefinition:
    """What `to_json` wrote, or an earlier release. The rest stands in columns of its own, where
    queries need it: version 1 has it there alone. `labels` are filled in, `agents` as written.

    Raises ValueError for what a later release wrote.
    """
    version = value.get("version", 1)
    if version not in (1, VERSION):
        raise ValueError(f"a stored step of version {version!r}; this release reads {VERSION}")
    written = value["written"] if version == VERSION else _flat(value)
    losses = value if version == VERSION else value["retries"]
    agents = written.get("agents", labels)
    return StepDefinition(
        written=WorkflowStep.from_json(
            {**written, "name": name, "dependsOn": depends_on, "agents": agents}
        ),
        condition_false=value.get("conditionFalse", False),
        program=value.get("program", False),
        own_command=value.get("ownCommand", False),
        health=Health(**value["health"]) if "health" in value else None,
        max_lost=losses.get("maxLost"),
        generated_by=value.get("generatedBy"),
        workflow_env=value.get("workflowEnv", {}),
        parts=tuple(value.get("parts", ())),
        part_of=value.get("partOf"),
        splits=value.get("splits", 0),
        told=value.get("told", False),
        input_files=value.get("inputFiles"),
        outputs=value.get("outputs", {}),
    )


def _flat(value: Mapping[str, Any]) -> dict[str, Any]:
    """Version 1's keys are the workflow's, but for the matrix, which was one combination's, and
    for an absent `build`, which was written."""
    written = {name: one for name, one in value.items() if name not in ("matrix", "build")}
    if value.get("build"):
        written["build"] = value["build"]
    return {**written, "matrixValues": value.get("matrix", {})}
