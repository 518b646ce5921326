"""A document → `Workflow`, with every mistake noted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from pipelines_schema.expressions import BUILD_WORDS
from pipelines_schema.fields import Field, Reading, Vocabulary, line_fault
from pipelines_schema.includes import Include, Included
from pipelines_schema.limits import MAX_NAME_CHARACTERS
from pipelines_schema.nodes import Kind, MapNode, Node, ScalarNode, described
from pipelines_schema.params import replaced_params
from pipelines_schema.problem import Place, shown
from pipelines_schema.read_defaults import DEFAULTS, read_defaults
from pipelines_schema.read_endings import read_boolean, read_build_timeout
from pipelines_schema.read_environment import read_environment
from pipelines_schema.read_groups import read_concurrency
from pipelines_schema.read_includes import BROUGHT, read_include, read_included
from pipelines_schema.read_notify import read_notify
from pipelines_schema.read_steps import STEPS_HINT, read_steps
from pipelines_schema.read_templates import read_templates
from pipelines_schema.read_triggers import read_triggers
from pipelines_schema.reuse import Reuse
from pipelines_schema.step_keys import STEP
from pipelines_schema.trigger_types import Triggers
from pipelines_schema.workflow import Workflow

WORKFLOW = Vocabulary(
    where="a workflow",
    known=(
        "name",
        "include",
        "on",
        "env",
        "defaults",
        "templates",
        "concurrency",
        "failFast",
        "timeout",
        "notify",
        "steps",
    ),
    # Sent below a step, these would only be refused there.
    not_built=tuple(key for key in STEP.not_built if key != "environment"),
    has_extensions=True,
    synonyms={
        "jobs": "write `steps`, a list",
        "stages": "write `steps`, each with its `dependsOn`",
        "pipeline": "write `steps`, a list",
        "trigger": "write `on`",
        "triggers": "write `on`",
        "environment": "write `env`",
        "variables": "write `env`",
        "version": "a workflow has no version: remove it",
        **{
            key: f"`{key}` belongs to a step: move it below one of `steps`"
            + (" or, for all of them, below `defaults`" if key in DEFAULTS.known else "")
            for key in STEP.known
            if key not in ("name", "env", "timeout", "concurrency")
        },
        "notifications": "write `notify`",
        "includes": "write `include`",
        "default": "write `defaults`",
        "template": "write `templates`",
        "before": "write it below `defaults`",
        "before_script": "write `defaults: {before: …}`",
    },
)


@dataclass(frozen=True, slots=True)
class Includes:
    """Files that have to be looked up before the workflow can be read."""

    files: tuple[Include, ...]


def read_workflow(
    reading: Reading, root: Node | None, file: str, included: Included | None
) -> Workflow | Includes:
    """The workflow of a file; worth something only if no problem was noted.

    What it includes stands in `included`; with None it is asked for, if there is any.
    """
    if root is None or (isinstance(root, ScalarNode) and root.kind is Kind.NULL):
        reading.add(Place(1, 1), f"the file is empty: a workflow needs `steps`; {STEPS_HINT}")
        root = MapNode((), Place(1, 1))
    elif not isinstance(root, MapNode):
        if not (isinstance(root, ScalarNode) and root.kind is Kind.BROKEN):
            reading.add(
                root.place,
                f"a workflow must be a mapping, this is {described(root)}: write `steps:` and "
                "below it a list",
            )
        root = MapNode((), root.place)
    elif "steps" not in {key.text for key, _ in root.entries}:
        reading.add(root.place, f"a workflow needs `steps`: {STEPS_HINT}")
    fields = reading.fields(root, WORKFLOW)
    wanted = read_include(reading, fields.get("include"))
    if wanted and included is None:
        return Includes(tuple(wanted))
    brought = read_included(reading, wanted, included or {})
    written = {key: [*brought.fields[key], *_own(fields, key)] for key in BROUGHT}
    triggers = read_triggers(reading, fields.get("on"))
    replaced = (*BUILD_WORDS, *replaced_params(triggers.params))
    params = _example_params(triggers)
    env = {
        name: text
        for entry in written["env"]
        for name, text in read_environment(reading, entry, replaced).items()
    }
    reuse = Reuse(
        reading,
        templates=read_templates(reading, written["templates"]),
        defaults=read_defaults(reading, written["defaults"], replaced),
        is_whole=brought.is_whole,
    )
    reuse.check(replaced)
    return Workflow(
        name=_name(reading, fields.get("name"), file),
        file=file,
        triggers=triggers,
        env=env,
        concurrency=read_concurrency(
            reading, fields.get("concurrency"), env, [param.name for param in triggers.params]
        ),
        fail_fast=read_boolean(reading, fields.get("failFast")),
        timeout_seconds=read_build_timeout(reading, fields.get("timeout")),
        notify=read_notify(reading, fields.get("notify")),
        steps=tuple(
            one.step
            for one in read_steps(
                reading, fields["steps"], replaced, params, env if brought.is_whole else None, reuse
            )
        )
        if "steps" in fields
        else (),
        includes=tuple(brought.pinned),
    )


def read_api_workflow(reading: Reading, name: Node, steps: Node) -> Workflow:
    """A workflow made through the API: no push starts it."""
    name_field = Field(ScalarNode("name", Kind.TEXT, Place(0, 0, "name")), name)
    steps_field = Field(ScalarNode("steps", Kind.TEXT, Place(0, 0, "steps")), steps)
    return Workflow(
        name=_name(reading, name_field, ""),
        file=None,
        triggers=Triggers(),
        steps=tuple(
            one.step
            for one in read_steps(reading, steps_field, BUILD_WORDS, {}, {}, Reuse(reading))
        ),
    )


def _name(reading: Reading, entry: Field | None, file: str) -> str:
    if entry is not None:
        return reading.line_of_text(entry, "write the workflow's name", MAX_NAME_CHARACTERS) or ""
    name = name_by_file(file)
    if line_fault(name, MAX_NAME_CHARACTERS) is not None:
        reading.add(
            Place(1, 1), f"the file's name {shown(name)} can't be the workflow's: write `name`"
        )
    return name


def name_by_file(file: str) -> str:
    """What a workflow is called that has no `name`."""
    return PurePosixPath(file).name.lstrip(".").rpartition(".")[0] or "workflow"


def _own(fields: Mapping[str, Field], key: str) -> list[Field]:
    return [fields[key]] if key in fields else []


def _example_params(triggers: Triggers) -> dict[str, str]:
    return {param.name: param.value_if_not_given or "" for param in triggers.params}
