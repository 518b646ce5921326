"""A Bitbucket file: a workflow for each of its pipelines."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, product

from pipelines_schema.nodes import MapNode
from pushrod.importing.draft import StepDraft, Value, WorkflowDraft, both, either
from pushrod.importing.formats.bitbucket.shared import (
    Common,
    read_clone,
    read_definitions,
    read_image,
    tell_unused,
)
from pushrod.importing.formats.bitbucket.steps import read_condition, read_step
from pushrod.importing.ledger import Keys
from pushrod.importing.patterns import matches
from pushrod.importing.sources import Choices, ReadFile, Source

_DOCKER = "the engine builds images: write a step with `build`"


@dataclass(frozen=True, slots=True)
class Bitbucket:
    name: str = "bitbucket"
    title: str = "Bitbucket Pipelines"
    has_history: bool = True
    patterns: Sequence[str] = ("bitbucket-pipelines.yml", "bitbucket-pipelines.yaml")

    def drafts(
        self, sources: Sequence[Source], choices: Choices, read: ReadFile
    ) -> list[WorkflowDraft]:
        return [draft for source in sources for draft in _pipelines(source, choices)]


def _pipelines(source: Source, choices: Choices) -> list[WorkflowDraft]:
    document = source.documents[0]
    top = WorkflowDraft(name="ci", ledger=source.ledger, place=document.place)
    keys = source.ledger.open(document, top.notes)
    common = Common(source=source, image=choices.image)
    common.image = read_image(keys, common) or choices.image
    common.git = read_clone(keys)
    options = keys.map("options")
    if options is not None:
        minutes = options.number("max-time")
        common.timeout = f"{minutes}m" if minutes else None
        options.changed("size", "give the steps `resources`")
        options.left("docker", _DOCKER)
    read_definitions(keys, common)
    pipelines = keys.map("pipelines")
    if pipelines is not None:
        _all(pipelines, common)
    tell_unused(common)
    if not common.drafts:
        common.drafts.append(top)
    else:
        common.drafts[0].notes += top.notes
        # What the final account finds belongs to the first workflow, too.
        keys.ledger.open(document, common.drafts[0].notes)
    return common.drafts


def _all(pipelines: Keys, common: Common) -> None:
    branches = pipelines.map("branches")
    named = () if branches is None else branches.names
    if "default" in pipelines:
        on: dict[str, Value] = {"push": {}}
        if named:
            on = {
                "push": {"branches": ["**", *(f"!{glob}" for one in named for glob in _globs(one))]}
            }
        _one(pipelines, "default", common, "ci", on)
    for one in named:
        if branches is not None:
            on = {"push": {"branches": [*_globs(one)]}}
            _one(branches, one, common, f"branch {one}", on)
    tags = pipelines.map("tags")
    for one in () if tags is None else tags.names:
        if tags is not None:
            _one(tags, one, common, f"tag {one}", {"tag": [*_globs(one)]})
    requests = pipelines.map("pull-requests")
    for one in () if requests is None else requests.names:
        if requests is not None:
            _one(requests, one, common, f"pull request {one}", {"pullRequest": {}})
    custom = pipelines.map("custom")
    for one in () if custom is None else custom.names:
        if custom is not None:
            _one(custom, one, common, one, {"manual": {}})


def _globs(pattern: str) -> list[str]:
    """`{a,b}/*` as `a/*` and `b/*`."""
    parts = re.split(r"\{([^{}]*)\}", pattern)[:9]
    choices = [one.split(",") if number % 2 else [one] for number, one in enumerate(parts)]
    return ["".join(one) for one in islice(product(*choices), 50)]


def _one(keys: Keys, key: str, common: Common, name: str, on: dict[str, Value]) -> None:
    """One pipeline: its items are done one after the other."""
    place = keys.peek(key) or keys.node
    draft = common.begin(name, place, on)
    inner = keys.noting(draft.notes)
    before: list[str] = []
    node = inner.peek(key)
    if isinstance(node, MapNode):
        # `imports` and `triggers` of shared pipelines.
        opened = inner.map(key)
        for one in () if opened is None else opened.names:
            if opened is not None:
                opened.left(one, "pipelines of other repositories are not fetched")
        return
    for item in inner.items(key):
        if isinstance(item, MapNode):
            before = _item(inner.ledger.open(item, draft.notes), draft, common, before)
    pattern = name.removeprefix("pull request ")
    if on == {"pullRequest": {}} and pattern != "**":
        for step in draft.steps:
            step.when = both(either([matches("branch", one) for one in _globs(pattern)]), step.when)


def _item(keys: Keys, draft: WorkflowDraft, common: Common, before: list[str]) -> list[str]:
    """The names of what the next item waits for."""
    if "variables" in keys:
        draft.on["manual"] = {"params": _params(keys)}
    if "step" in keys:
        return read_step(keys, draft, common, before, None) or before
    if "stage" in keys:
        stage = keys.map("stage")
        return before if stage is None else _stage(stage, draft, common, before)
    if "parallel" not in keys:
        return before
    names: list[str] = []
    group = keys.map("parallel") if isinstance(keys.peek("parallel"), MapNode) else None
    if group is not None and group.boolean("fail-fast"):
        group.changed("fail-fast", "the first failure ends the whole build")
        draft.fail_fast = True
    items = keys.items("parallel") if group is None else group.items("steps")
    for item in items:
        if isinstance(item, MapNode):
            names += read_step(keys.ledger.open(item, draft.notes), draft, common, before, None)
    return names or before


def _stage(stage: Keys, draft: WorkflowDraft, common: Common, before: list[str]) -> list[str]:
    name = stage.text("name") or "stage"
    gate: str | None = None
    if stage.text("trigger") == "manual":
        stage.changed("trigger", "a gate asks before it; the build waits for its answer")
        gate = draft.step_name(f"approve {name}")
        draft.steps.append(
            StepDraft(
                name=gate,
                place=stage.node.place,
                depends_on=list(before),
                approve={"message": f"Run {name}?"},
            )
        )
        before = [*before, gate]
    stage.left("deployment", "there are no environments yet: a gate asks before")
    condition = read_condition(stage)
    for item in stage.items("steps"):
        if isinstance(item, MapNode):
            inner = stage.ledger.open(item, draft.notes)
            before = read_step(inner, draft, common, before, condition) or before
    return before


def _params(keys: Keys) -> dict[str, Value]:
    params: dict[str, Value] = {}
    for item in keys.items("variables"):
        if isinstance(item, MapNode):
            one = keys.ledger.open(item, keys.notes)
            name = one.text("name") or "variable"
            default = one.text("default") or ""
            allowed = one.texts("allowed-values")
            one.take("description")
            params[name] = (
                {"default": default, "oneOf": list(allowed)} if allowed else {"default": default}
            )
    return params
