"""The part of the workflow's JSON Schema that describes `reports`."""

from __future__ import annotations

from typing import Any

from pipelines_schema import limits
from pipelines_schema.schema_shapes import TEXT_TYPES, object_of

_NO_FOLDER = {"type": TEXT_TYPES, "minLength": 1, "pattern": "[^/]$"}


def reports() -> dict[str, Any]:
    paths = {
        "anyOf": [
            {"type": "array", "maxItems": limits.MAX_REPORT_PATHS, "items": _NO_FOLDER},
            _NO_FOLDER,
        ]
    }
    parts = {
        "junit": {
            "description": "Files of test results, in the form that JUnit made usual: paths or "
            "patterns.",
            **paths,
        },
        "coverage": {
            "description": "Files that say which lines the tests ran: Cobertura's XML, or LCOV.",
            **paths,
        },
        "summary": {
            "description": "A file of Markdown, shown with the step.",
            "type": TEXT_TYPES,
            "minLength": 1,
            "pattern": "^[^*?[]*[^*?[/]$",
        },
    }
    return {
        "description": "Files in which the step's tools report: taken also when it fails or takes "
        "too long, and among its artifacts. What is missing or can't be read is a warning.",
        **object_of(parts),
        "minProperties": 1,
    }
