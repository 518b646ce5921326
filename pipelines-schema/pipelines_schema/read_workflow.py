"""A document → `Workflow`, with every mistake noted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TypeGuard

from pipelines_schema.dag import describe_cycle, find_cycles
from pipelines_schema.expressions import BUILD_WORDS
from pipelines_schema.fields import Field, Reading, Vocabulary, line_fault
from pipelines_schema.includes import Include, Included
from pipelines_schema.limits import MAX_NAME_CHARACTERS, MAX_STEPS
from pipelines_schema.matrix import EVERY_OTHER
from pipelines_schema.nodes import Kind, MapNode, Node, ScalarNode, described
from pipelines_schema.params import replaced_params
from pipelines_schema.problem import Place, shown
from pipelines_schema.read_defaults import DEFAULTS, read_defaults
from pipelines_schema.read_endings import read_boolean, read_build_timeout
from pipelines_schema.read_environment import read_environment
from pipelines_schema.read_groups import read_concurrency
from pipelines_schema.read_includes import BROUGHT, read_include, read_included
from pipelines_schema.read_notify import read_notify
from pipelines_schema.read_output_names import check_output_names
from pipelines_schema.read_step import WrittenStep, read_step
from pipelines_schema.read_templates import read_templates
from pipelines_schema.read_triggers import read_triggers
from pipelines_schema.reuse import Reuse
from pipelines_schema.step_keys import STEP
from pipelines_schema.suggestions import closest
from pipelines_schema.trigger_types import Triggers
from pipelines_schema.workflow import Step, Workflow

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
            for key in (*STEP.known, *STEP.not_built)
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
_STEPS_HINT = "begin each step with `- name: …`"


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
        reading.add(Place(1, 1), f"the file is empty: a workflow needs `steps`; {_STEPS_HINT}")
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
        reading.add(root.place, f"a workflow needs `steps`: {_STEPS_HINT}")
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
        steps=_steps(
            reading, fields["steps"], replaced, params, env if brought.is_whole else None, reuse
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
        steps=_steps(reading, steps_field, BUILD_WORDS, {}, {}, Reuse(reading)),
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


def _steps(
    reading: Reading,
    entry: Field,
    replaced: Sequence[str],
    params: Mapping[str, str],
    env: Mapping[str, str] | None,
    reuse: Reuse,
) -> tuple[Step, ...]:
    node = reading.list(entry, _STEPS_HINT)
    if node is None:
        return ()
    if not node.items:
        reading.add(node.place, f"`steps` is empty: {_STEPS_HINT}")
    if len(node.items) > MAX_STEPS:
        reading.add(
            node.place,
            f"`steps` has {len(node.items):,} steps: at most {MAX_STEPS} are "
            "allowed, so split the workflow",
        )
        return ()
    written = [
        read_step(reading, reuse.step(item), number, replaced, params, env)
        for number, item in enumerate(node.items, start=1)
        if _is_mapping(item, number, reading)
    ]
    _check_names(reading, written)
    _check_expansion(reading, node.place, written)
    _check_dependencies(reading, written)
    check_output_names(reading, written)
    return tuple(step.step for step in written)


def _is_mapping(item: Node, number: int, reading: Reading) -> TypeGuard[MapNode]:
    """Where it is none, that is noted."""
    if isinstance(item, MapNode):
        return True
    if not (isinstance(item, ScalarNode) and item.kind is Kind.BROKEN):
        reading.add(
            item.place,
            f"step {number} must be a mapping, this is {described(item)}: begin it with "
            "`- name: …`",
        )
    return False


def _check_names(reading: Reading, written: Sequence[WrittenStep]) -> None:
    first: dict[str, Place] = {}
    for step in written:
        if step.name is None:
            continue
        if step.name in first:
            reading.add(
                step.place,
                f"a second step is named {shown(step.name)} (the first at "
                f"{_named(first[step.name])}): give it another name",
            )
        first.setdefault(step.name, step.place)


def _check_expansion(reading: Reading, place: Place, written: Sequence[WrittenStep]) -> None:
    """What matrices make of the steps: not too many, and no two of one name."""
    count = sum(len(step.step.matrix.combinations()) if step.step.matrix else 1 for step in written)
    if count > MAX_STEPS:
        reading.add(
            place,
            f"with every `matrix` written out there are {count:,} steps: at most {MAX_STEPS} are "
            "allowed, so split the workflow",
        )
    names = {step.name for step in written if step.name is not None and step.step.matrix is None}
    for step in written:
        if step.name is None or step.step.matrix is None:
            continue
        for name, _ in step.step.matrix.named(step.name):
            if name in names:
                reading.add(
                    step.place,
                    f"a combination of this step's `matrix` is named {shown(name)} as another step "
                    "is: give the step another name",
                )
            names.add(name)


def _check_dependencies(reading: Reading, written: Sequence[WrittenStep]) -> None:
    by_name: dict[str, WrittenStep] = {}
    for step in written:
        if step.name is not None:
            by_name.setdefault(step.name, step)
    owners = {combination: name for name, one in by_name.items() for combination in _named_by(one)}
    waits: dict[str, dict[str, Place]] = {}
    for step in written:
        before: dict[str, Place] = {}
        for place, dependency in step.dependencies:
            if dependency == EVERY_OTHER:
                before |= dict.fromkeys((name for name in by_name if name != step.name), place)
            elif dependency in owners:
                before.setdefault(owners[dependency], place)
            else:
                reading.add(place, _unknown_dependency(dependency, step.name, list(owners)))
        if step.name is not None:
            waits.setdefault(step.name, before)
    graph = [replace(one.step, depends_on=tuple(waits[name])) for name, one in by_name.items()]
    for cycle in find_cycles(graph):
        next_name = cycle[1] if len(cycle) > 1 else cycle[0]
        reading.add(waits[cycle[0]][next_name], _waiting_in_a_circle(cycle))


def _named_by(step: WrittenStep) -> list[str]:
    """What `dependsOn` may say for the step, or for one combination of it."""
    name, matrix = step.name or "", step.step.matrix
    return [name, *([] if matrix is None else (one for one, _ in matrix.named(name)))]


def _unknown_dependency(dependency: str, of: str | None, names: Sequence[str]) -> str:
    near = closest(dependency, [name for name in names if name != of])
    if near is not None:
        return f"there is no step {shown(dependency)}: did you mean {shown(near)}?"
    return f"there is no step {shown(dependency)}: `dependsOn` names steps of this workflow"


def _waiting_in_a_circle(cycle: Sequence[str]) -> str:
    if len(cycle) == 1:
        return f"step {shown(cycle[0])} depends on itself: remove this"
    shortened = cycle if len(cycle) <= 12 else [*cycle[:6], "…", *cycle[-5:]]
    way = shown(describe_cycle(shortened), max_characters=2000)
    return f"these steps wait for one another: {way}; remove one of these dependencies"


def _named(place: Place) -> str:
    return place.path or f"line {place.line}, column {place.column}"
