"""A step's row, read."""

from __future__ import annotations

from coordinator.domain.gate_answer import GateAnswer
from coordinator.domain.lifecycle import StepState
from coordinator.domain.model import GoneOutput, Step
from coordinator.domain.step_definition import definition_from_json
from coordinator.storage.rows import reader

step_of = reader(
    Step,
    state=StepState,
    answer=lambda value: value and GateAnswer.from_json(value),
    gone_outputs=lambda value: tuple(map(GoneOutput.from_json, value or ())),
    of_row={
        "definition": lambda row: definition_from_json(
            row.definition,
            name=row.name,
            depends_on=tuple(row.depends_on),
            labels=row.labels,
        )
    },
)
