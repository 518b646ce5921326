"""The JSON Schema of the workflow file, for editors: `python -m pipelines_schema.schema` writes it.

It describes shapes. What only the parser can know (unknown dependencies, cycles, doubled names,
paths outside the workspace) it lets pass.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipelines_schema import limits
from pipelines_schema.notify import MAX_ADDRESS_CHARACTERS, Occasion
from pipelines_schema.schema_groups import concurrency
from pipelines_schema.schema_reuse import image_needs, reuse_definitions
from pipelines_schema.schema_shapes import (
    PARAM_NAME,
    PARAM_VALUE,
    TEXT_TYPES,
    described,
    duration,
    object_of,
    text,
)
from pipelines_schema.schema_step import step_definitions

FILE_NAME = "workflow.schema.json"


def workflow_schema() -> dict[str, Any]:
    steps = step_definitions()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "pushrod workflow",
        "description": "A workflow of pushrod: `.pushrod.yml`, or any `.pushrod/*.yml`.",
        **object_of(
            {
                "name": text(
                    "Name of the workflow; the file's name without its ending if left out.",
                    limits.MAX_NAME_CHARACTERS,
                ),
                "include": described(
                    "include",
                    "Files that bring `templates`, `defaults` and `env`: paths of this repository "
                    "at the same commit, or files of other projects of the account.",
                ),
                "on": _on(),
                "env": described("env", "Environment variables of every step."),
                "defaults": described(
                    "defaults",
                    "What each step says that says nothing else: keys of a step, and `before`.",
                ),
                "templates": described(
                    "templates", "Keys of a step by name, for the steps that `use` them."
                ),
                "concurrency": concurrency(),
                "failFast": {
                    "description": "The first step that fails, and may not, ends those that run or "
                    "wait, but for those whose `runOn` has `failure` or `cancelled`. `false` if "
                    "left out.",
                    "type": "boolean",
                },
                "timeout": duration(
                    "How long a whole build may take from the start of its first step; then its "
                    "steps are ended, and it fails. `90m`, `2h` or whole seconds, at most 7 days. "
                    "As long as its steps take if left out.",
                    limits.MAX_BUILD_TIMEOUT_SECONDS,
                ),
                "notify": _notify(),
                "steps": {
                    "description": "What a build does. Steps run at once unless `dependsOn` makes "
                    "them wait.",
                    "type": "array",
                    "minItems": 1,
                    "maxItems": limits.MAX_STEPS,
                    "items": {"$ref": "#/$defs/step"},
                },
            },
            required=["steps"],
        ),
        **image_needs(),
        "patternProperties": {f"^{limits.EXTENSION_PREFIX}": {}},
        "$defs": {
            **steps,
            **reuse_definitions(steps),
            "env": _environment(),
            "push": _push(),
            "pullRequest": _pull_request(),
            "tag": _tag(),
            "manual": _manual(),
            "schedule": _schedule(),
            "buildTrigger": _build_trigger(),
            "param": _param(),
        },
    }


def _notify() -> dict[str, Any]:
    occasion = {"enum": [occasion.value for occasion in Occasion]}
    address = {"type": "string", "format": "email", "maxLength": MAX_ADDRESS_CHARACTERS}
    item = object_of(
        {
            "on": {
                "description": "`fixed`: it succeeded, and the one before it on the branch failed.",
                "anyOf": [{"type": "array", "minItems": 1, "items": occasion}, occasion],
            },
            "email": {
                "description": "Addresses that get an e-mail.",
                "anyOf": [
                    {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": limits.MAX_NOTIFIED,
                        "items": address,
                    },
                    address,
                ],
            },
            "webhook": {
                "description": "The name of a secret that holds an address, which gets JSON that "
                "chats understand, too.",
                "type": "string",
                "pattern": f"^{limits.ENVIRONMENT_NAME}$",
                "maxLength": limits.MAX_NAME_CHARACTERS,
            },
        },
        required=["on"],
    )
    return {
        "description": "Who is told of how builds end, but for those of forks.",
        "type": "array",
        "maxItems": limits.MAX_NOTIFIED,
        "items": {**item, "oneOf": [{"required": ["email"]}, {"required": ["webhook"]}]},
    }


def rendered() -> str:
    """The text of the published file."""
    return json.dumps(workflow_schema(), indent=2, ensure_ascii=False) + "\n"


_EVENTS = ("push", "pullRequest", "tag", "manual")
"""Those that say enough by their name."""


def _on() -> dict[str, Any]:
    event = {"enum": list(_EVENTS)}
    mapped = {name: name for name in (*_EVENTS, "schedule")} | {"build": "buildTrigger"}
    return {
        "description": "What starts a build. Left out: every push to a branch.",
        "oneOf": [
            event,
            {
                "type": "array",
                "minItems": 1,
                "maxItems": len(_EVENTS),
                "uniqueItems": True,
                "items": event,
            },
            {
                **object_of({name: {"$ref": f"#/$defs/{of}"} for name, of in mapped.items()}),
                "minProperties": 1,
            },
        ],
    }


def _push() -> dict[str, Any]:
    return {
        "description": "A push to a branch; all branches if none are named.",
        "anyOf": [
            object_of(
                {
                    "branches": _patterns(
                        "Branches whose pushes start a build.",
                        limits.MAX_BRANCH_PATTERN_CHARACTERS,
                    ),
                    "paths": _patterns(
                        "Files of which the push must have changed one.", limits.MAX_PATH_BYTES
                    ),
                }
            ),
            {"type": "null"},
        ],
    }


def _pull_request() -> dict[str, Any]:
    branches = _patterns(
        "Branches that the pull request would be merged into.",
        limits.MAX_BRANCH_PATTERN_CHARACTERS,
    )
    paths = _patterns(
        "Files of which one must differ from where the pull request left the branch it would be "
        "merged into.",
        limits.MAX_PATH_BYTES,
    )
    label = {
        "type": TEXT_TYPES,
        "minLength": 1,
        "maxLength": limits.MAX_PULL_REQUEST_LABEL_CHARACTERS,
    }
    labels = {
        "description": "Labels of which it must have one; being given one starts a build, too.",
        "anyOf": [_list_of(label), label],
    }
    drafts = {
        "description": "Whether drafts start a build. Where they don't, being marked as ready "
        "does. `true` if left out.",
        "type": "boolean",
    }
    also_push = {
        "description": "Whether a commit that is pushed, too, and so starts this workflow twice, "
        "has two builds. `false` if left out: one serves both.",
        "type": "boolean",
    }
    keys = {
        "branches": branches,
        "paths": paths,
        "labels": labels,
        "drafts": drafts,
        "alsoPush": also_push,
    }
    return {
        "description": "A pull request that is opened, reopened or pushed to; one from a fork "
        "waits for a maintainer's approval and gets no secrets.",
        "anyOf": [object_of(keys), {"type": "null"}],
    }


def _tag() -> dict[str, Any]:
    patterns = _patterns(
        "Tags that start a build when they are pushed; all if none are named.",
        limits.MAX_BRANCH_PATTERN_CHARACTERS,
    )
    return {
        "description": patterns["description"],
        "anyOf": [*patterns["anyOf"], {"type": "null"}],
    }


def _patterns(description: str, max_characters: int) -> dict[str, Any]:
    pattern = {"type": TEXT_TYPES, "minLength": 1, "maxLength": max_characters}
    return {
        "description": f"{description} `*` stands for any run of characters without `/`, `**` for "
        "any run, `?` for one character; `!pattern` takes out "
        "again, and what matches last counts; a list of `!` alone means all others.",
        "anyOf": [_list_of(pattern), pattern],
    }


def _list_of(item: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "array",
        "minItems": 1,
        "maxItems": limits.MAX_BRANCH_PATTERNS,
        "items": item,
    }


def _manual() -> dict[str, Any]:
    params = {
        "description": "Parameters by name; scripts find them as `PUSHROD_PARAM_<NAME>`.",
        "type": "object",
        "maxProperties": limits.MAX_PARAMS,
        "propertyNames": {
            "pattern": f"^{limits.ENVIRONMENT_NAME}$",
            "maxLength": limits.MAX_NAME_CHARACTERS,
        },
        "additionalProperties": {"$ref": "#/$defs/param"},
    }
    return {
        "description": "Builds made by `pushrod build create`.",
        "anyOf": [object_of({"params": params}), {"type": "null"}],
    }


def _schedule() -> dict[str, Any]:
    cron = text(
        "Minute, hour, day of the month, month, weekday, as crontab has them: 0 and 7 are Sunday; "
        "where both days are restricted, either is enough.",
        limits.MAX_CRON_CHARACTERS,
    )
    zone = text(
        "The time zone of `cron`, such as `Europe/Vienna`; UTC if left out.",
        limits.MAX_TIME_ZONE_CHARACTERS,
    )
    branch = text(
        "What is built, by the workflow file that it has; the default branch if left out.",
        limits.MAX_BRANCH_PATTERN_CHARACTERS,
    )
    params = {
        "description": "Values of the parameters of `manual`, as for a build made by hand.",
        "type": "object",
        "maxProperties": limits.MAX_PARAMS,
        "propertyNames": PARAM_NAME,
        "additionalProperties": PARAM_VALUE,
    }
    keys = {"cron": cron, "timezone": zone, "branch": branch, "params": params}
    return {
        "description": "Set times; read from the default branch's file alone.",
        "type": "array",
        "minItems": 1,
        "maxItems": limits.MAX_SCHEDULES,
        "items": object_of(keys, required=["cron"]),
    }


def _build_trigger() -> dict[str, Any]:
    keys = {
        "project": text(
            "Another project of the account, by its name in its address.",
            limits.MAX_NAME_CHARACTERS,
        ),
        "workflow": text(
            "The name of one of its workflows; any of them if left out.",
            limits.MAX_NAME_CHARACTERS,
        ),
        "branches": _patterns(
            "Branches whose builds count; every branch and tag if left out.",
            limits.MAX_BRANCH_PATTERN_CHARACTERS,
        ),
    }
    return {
        "description": "Builds of other projects that succeeded; read from the default branch's "
        "file alone, and that branch is built.",
        "type": "array",
        "minItems": 1,
        "maxItems": limits.MAX_BUILD_TRIGGERS,
        "items": object_of(keys, required=["project"]),
    }


def _param() -> dict[str, Any]:
    value = {
        "type": TEXT_TYPES,
        "minLength": 1,
        "maxLength": limits.MAX_MATRIX_VALUE_CHARACTERS,
    }
    return {
        "anyOf": [
            object_of(
                {
                    "default": {
                        "description": "Its value where none is given; without one (and without "
                        "`oneOf`) a manual build must give it.",
                        "type": TEXT_TYPES,
                        "maxLength": limits.MAX_PARAM_CHARACTERS,
                    },
                    "oneOf": {
                        "description": "The values it can have, the first being the default if "
                        "none is named. Only such a parameter may stand in `${{ params.name }}`.",
                        "type": "array",
                        "minItems": 1,
                        "maxItems": limits.MAX_PARAMS,
                        "uniqueItems": True,
                        "items": value,
                    },
                }
            ),
            {"type": "null"},
        ],
    }


def _environment() -> dict[str, Any]:
    return {
        "type": "object",
        "propertyNames": {
            "pattern": f"^{limits.ENVIRONMENT_NAME}$",
            "not": {"pattern": f"^{limits.RESERVED_PREFIX}"},
        },
        "additionalProperties": {"type": TEXT_TYPES},
    }


if __name__ == "__main__":
    published = Path(__file__).parent.parent / FILE_NAME
    published.write_text(rendered(), encoding="utf-8")
