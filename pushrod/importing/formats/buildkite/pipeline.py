"""A Buildkite pipeline as a whole: steps, waits, gates and groups."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from pipelines_schema.nodes import MapNode, Node, ScalarNode
from pushrod.importing.conditions import Untranslatable
from pushrod.importing.draft import NEVER, StepDraft, Value, WorkflowDraft, all_of, either
from pushrod.importing.formats.buildkite.commands import MATRIX, read_kept, read_matrix, read_script
from pushrod.importing.formats.buildkite.conditions import condition
from pushrod.importing.formats.buildkite.limits import read_agents, read_limits
from pushrod.importing.formats.buildkite.plugins import read_plugins
from pushrod.importing.ledger import Keys, Verdict
from pushrod.importing.node_texts import is_null, truth
from pushrod.importing.patterns import matches
from pushrod.importing.shell_text import failing
from pushrod.importing.sources import Choices, ReadFile, Source

_GATE = "anybody who may push could answer there; here a role, `by`, must be had"


@dataclass(frozen=True, slots=True)
class Buildkite:
    name: str = "buildkite"
    title: str = "Buildkite"
    has_history: bool = True
    patterns: Sequence[str] = (".buildkite/pipeline.yml", ".buildkite/pipeline.yaml")

    def drafts(
        self, sources: Sequence[Source], choices: Choices, read: ReadFile
    ) -> list[WorkflowDraft]:
        return [_pipeline(source, choices) for source in sources]


@dataclass(slots=True, kw_only=True)
class _Reading:
    draft: WorkflowDraft
    image: str
    env: dict[str, str]
    agents: dict[str, str]
    since_wait: list[str] = field(default_factory=list)
    """The steps behind the last one that all others wait for."""
    before_wait: list[str] = field(default_factory=list)
    after_failure: bool = False
    names: dict[str, list[str]] = field(default_factory=dict)
    """By their keys, labels and ids; a group has several."""
    when: str | None = None


def _pipeline(source: Source, choices: Choices) -> WorkflowDraft:
    document = source.documents[0]
    draft = WorkflowDraft(name="ci", ledger=source.ledger, place=document.place, skips_alone=True)
    draft.on = {"push": {}, "tag": ["**"], "pullRequest": {}, "manual": {}}
    keys = source.ledger.open(document, draft.notes)
    env = keys.variables("env")
    draft.env = {name: text for name, text in env.items() if "$" not in text}
    reading = _Reading(
        draft=draft,
        image=choices.image,
        env={name: text for name, text in env.items() if "$" in text},
        agents=read_agents(keys),
    )
    keys.left("notify", "write `notify` with addresses, or the name of a secret with one")
    keys.take("priority")
    for item in keys.items("steps", ScalarNode):
        _item(reading, keys, item)
    _resolve(reading)
    return draft


def _item(reading: _Reading, keys: Keys, item: Node) -> None:
    if isinstance(item, ScalarNode):
        if item.text in ("wait", "waiter"):
            _wait(reading, False)
        elif item.text in ("block", "input"):
            _gate(reading, keys.ledger.open(MapNode((), item.place), keys.notes), item.text)
        else:
            keys.at(item, item.text, Verdict.LEFT, "there is no such step")
        return
    if not isinstance(item, MapNode):
        return
    kinds = {key.text for key, _ in item.entries}
    step = StepDraft(name="", place=item.place)
    if kinds & {"wait", "waiter"}:
        one = keys.ledger.open(item, reading.draft.notes)
        for name in ("wait", "waiter", "type"):
            one.take(name)
        if "if" in one:
            one.left("if", "it is always waited")
        for name in ("key", "id", "identifier", "depends_on", "allow_dependency_failure"):
            one.changed(name, "a wait is no step: what comes behind it waits for all before")
        _wait(reading, one.boolean("continue_on_failure") or False)
    elif kinds & {"block", "input", "manual"}:
        _gate(reading, keys.ledger.open(item, step.notes), "block", step)
    elif "group" in kinds:
        _group(reading, keys.ledger.open(item, reading.draft.notes))
    else:
        _step(reading, keys.ledger.open(item, step.notes), step)


def _wait(reading: _Reading, after_failure: bool) -> None:
    if reading.since_wait:
        reading.before_wait, reading.since_wait = reading.since_wait, []
    reading.after_failure = after_failure


def _name(reading: _Reading, keys: Keys, step: StepDraft, fallback: str) -> None:
    label = keys.text("label") or keys.text("name")
    ids = [keys.text(one) for one in ("key", "id", "identifier")]
    plain = re.sub(r":[a-z0-9_+-]+:", "", label or "").strip()
    plain = MATRIX.sub("", plain).strip() or next((one for one in ids if one), None) or fallback
    step.name = reading.draft.step_name(plain)
    for one in (label, *ids):
        if one:
            reading.names[one] = [step.name]


def _add(reading: _Reading, keys: Keys, step: StepDraft, is_gate: bool = False) -> None:
    """Sets what it depends on: by names, else all before the last wait."""
    if "depends_on" in keys:
        step.depends_on = _dependencies(keys)
    else:
        step.depends_on = list(reading.before_wait)
        if reading.after_failure and step.depends_on:
            step.run_on = ["success", "failure"]
    if keys.boolean("allow_dependency_failure") and step.depends_on:
        step.run_on = ["success", "failure"]
    _condition(reading, keys, step)
    reading.draft.steps.append(step)
    if is_gate:
        reading.before_wait, reading.since_wait = [step.name], []
    else:
        reading.since_wait.append(step.name)


def _dependencies(keys: Keys) -> list[str]:
    found: list[str] = []
    for item in keys.items("depends_on", ScalarNode):
        if isinstance(item, MapNode):
            one = keys.ledger.open(item, keys.notes)
            found += [one.text("step") or ""]
            if one.boolean("allow_failure"):
                one.changed("allow_failure", "give the step that may fail `allowFailure`")
        elif not is_null(item) and isinstance(item, ScalarNode):
            found.append(item.text)
    return [one for one in found if one]


def _resolve(reading: _Reading) -> None:
    known = {step.name for step in reading.draft.steps}
    for step in reading.draft.steps:
        wanted = [name for one in step.depends_on for name in reading.names.get(one, [one])]
        for one in wanted:
            if one not in known:
                reading.draft.ledger.mark(
                    step.place, "depends_on", Verdict.LEFT, f"there is no step `{one}`", step.notes
                )
        step.depends_on = list(dict.fromkeys(one for one in wanted if one in known))


def _condition(reading: _Reading, keys: Keys, step: StepDraft) -> None:
    tests = [reading.when] if reading.when else []
    if text := keys.text("if"):
        try:
            tests.append(condition(text))
        except Untranslatable as error:
            keys.left("if", f"{error}: the step does not run until `when` says when")
            tests.append(NEVER)
    if branches := [one for text in keys.texts("branches") for one in text.split()]:
        take = [matches("branch", one) for one in branches if not one.startswith("!")]
        leave = [matches("branch", one) for one in branches if one.startswith("!")]
        tests.append(all_of([either(take) or "true", *leave]) or "true")
    skip = keys.peek("skip")
    if skip is not None:
        keys.take("skip")
        if truth(skip) is not False:
            keys.changed("skip", "the condition is never true")
            tests.append(NEVER)
    step.when = all_of(tests)


def _gate(reading: _Reading, keys: Keys, kind: str, step: StepDraft | None = None) -> None:
    gate = step or StepDraft(name="", place=keys.node.place)
    label = keys.text("block") or keys.text("input") or keys.text("manual")
    gate.approve = {}
    if message := keys.text("prompt") or label:
        gate.approve["message"] = message
    params: dict[str, Value] = {}
    for item in keys.items("fields"):
        if isinstance(item, MapNode):
            name, value = _field(keys.ledger.open(item, gate.notes))
            params[name] = value
    if params:
        gate.approve["params"] = params
    keys.left("blocked_state", "a build that waits is neither passed nor failed")
    keys.changed("allowed_teams", _GATE)
    _name(reading, keys, gate, label or kind)
    if "input" in keys and "block" not in keys:
        # It waits for nothing by itself, and nothing for it.
        before, reading.before_wait = reading.before_wait, []
        _add(reading, keys, gate)
        reading.before_wait = before
        reading.since_wait.remove(gate.name)
    else:
        _wait(reading, False)
        _add(reading, keys, gate, is_gate=True)


def _field(keys: Keys) -> tuple[str, dict[str, Value]]:
    name = re.sub(r"\W", "_", keys.text("key") or "value")
    for one in ("text", "select", "hint", "format"):
        keys.take(one)
    required = keys.boolean("required")
    if keys.boolean("multiple"):
        keys.changed("multiple", "one value is given")
    default = keys.text("default")
    options: list[str] = []
    for item in keys.items("options"):
        if isinstance(item, MapNode):
            option = keys.ledger.open(item, keys.notes)
            option.take("label")
            option.take("hint")
            options.append(option.text("value") or "")
    value: dict[str, Value] = {}
    if default is not None:
        value["default"] = default
    elif not options and required is False:
        value["default"] = ""
    if options:
        value["oneOf"] = list(options)
    return name, value


def _group(reading: _Reading, keys: Keys) -> None:
    label = keys.text("group") or keys.text("label") or "group"
    first = len(reading.draft.steps)
    outer, dependencies = reading.when, keys.peek("depends_on")
    holder = StepDraft(name="", place=keys.node.place)
    _condition(reading, keys, holder)
    reading.when = holder.when
    names = _dependencies(keys) if dependencies is not None else None
    for item in keys.items("steps", ScalarNode):
        _item(reading, keys, item)
    reading.when = outer
    keys.left("notify", "write `notify` with addresses, or the name of a secret with one")
    made = reading.draft.steps[first:]
    for step in made:
        if names is not None:
            step.depends_on = list(dict.fromkeys([*step.depends_on, *names]))
    for one in (keys.text("key"), label):
        if one and made:
            reading.names.setdefault(one, [step.name for step in made])


def _step(reading: _Reading, keys: Keys, step: StepDraft) -> None:
    keys.take("type")
    _name(reading, keys, step, "step")
    step.image = reading.image
    if "trigger" in keys:
        for name in ("trigger", "build", "async"):
            keys.left(name, "pushrod starts no build of another pipeline from a step")
        step.script = failing("a build of another pipeline")
        read_limits(keys, step)
        _add(reading, keys, step)
        return
    read_plugins(keys, step)
    read_matrix(keys, step)
    step.agents = {**reading.agents, **read_agents(keys)}
    read_limits(keys, step)
    read_kept(keys, step)
    read_script(keys, step, reading.env)
    _add(reading, keys, step)
