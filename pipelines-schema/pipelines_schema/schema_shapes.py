"""Shapes that several parts of the workflow's JSON Schema have."""

from __future__ import annotations

from typing import Any

from pipelines_schema import limits

TEXT_TYPES = ["string", "number", "boolean"]
"""Where text is wanted, what is written without quotes counts by its text: `3.10`, `true`."""


PARAM_NAME = {
    "pattern": f"^{limits.ENVIRONMENT_NAME}$",
    "maxLength": limits.MAX_NAME_CHARACTERS,
}
PARAM_VALUE = {"type": TEXT_TYPES, "maxLength": limits.MAX_PARAM_CHARACTERS}


def object_of(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }
    if required:
        schema["required"] = required
    return schema


def text(description: str, max_characters: int, pattern: str | None = None) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "description": description,
        "type": TEXT_TYPES,
        "minLength": 1,
        "maxLength": max_characters,
    }
    if pattern is not None:
        schema["pattern"] = pattern
    return schema


def script(description: str) -> dict[str, Any]:
    """A number is no script, but `true` is one."""
    schema = text(description, limits.MAX_SCRIPT_BYTES)
    return {**schema, "type": [kind for kind in schema["type"] if kind != "number"]}


def described(definition: str, description: str) -> dict[str, Any]:
    return {"description": description, "$ref": f"#/$defs/{definition}"}


def duration(description: str, most_seconds: int, *, least_seconds: int = 1) -> dict[str, Any]:
    return {
        "description": description,
        "anyOf": [
            {"type": "string", "pattern": f"^{limits.DURATION}$"},
            {"type": "integer", "minimum": least_seconds, "maximum": most_seconds},
        ],
    }


def secrets(description: str) -> dict[str, Any]:
    name = {
        "type": "string",
        "pattern": f"^(?!{limits.RESERVED_PREFIX}){limits.ENVIRONMENT_NAME}$",
        "maxLength": limits.MAX_NAME_CHARACTERS,
    }
    return {
        "description": description,
        "anyOf": [
            {
                "type": "array",
                "maxItems": limits.MAX_STEP_SECRETS,
                "uniqueItems": True,
                "items": name,
            },
            name,
        ],
    }
