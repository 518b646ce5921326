"""The `build` of a workflow's `on`, with every mistake noted."""

from __future__ import annotations

from pipelines_schema.build_triggers import BuildTrigger
from pipelines_schema.fields import Field, Reading, Vocabulary
from pipelines_schema.limits import MAX_BUILD_TRIGGERS, MAX_NAME_CHARACTERS
from pipelines_schema.nodes import MapNode
from pipelines_schema.problem import shown
from pipelines_schema.read_items import read_distinct_items
from pipelines_schema.read_patterns import read_branches

BUILD_HINT = "write `build: [{project: lib, workflow: ci}]`"
_BUILD = Vocabulary(
    where="an item of `build`",
    known=("project", "workflow", "branches"),
    synonyms={
        "branch": "write `branches`, a list",
        "workflows": "write `workflow`, an item for each",
        "projects": "write `project`, an item for each",
        "repository": "write `project`, the name of a project of this account",
        "account": "only projects of the same account start builds: remove it",
        "types": "only builds that succeeded start the workflow, so remove it",
        "params": "builds that other builds start have the parameters' defaults: remove it",
    },
)
_PROJECT_HINT = "write the name of a project of this account, as in its address"
_WORKFLOW_HINT = "write the workflow's name, or remove the key for all of that project's"


def read_build_triggers(reading: Reading, entry: Field | None) -> tuple[BuildTrigger, ...]:
    return read_distinct_items(
        reading,
        entry,
        hint=BUILD_HINT,
        example="{project: lib, workflow: ci}",
        most=MAX_BUILD_TRIGGERS,
        read=lambda item: _trigger(reading, item),
        second="item",
    )


def _trigger(reading: Reading, item: MapNode) -> BuildTrigger | None:
    fields = reading.fields(item, _BUILD)
    if "project" not in fields:
        reading.add(item.place, f"the item lacks `project`: {_PROJECT_HINT}")
    project = _project(reading, fields.get("project"))
    workflow = _word(reading, fields.get("workflow"), _WORKFLOW_HINT)
    branches = read_branches(reading, fields.get("branches"))
    if project is None:
        return None
    return BuildTrigger(project=project, workflow=workflow, branches=branches, place=item.place)


def _project(reading: Reading, entry: Field | None) -> str | None:
    name = _word(reading, entry, _PROJECT_HINT)
    if entry is not None and name is not None and "/" in name:
        reading.add(
            entry.place,
            f"{shown(name)} has an account or address before it, but only projects of the same "
            f"account start builds: write `{name.rstrip('/').rpartition('/')[2]}`",
        )
        return None
    return name


def _word(reading: Reading, entry: Field | None, hint: str) -> str | None:
    if entry is None:
        return None
    text = reading.line_of_text(entry, hint, MAX_NAME_CHARACTERS)
    return None if text is None or reading.refuse_expressions(entry.value) else text
