"""The part of the workflow's JSON Schema that describes `cacheDirs`."""

from __future__ import annotations

from typing import Any

from pipelines_schema import limits
from pipelines_schema.cache_folders import CacheScope
from pipelines_schema.schema_shapes import TEXT_TYPES, object_of


def cache_dirs() -> dict[str, Any]:
    path = {"type": TEXT_TYPES, "minLength": 1}
    key = {
        "description": "Files of the commit: one cache for each content of them; a new one begins "
        "as a copy of the newest.",
        "anyOf": [
            {"type": "array", "minItems": 1, "maxItems": limits.MAX_PATHS, "items": path},
            path,
        ],
    }
    scope = {
        "description": "Whose the cache is: this `step`'s, unless it says all steps' of the "
        "`project` that name the path, or the step's on this `branch` alone.",
        "enum": [scope.value for scope in CacheScope],
    }
    folder = {"path": {"description": "The folder.", **path}, "key": key, "scope": scope}
    return {
        "description": "Folders kept from build to build: paths relative to the workspace, "
        "absolute ones, or `~/…`. A cache belongs to this project and step, unless "
        "`{path, key, scope}` says otherwise.",
        "type": "array",
        "maxItems": limits.MAX_PATHS,
        "items": {"anyOf": [path, object_of(folder, ["path"])]},
    }
