"""The `on` of a workflow, with every mistake noted."""

from __future__ import annotations

from pipelines_schema.fields import Field, Reading, Vocabulary, line_fault
from pipelines_schema.limits import MAX_PULL_REQUEST_LABEL_CHARACTERS, MAX_STEPS
from pipelines_schema.nodes import Kind, ListNode, MapNode, ScalarNode
from pipelines_schema.patterns import branch_pattern_problem
from pipelines_schema.problem import shown
from pipelines_schema.read_build_triggers import BUILD_HINT, read_build_triggers
from pipelines_schema.read_endings import read_boolean
from pipelines_schema.read_params import read_params
from pipelines_schema.read_patterns import read_branches, read_paths, read_patterns
from pipelines_schema.read_schedules import SCHEDULE_HINT, read_schedules
from pipelines_schema.suggestions import closest
from pipelines_schema.trigger_types import (
    ManualTrigger,
    PullRequestTrigger,
    PushTrigger,
    TagTrigger,
    Triggers,
)

ON = Vocabulary(
    where="`on`",
    known=("push", "pullRequest", "tag", "manual", "schedule", "build"),
    synonyms={
        "pull_request": "write `pullRequest`",
        "cron": 'write `schedule: [{cron: "0 3 * * *"}]`',
        "schedules": "write `schedule`, a list",
        "tags": "write `tag`",
        "workflow_dispatch": "write `manual`",
        "workflow_run": "write `build: [{project: lib, workflow: ci}]`",
        "builds": "write `build`, a list",
        "branches": "it belongs below `push`: write `push: {branches: […]}`",
    },
)
PUSH = Vocabulary(
    where="`push`",
    known=("branches", "paths"),
    synonyms={
        "branch": "write `branches`, a list",
        "branches-ignore": 'write the pattern with a `!` in `branches`, such as `"!wip/**"`',
        "path": "write `paths`, a list",
        "paths-ignore": 'write the pattern with a `!` in `paths`, such as `"!docs/**"`',
        "tags": 'write `tag: ["v*"]` beside `push`',
        "cron": 'write `schedule: [{cron: "0 3 * * *"}]` beside `push`',
        "schedule": "it belongs beside `push`, below `on`",
    },
)
PULL_REQUEST = Vocabulary(
    where="`pullRequest`",
    known=("branches", "paths", "labels", "drafts", "alsoPush"),
    synonyms={
        "branch": "write `branches`, a list",
        "path": "write `paths`, a list",
        "paths-ignore": 'write the pattern with a `!` in `paths`, such as `"!docs/**"`',
        "label": "write `labels`, a list",
        "draft": "write `drafts: false` where drafts start nothing",
        "types": "opened, reopened and pushed to: all of them start the workflow, so remove it",
    },
)
MANUAL = Vocabulary(
    where="`manual`",
    known=("params",),
    synonyms={"inputs": "write `params`", "parameters": "write `params`"},
)
_ON_HINT = "write `on: push`, or `on: {push: {branches: [main]}}`"
_LABELS_HINT = "write a list of labels, such as `[full-ci]`"
EVERY_PUSH = Triggers(push=PushTrigger())


def read_triggers(reading: Reading, entry: Field | None) -> Triggers:
    if entry is None:
        return EVERY_PUSH
    match entry.value:
        case MapNode(entries=entries) if entries:
            fields = reading.fields(entry.value, ON)
            manual = _manual(reading, fields["manual"]) if "manual" in fields else None
            return Triggers(
                push=_push(reading, fields["push"]) if "push" in fields else None,
                pull_request=(
                    _pull_request(reading, fields["pullRequest"])
                    if "pullRequest" in fields
                    else None
                ),
                tag=_tag(reading, fields["tag"]) if "tag" in fields else None,
                manual=manual,
                schedule=read_schedules(
                    reading, fields.get("schedule"), manual.params if manual else ()
                ),
                build=read_build_triggers(reading, fields.get("build")),
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
    """`on: push` and `on: [push, tag]`."""
    names: set[str] = set()
    for place, name in reading.texts(entry, _ON_HINT, MAX_STEPS, one_allowed=True):
        if name in names:
            reading.add(place, f"`on` names {shown(name)} twice: remove one of them")
        elif name == "schedule":
            reading.add(place, f"`schedule` needs its times: {SCHEDULE_HINT}")
        elif name == "build":
            reading.add(place, f"`build` needs the projects that start it: {BUILD_HINT}")
        elif name not in ON.known:
            near = closest(name, ON.known)
            meant = f"did you mean `{near}`?" if near else _ON_HINT
            reading.add(place, f"unknown event {shown(name)}: {meant}")
        names.add(name)
    return Triggers(
        push=PushTrigger() if "push" in names else None,
        pull_request=PullRequestTrigger() if "pullRequest" in names else None,
        tag=TagTrigger() if "tag" in names else None,
        manual=ManualTrigger() if "manual" in names else None,
    )


def _push(reading: Reading, entry: Field) -> PushTrigger:
    if entry.is_null or entry.is_broken:
        return PushTrigger()
    node = reading.mapping(entry, "write `push: {branches: [main]}`, or `push: {}` for all")
    if node is None:
        return PushTrigger()
    fields = reading.fields(node, PUSH)
    return PushTrigger(
        branches=read_branches(reading, fields.get("branches")),
        paths=read_paths(reading, fields.get("paths")),
    )


def _pull_request(reading: Reading, entry: Field) -> PullRequestTrigger:
    if entry.is_null or entry.is_broken:
        return PullRequestTrigger()
    node = reading.mapping(
        entry, "write `pullRequest: {branches: [main]}`, or `pullRequest: {}` for all"
    )
    if node is None:
        return PullRequestTrigger()
    fields = reading.fields(node, PULL_REQUEST)
    labels, drafts = fields.get("labels"), fields.get("drafts")
    return PullRequestTrigger(
        branches=read_branches(reading, fields.get("branches")),
        paths=read_paths(reading, fields.get("paths")),
        labels=None
        if labels is None
        else read_patterns(reading, labels, "label", _LABELS_HINT, _label_problem),
        drafts=drafts is None or read_boolean(reading, drafts),
        also_push=read_boolean(reading, fields.get("alsoPush")),
    )


def _label_problem(label: str) -> str | None:
    return line_fault(label, MAX_PULL_REQUEST_LABEL_CHARACTERS)


def _tag(reading: Reading, entry: Field) -> TagTrigger:
    if entry.is_null or entry.is_broken:
        return TagTrigger()
    hint = 'write a list of tags or patterns, such as `["v*"]`, or nothing for every tag'
    return TagTrigger(patterns=read_patterns(reading, entry, "tag", hint, _tag_pattern_problem))


def _tag_pattern_problem(pattern: str) -> str | None:
    fault = branch_pattern_problem(pattern)
    if fault is None:
        return None
    if pattern.removeprefix("!").startswith("refs/"):
        return "must be a tag's short name: write `v1`, not `refs/tags/v1`"
    return fault.replace("a branch or a pattern such as `release/*`", "a tag or `v*`").replace(
        "for a branch", "for a tag"
    )


def _manual(reading: Reading, entry: Field) -> ManualTrigger:
    if entry.is_null or entry.is_broken:
        return ManualTrigger()
    node = reading.mapping(entry, "write `manual: {params: {…}}`, or `manual: {}`")
    fields = {} if node is None else reading.fields(node, MANUAL)
    if "params" not in fields:
        return ManualTrigger()
    return ManualTrigger(params=read_params(reading, fields["params"], "PUSHROD_PARAM_"))
