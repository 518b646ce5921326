"""A file that a step has generated → the steps that are added to its build."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipelines_schema.compose import Wording
from pipelines_schema.expressions import BUILD_WORDS
from pipelines_schema.fields import Reading, Vocabulary
from pipelines_schema.limits import MAX_GENERATIONS
from pipelines_schema.nodes import Kind, MapNode, Node, ScalarNode, described
from pipelines_schema.older_steps import Generator
from pipelines_schema.problem import Place, shown
from pipelines_schema.read_step import WrittenStep
from pipelines_schema.read_steps import read_steps
from pipelines_schema.read_templates import read_templates
from pipelines_schema.reuse import Reuse
from pipelines_schema.trigger_types import Triggers
from pipelines_schema.workflow import Step, Workflow

_WHERE = "a generated file has `steps` and `templates`"
_GENERATED = Vocabulary(
    where="a generated file",
    known=("templates", "steps"),
    has_extensions=True,
    synonyms={
        "jobs": "write `steps`, a list",
        "on": f"{_WHERE}: its build has been started already",
        "name": f"{_WHERE}: remove it",
        "env": f"{_WHERE}: write `env` in its steps",
        "defaults": f"{_WHERE}: write a template, which its steps use",
        "include": f"{_WHERE}: let the generator write what it would include",
        "template": "write `templates`",
    },
)
GENERATED_WORDING = Wording(
    whole="the generated file",
    too_large="generate fewer steps, or shorter ones",
    too_many="generate fewer steps",
    second="a generated file is one document",
    inside_itself="a file can't contain itself",
)
_NOTHING = "write `steps: []` where there is nothing to add"


def read_generated(
    reading: Reading, root: Node | None, file: str, generator: Generator
) -> Workflow:
    """What is added, as a workflow without a trigger; worth something only if no problem was
    noted. Each step depends on its generator, and on single steps of older matrices."""
    if root is None or (isinstance(root, ScalarNode) and root.kind is Kind.NULL):
        reading.add(Place(1, 1), f"the file is empty: {_NOTHING}")
        root = MapNode((), Place(1, 1))
    elif not isinstance(root, MapNode):
        if not (isinstance(root, ScalarNode) and root.kind is Kind.BROKEN):
            said = f"a generated file must be a mapping, this is {described(root)}"
            reading.add(root.place, f"{said}: write `steps:` and below it a list")
        root = MapNode((), root.place)
    elif "steps" not in {key.text for key, _ in root.entries}:
        reading.add(root.place, f"a generated file needs `steps`: {_NOTHING}")
    fields = reading.fields(root, _GENERATED)
    templates = read_templates(reading, [fields["templates"]] if "templates" in fields else [])
    reuse = Reuse(reading, templates=templates)
    reuse.check(BUILD_WORDS)
    written: Sequence[WrittenStep] = ()
    if "steps" in fields:
        written = read_steps(
            reading,
            fields["steps"],
            BUILD_WORDS,
            generator.params,
            generator.env,
            reuse,
            generator,
        )
    _check_trust(reading, written, generator)
    return Workflow(
        name=file,
        file=file,
        triggers=Triggers(),
        env=generator.env,
        steps=tuple(generator.followed_by([_placed(one.step, file) for one in written])),
    )


def _placed(step: Step, file: str) -> Step:
    """A fault of its condition that is found late names the file, which is not the workflow's."""
    when = step.when
    return step if when is None else replace(step, when=replace(when, file=file))


def _check_trust(reading: Reading, written: Sequence[WrittenStep], generator: Generator) -> None:
    by = shown(generator.name)
    for one in written:
        for name, place in one.step.secret_places.items():
            if name not in generator.secrets:
                reading.add(
                    place,
                    f"the secret {name} is not one of {by}, which generates this step: add it to "
                    "the `secrets` there",
                )
        if one.step.generates is not None and generator.generation >= MAX_GENERATIONS:
            reading.add(
                one.place,
                f"a step that is generated {MAX_GENERATIONS} deep can't generate more: remove "
                "`generates`, or let an earlier step write these",
            )
