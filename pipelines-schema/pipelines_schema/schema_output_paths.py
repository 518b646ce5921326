"""The part of the workflow's JSON Schema that describes `outputPaths`."""

from __future__ import annotations

from typing import Any

from pipelines_schema import limits
from pipelines_schema.schema_shapes import TEXT_TYPES, duration, object_of


def output_paths() -> dict[str, Any]:
    path = {"type": TEXT_TYPES, "minLength": 1}
    keep = duration(
        "How long these stay after the build has ended, such as `30d`; the project's limits if "
        "left out.",
        limits.MAX_KEEP_SECONDS,
        least_seconds=limits.MIN_KEEP_SECONDS,
    )
    output = {"path": {"description": "The path or pattern.", **path}, "keep": keep}
    return {
        "description": "Artifacts of the step: paths or patterns relative to the workspace, such "
        "as `dist/*.whl` or `reports/`, or `{path, keep}`. They are kept also when the script "
        "fails. The workspace's own `.git` is meant by its name alone.",
        "type": "array",
        "maxItems": limits.MAX_PATHS,
        "items": {"anyOf": [path, object_of(output, ["path"])]},
    }
