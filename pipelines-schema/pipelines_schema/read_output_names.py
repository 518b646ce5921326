"""Are the steps there, and before it, of which a step names outputs?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipelines_schema.dag import CycleFound, precedence
from pipelines_schema.fields import Field, Reading
from pipelines_schema.matrix import expanded_steps
from pipelines_schema.older_steps import Generator, OlderStep
from pipelines_schema.problem import shown
from pipelines_schema.read_step import WrittenStep
from pipelines_schema.suggestions import closest
from pipelines_schema.workflow import Step


def check_output_names(
    reading: Reading, written: Sequence[WrittenStep], generator: Generator | None = None
) -> None:
    if not any(one.outputs for one in written):
        return
    own = [one.step for one in written if one.name is not None]
    steps: list[Step | OlderStep] = [*expanded_steps(own)]
    if generator is not None:
        steps = [*generator.steps, *expanded_steps(generator.followed_by(own))]
    try:
        comes_before = precedence(steps)
    except CycleFound:  # which was told, and is to be mended first
        return
    by_written: dict[str, list[Step | OlderStep]] = {}
    for step in steps:
        by_written.setdefault(step.matrix_of or step.name, []).append(step)
    names = {step.name for step in steps}
    for one in written:
        for entry, asked in one.outputs:
            if asked not in names:
                _unknown(reading, entry, asked, by_written)
            elif not all(
                comes_before(asked, step.name) for step in by_written.get(one.step.name, [])
            ):
                _not_before(reading, entry, asked, one.name)


def _unknown(
    reading: Reading, entry: Field, asked: str, by_written: Mapping[str, Sequence[Step | OlderStep]]
) -> None:
    said = f"{entry.label} names outputs of the step {shown(asked)}"
    if asked in by_written:
        one = by_written[asked][0].name
        said += f", which has a `matrix`: name one of its combinations, such as {shown(one)}"
    else:
        near = closest(asked, [step.name for steps in by_written.values() for step in steps])
        meant = f"did you mean {shown(near)}?" if near else "name a step of this workflow"
        said += f", which there is not: {meant}"
    reading.add(entry.place, said)


def _not_before(reading: Reading, entry: Field, asked: str, name: str | None) -> None:
    if asked == name:
        said = "its own outputs, which are there only when it has run: remove that"
    else:
        said = (
            f"outputs of the step {shown(asked)}, on which this step does not depend: add it to "
            "`dependsOn`"
        )
    reading.add(entry.place, f"{entry.label} names {said}")
