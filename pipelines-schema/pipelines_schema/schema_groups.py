"""The part of the workflow's JSON Schema that describes what must not run beside each other."""

from __future__ import annotations

from typing import Any

from pipelines_schema import limits
from pipelines_schema.schema_shapes import object_of, text


def concurrency() -> dict[str, Any]:
    group = text(
        "Of the project's builds of one group one is on its way, and the newest of the others "
        "waits. It may hold `${{ branch }}`, `tag`, `ref`, `sha`, `shortSha`, `build.id`, "
        "`build.number`, `env.<name>` and `params.<name>`.",
        limits.MAX_GROUP_CHARACTERS,
    )
    cancel = {
        "description": "A new build cancels the one on its way, and begins once that has cleaned "
        "up. `false` if left out.",
        "type": "boolean",
    }
    whole = object_of({"group": group, "cancelRunning": cancel}, required=["group"])
    return {
        "description": "The builds that must not run beside each other: the group, or a mapping. "
        "An older build that waits is cancelled, superseded by the newer one.",
        "anyOf": [whole, {key: group[key] for key in group if key != "description"}],
    }


def step_concurrency() -> dict[str, Any]:
    group = text(
        "The group, which all of the account's projects share. It may hold what a workflow's may, "
        "and values of the matrix.",
        limits.MAX_GROUP_CHARACTERS,
    )
    limit = {
        "description": "How many of the group may run when this step begins, itself included. 1 if "
        "left out.",
        "type": "integer",
        "minimum": 1,
        "maximum": limits.MAX_GROUP_LIMIT,
    }
    whole = object_of({"group": group, "limit": limit}, required=["group"])
    return {
        "description": "The steps of the account that must not run beside each other: the group, "
        "or a mapping. They wait, and begin in the order in which they came.",
        "anyOf": [whole, {key: group[key] for key in group if key != "description"}],
    }
