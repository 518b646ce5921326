"""A document → `Workflow`, with every mistake noted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from pipelines_schema.dag import describe_cycle, find_cycles
from pipelines_schema.fields import Field, Reading, Vocabulary, line_fault
from pipelines_schema.limits import MAX_BRANCH_PATTERNS, MAX_NAME_CHARACTERS, MAX_STEPS
from pipelines_schema.nodes import Kind, ListNode, MapNode, Node, ScalarNode, described
from pipelines_schema.problem import Place, shown
from pipelines_schema.read_step import STEP, WrittenStep, read_environment, read_step
from pipelines_schema.suggestions import closest
from pipelines_schema.triggers import branch_pattern_problem
from pipelines_schema.workflow import PullRequestTrigger, PushTrigger, Step, Triggers, Workflow

WORKFLOW = Vocabulary(
    where="a workflow",
    known=("name", "on", "env", "steps"),
    not_built=("concurrency",),
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
            for key in (*STEP.known, *STEP.not_built)
            if key not in ("name", "env")
        },
    },
)
ON = Vocabulary(
    where="`on`",
    known=("push", "pullRequest"),
    not_built=("tag", "schedule", "manual"),
    synonyms={
        "pull_request": "write `pullRequest`",
        "cron": "`schedule` is not supported yet",
        "branches": "it belongs below `push`: write `push: {branches: […]}`",
    },
)
PUSH = Vocabulary(
    where="`push`",
    known=("branches",),
    not_built=("paths",),
    synonyms={
        "branch": "write `branches`, a list",
        "branches-ignore": 'write the pattern with a `!` in `branches`, such as `"!wip/**"`',
        "tags": "`tag` is not supported yet",
    },
)
PULL_REQUEST = Vocabulary(
    where="`pullRequest`",
    known=("branches",),
    not_built=("paths",),
    synonyms={
        "branch": "write `branches`, a list",
        "types": "opened, reopened and pushed to: all of them start the workflow, so remove it",
    },
)
_ON_HINT = "write `on: push`, or `on: {push: {branches: [main]}}`"
_STEPS_HINT = "begin each step with `- name: …`"
EVERY_PUSH = Triggers(push=PushTrigger())


def read_workflow(reading: Reading, root: Node | None, file: str) -> Workflow:
    """The workflow of a file; worth something only if no problem was noted."""
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
    return Workflow(
        name=_name(reading, fields.get("name"), file),
        file=file,
        triggers=_triggers(reading, fields.get("on")),
        env=read_environment(reading, fields.get("env")),
        steps=_steps(reading, fields["steps"]) if "steps" in fields else (),
    )


def read_api_workflow(reading: Reading, name: Node, steps: Node) -> Workflow:
    """A workflow made through the API: no push starts it."""
    name_field = Field(ScalarNode("name", Kind.TEXT, Place(0, 0, "name")), name)
    steps_field = Field(ScalarNode("steps", Kind.TEXT, Place(0, 0, "steps")), steps)
    return Workflow(
        name=_name(reading, name_field, ""),
        file=None,
        triggers=Triggers(),
        steps=_steps(reading, steps_field),
    )


def _name(reading: Reading, entry: Field | None, file: str) -> str:
    if entry is not None:
        return reading.line_of_text(entry, "write the workflow's name", MAX_NAME_CHARACTERS) or ""
    name = PurePosixPath(file).name.lstrip(".").rpartition(".")[0] or "workflow"
    if line_fault(name, MAX_NAME_CHARACTERS) is not None:
        reading.add(
            Place(1, 1), f"the file's name {shown(name)} can't be the workflow's: write `name`"
        )
    return name


def _triggers(reading: Reading, entry: Field | None) -> Triggers:
    if entry is None:
        return EVERY_PUSH
    match entry.value:
        case MapNode(entries=entries) if entries:
            fields = reading.fields(entry.value, ON)
            return Triggers(
                push=_push(reading, fields["push"]) if "push" in fields else None,
                pull_request=(
                    _pull_request(reading, fields["pullRequest"])
                    if "pullRequest" in fields
                    else None
                ),
            )
        case ListNode(items=items) if items:
            return _short_triggers(reading, entry)
        case ScalarNode(kind=kind) if kind not in (Kind.NULL, Kind.BROKEN):
            return _short_triggers(reading, entry)
        case ScalarNode(kind=Kind.BROKEN):
            return Triggers()
        case _:
            reading.add(
                entry.place, f"`on` is empty: {_ON_HINT}, or remove `on` to build every push"
            )
            return Triggers()


def _short_triggers(reading: Reading, entry: Field) -> Triggers:
    """`on: push` and `on: [push]`."""
    names: set[str] = set()
    for place, name in reading.texts(entry, _ON_HINT, MAX_STEPS, one_allowed=True):
        if name in names:
            reading.add(place, f"`on` names {shown(name)} twice: remove one of them")
        elif name in ON.not_built:
            reading.add(place, f"{shown(name)} is not supported yet")
        elif name not in ON.known:
            near = closest(name, [*ON.known, *ON.not_built])
            meant = f"did you mean `{near}`?" if near else _ON_HINT
            reading.add(place, f"unknown event {shown(name)}: {meant}")
        names.add(name)
    return Triggers(
        push=PushTrigger() if "push" in names else None,
        pull_request=PullRequestTrigger() if "pullRequest" in names else None,
    )


def _push(reading: Reading, entry: Field) -> PushTrigger:
    if entry.is_null or entry.is_broken:
        return PushTrigger()
    node = reading.mapping(entry, "write `push: {branches: [main]}`, or `push: {}` for all")
    if node is None:
        return PushTrigger()
    fields = reading.fields(node, PUSH)
    if "branches" not in fields:
        return PushTrigger()
    return PushTrigger(branches=_branches(reading, fields["branches"]))


def _pull_request(reading: Reading, entry: Field) -> PullRequestTrigger:
    if entry.is_null or entry.is_broken:
        return PullRequestTrigger()
    node = reading.mapping(
        entry, "write `pullRequest: {branches: [main]}`, or `pullRequest: {}` for all"
    )
    if node is None:
        return PullRequestTrigger()
    fields = reading.fields(node, PULL_REQUEST)
    if "branches" not in fields:
        return PullRequestTrigger()
    return PullRequestTrigger(branches=_branches(reading, fields["branches"]))


def _branches(reading: Reading, entry: Field) -> tuple[str, ...]:
    hint = 'write a list of branches or patterns, such as `[main, "release/*"]`'
    if isinstance(entry.value, ListNode) and not entry.value.items:
        reading.add(entry.place, f"{entry.label} is empty, so nothing would start this: {hint}")
    patterns: list[str] = []
    for place, pattern in reading.texts(entry, hint, MAX_BRANCH_PATTERNS, one_allowed=True):
        fault = branch_pattern_problem(pattern)
        if fault is not None:
            reading.add(place, f"the branch {shown(pattern)} {fault}")
        patterns.append(pattern)
    return tuple(patterns)


def _steps(reading: Reading, entry: Field) -> tuple[Step, ...]:
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
    read = (read_step(reading, item, number) for number, item in enumerate(node.items, start=1))
    written = [step for step in read if step is not None]
    _check_names(reading, written)
    _check_dependencies(reading, written)
    return tuple(step.step for step in written)


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


def _check_dependencies(reading: Reading, written: Sequence[WrittenStep]) -> None:
    names = [step.name for step in written if step.name is not None]
    known = set(names)
    for step in written:
        for place, dependency in step.dependencies:
            if dependency not in known:
                reading.add(place, _unknown_dependency(dependency, step.name, names))
    by_name: dict[str, WrittenStep] = {}
    for step in written:
        if step.name is not None:
            by_name.setdefault(step.name, step)
    for cycle in find_cycles([step.step for step in by_name.values()]):
        places = {name: place for place, name in by_name[cycle[0]].dependencies}
        next_name = cycle[1] if len(cycle) > 1 else cycle[0]
        reading.add(places[next_name], _waiting_in_a_circle(cycle))


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
