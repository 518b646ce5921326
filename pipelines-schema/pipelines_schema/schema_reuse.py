"""The part of the workflow's JSON Schema that describes what steps take from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines_schema import limits
from pipelines_schema.layers import TWINS
from pipelines_schema.read_defaults import BEFORE, DEFAULTS
from pipelines_schema.read_includes import BROUGHT
from pipelines_schema.read_templates import NOT_REPLACED_IN, PARAMS, TEMPLATE
from pipelines_schema.schema_gate import NOTHING_BESIDE_GATE
from pipelines_schema.schema_shapes import PARAM_NAME, PARAM_VALUE, TEXT_TYPES, object_of
from pipelines_schema.schema_step import NOTHING_UNFIT, TWINS_APART

_WITH = {"type": "string", "pattern": r"\$\{\{\s*with\."}
_CONSTRAINTS = ("type", "enum", "const")


def reuse_definitions(definitions: Mapping[str, Any]) -> dict[str, Any]:
    """`defaults` and `templates`; `definitions` are those of a step and what it refers to."""
    keys = definitions["step"]["properties"]
    return {
        "include": _include(),
        "included": _included(),
        "defaults": _defaults(keys),
        "templates": _templates(),
        "template": _template(keys, definitions),
        "templateParam": _param(),
    }


def image_needs() -> dict[str, Any]:
    """A step of a workflow without a default image has its own, builds one or uses a template."""
    image = [{"required": [key]} for key in TWINS[0]]
    own = [*image, *({"required": [key]} for key in ("build", "approve", "use"))]
    with_default = {"required": ["defaults"], "properties": {"defaults": {"anyOf": image}}}
    return {
        "if": {"not": {"anyOf": [with_default, {"required": ["include"]}]}},
        "then": {"properties": {"steps": {"items": {"anyOf": own}}}},
    }


def _include() -> dict[str, Any]:
    path = {"type": TEXT_TYPES, "minLength": 1, "maxLength": limits.MAX_PATH_BYTES}
    word = {
        "type": TEXT_TYPES,
        "minLength": 1,
        "maxLength": limits.MAX_BRANCH_PATTERN_CHARACTERS,
    }
    keys = {
        "project": {"description": "Another project of the account, by its slug.", **word},
        "ref": {
            "description": "A tag, branch or commit of that project; its default branch if left "
            "out. The build records the commit that it was.",
            **word,
        },
        "file": {"description": "Path in that project's repository.", **path},
    }
    item = {
        "anyOf": [
            {**object_of(keys, ["file"]), "dependentRequired": {"ref": ["project"]}},
            path,
        ]
    }
    listed = {"type": "array", "minItems": 1, "maxItems": limits.MAX_INCLUDES, "items": item}
    return {"anyOf": [listed, *item["anyOf"]]}


def _included() -> dict[str, Any]:
    return {
        "description": "A file that is included.",
        **object_of({key: {"$ref": f"#/$defs/{key}"} for key in BROUGHT}),
        "patternProperties": {f"^{limits.EXTENSION_PREFIX}": {}},
    }


def _defaults(keys: Mapping[str, Any]) -> dict[str, Any]:
    line = {"type": TEXT_TYPES, "minLength": 1}
    before = {
        "description": "Lines that run before each script, in the same shell.",
        "anyOf": [
            {"type": "array", "minItems": 1, "maxItems": limits.MAX_PATHS, "items": line},
            line,
        ],
    }
    own = {key: keys[key] for key in DEFAULTS.known if key in keys}
    return {**object_of({**own, BEFORE: before}), "minProperties": 1, "allOf": TWINS_APART}


def _templates() -> dict[str, Any]:
    return {
        "type": "object",
        "propertyNames": {"minLength": 1, "maxLength": limits.MAX_NAME_CHARACTERS},
        "additionalProperties": {"$ref": "#/$defs/template"},
    }


def _template(keys: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    params = {
        "description": "Parameters by name, whose values `${{ with.name }}` stands for in the "
        "template's keys but `run` and `when`; scripts find them as `PUSHROD_WITH_<NAME>`.",
        "type": "object",
        "maxProperties": limits.MAX_PARAMS,
        "propertyNames": PARAM_NAME,
        "additionalProperties": {"$ref": "#/$defs/templateParam"},
    }
    own = {
        key: keys[key] if key in NOT_REPLACED_IN else _or_param(keys[key], definitions)
        for key in TEMPLATE.known
        if key != PARAMS
    }
    return {
        **object_of({PARAMS: params, **own}),
        "minProperties": 1,
        "allOf": [
            *TWINS_APART,
            {"if": {"required": ["build"]}, "then": NOTHING_UNFIT},
            NOTHING_BESIDE_GATE,
        ],
        "dependentRequired": {"with": ["use"]},
    }


def _param() -> dict[str, Any]:
    default = {
        "description": "Its value where a step gives none; without one, a step must.",
        **PARAM_VALUE,
    }
    return {"anyOf": [object_of({"default": default}), {"type": "null"}]}


def _or_param(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """The same, with `${{ with.… }}` in the place of any value."""
    if "$ref" in schema:
        referred = definitions.get(schema["$ref"].rpartition("/")[2])
        if referred is None:  # an `env`, whose values are any text
            return dict(schema)
        return _or_param({**referred, **_without(schema, "$ref")}, definitions)
    described = {key: schema[key] for key in ("description",) if key in schema}
    if "anyOf" in schema:
        return {**described, "anyOf": [_or_param(one, definitions) for one in schema["anyOf"]]}
    widened = _without(schema, "description")
    for key in ("additionalProperties", "items"):
        if isinstance(widened.get(key), Mapping):
            widened[key] = _or_param(widened[key], definitions)
    if "properties" in widened:
        widened["properties"] = {
            name: _or_param(one, definitions) for name, one in widened["properties"].items()
        }
    is_whole = schema.get("type") in ("object", "array")
    is_text = schema.get("type") == TEXT_TYPES and "pattern" not in schema
    if is_whole or is_text or not any(key in schema for key in _CONSTRAINTS):
        return {**described, **widened}
    return {**described, "anyOf": [widened, _WITH]}


def _without(schema: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name != key}
