"""The OpenAPI 3.1 document of all operations, from the declarations that the handlers run by."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema

from coordinator.api.http.fields import MAX_INTEGER
from coordinator.api.http.operations import JSON, Operation

REFERENCE = "#/components/schemas/{model}"
_PARAMETER = re.compile(r"\{(\w+)(?::(?:[^{}]|\{[^{}]*\})*)?\}")
_STORABLE = {"pattern": "^[^\\x00]*$"}
_BOUNDS = {"minimum": -MAX_INTEGER, "maximum": MAX_INTEGER}
"""What the middleware refuses because no database can hold it."""
_Key = tuple[str, JsonSchemaMode]


def openapi_document(
    operations: Sequence[Operation], *, server: str, version: str
) -> dict[str, Any]:
    """As JSON, with every model once under `components`."""
    schemas, definitions = _schemas(operations)
    paths: dict[str, dict[str, Any]] = {}
    for one in operations:
        path = _PARAMETER.sub(r"{\1}", one.path)
        paths.setdefault(path, {})[one.method.lower()] = _operation(one, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pushrod",
            "version": version,
            "description": "Every interface of this coordinator.",
        },
        "servers": [{"url": server}],
        "tags": [{"name": tag} for tag in dict.fromkeys(one.tag for one in operations)],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": definitions,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


class _Schemas(GenerateJsonSchema):
    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """In an answer an absent value is left out, never null."""
        if self.mode == "serialization":
            return self.generate_inner(schema["schema"])
        return super().nullable_schema(schema)

    def str_schema(self, schema: core_schema.StringSchema) -> JsonSchemaValue:
        shown = super().str_schema(schema)
        return shown if "pattern" in shown or self.mode != "validation" else shown | _STORABLE

    def int_schema(self, schema: core_schema.IntSchema) -> JsonSchemaValue:
        shown = super().int_schema(schema)
        return shown if self.mode != "validation" else _BOUNDS | shown

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        shown = super().dict_schema(schema)
        return shown if self.mode != "validation" else shown | {"propertyNames": _STORABLE}

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """What may be absent may be null in a body, which means the same."""
        shown = super().default_schema(schema)
        if shown.get("default", ...) is None:
            del shown["default"]
        kinds = shown.get("anyOf", [])
        if self.mode != "validation" or {"type": "null"} in kinds:
            return shown
        default = {"default": shown.pop("default")} if "default" in shown else {}
        return {"anyOf": [*(kinds or [shown]), {"type": "null"}], **default}


def _schemas(
    operations: Iterable[Operation],
) -> tuple[Mapping[_Key, dict[str, Any]], Mapping[str, Any]]:
    """The schema of each type by how it is used, and the definitions that those refer to."""
    wanted: dict[_Key, tuple[_Key, JsonSchemaMode, Any]] = {}
    for one in operations:
        for type_, mode in _types(one):
            key = _key(type_, mode)
            wanted[key] = (key, mode, TypeAdapter(type_).core_schema)
    generator = _Schemas(by_alias=True, ref_template=REFERENCE)
    schemas, definitions = generator.generate_definitions(list(wanted.values()))
    return {key[0]: value for key, value in schemas.items()}, dict(definitions.items())


def _types(one: Operation) -> Iterable[tuple[Any, JsonSchemaMode]]:
    if one.body is not None:
        yield one.body, "validation"
    if one.returns is not None:
        yield one.returns, "serialization"
    yield one.error_model, "serialization"


def _key(type_: Any, mode: JsonSchemaMode) -> _Key:
    name = f"{type_.__module__}.{type_.__qualname__}" if isinstance(type_, type) else repr(type_)
    return name, mode


def _operation(one: Operation, schemas: Mapping[_Key, dict[str, Any]]) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "operationId": one.id,
        "tags": [one.tag],
        "summary": one.summary,
        "parameters": [
            *_path_parameters(one),
            *_query_parameters(one.query),
            *_headers(one.headers, required=True),
            *_headers(one.optional_headers, required=False),
        ],
        "responses": _responses(one, schemas),
    }
    if one.description:
        shown["description"] = one.description
    if not one.secured:
        shown["security"] = []
    if one.body is not None:
        content = {JSON: {"schema": schemas[_key(one.body, "validation")]}}
        shown["requestBody"] = {"required": not one.body_optional, "content": content}
    elif one.accepts is not None:
        shown["requestBody"] = {"required": True, "content": {one.accepts: {"schema": {}}}}
    return shown


def _path_parameters(one: Operation) -> list[dict[str, Any]]:
    return [
        {
            "in": "path",
            "name": name,
            "required": True,
            "schema": {"type": "string", **one.path_rules.get(name, {})},
        }
        for name in _PARAMETER.findall(one.path)
    ]


def _headers(headers: Mapping[str, Mapping[str, Any]], *, required: bool) -> list[dict[str, Any]]:
    return [
        {"in": "header", "name": name, "required": required, "schema": dict(schema)}
        for name, schema in headers.items()
    ]


def _query_parameters(query: type[BaseModel] | None) -> list[dict[str, Any]]:
    if query is None:
        return []
    schema = query.model_json_schema(by_alias=True, schema_generator=_Schemas)
    required, definitions = schema.get("required", []), schema.get("$defs", {})
    return [
        {
            "in": "query",
            "name": name,
            "required": name in required,
            "schema": _without_null({key: value[key] for key in value if key != "title"}),
        }
        for name, value in _inlined(schema.get("properties", {}), definitions).items()
    ]


def _inlined(value: Any, definitions: Mapping[str, Any]) -> Any:
    """What a parameter refers to stands in it: a parameter has no definitions of its own."""
    if isinstance(value, list):
        return [_inlined(one, definitions) for one in value]
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("$ref"), str):
        rest = {key: value[key] for key in value if key != "$ref"}
        return {**definitions[value["$ref"].rpartition("/")[2]], **rest}
    return {key: _inlined(one, definitions) for key, one in value.items()}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """An absent parameter is left out: a query has no null."""
    kinds = [kind for kind in schema.get("anyOf", []) if kind != {"type": "null"}]
    if len(kinds) != 1:
        return schema
    return {**kinds[0], **{key: schema[key] for key in schema if key != "anyOf"}}


def _responses(one: Operation, schemas: Mapping[_Key, dict[str, Any]]) -> dict[str, Any]:
    written: dict[str, Any] = {}
    if one.returns is not None:
        answer = schemas[_key(one.returns, "serialization")]
        written = {"content": {one.produces: {"schema": answer}}}
    elif one.produces != JSON:
        written = {"content": {one.produces: {"schema": {}}}}
    if one.streams is not None:
        written["content"] |= {one.streams: {"schema": {}}}
    error = {JSON: {"schema": schemas[_key(one.error_model, "serialization")]}}
    good = {one.status: "Success", **one.also}
    return {
        **{str(status): {"description": text, **written} for status, text in good.items()},
        **{
            str(status): {"description": text, "content": error}
            for status, text in sorted({**_usual_errors(one), **one.errors}.items())
        },
    }


def _usual_errors(one: Operation) -> dict[int, str]:
    """Those that follow from the declaration."""
    errors: dict[int, str] = {}
    takes_body = one.body is not None or one.accepts is not None
    if one.query is not None or takes_body:
        errors[400] = "The request breaks a rule: the message says what to write instead"
    if one.secured:
        errors[401] = "No token, or one that is not known, has expired or was revoked"
        errors[403] = "The token's role does not allow this"
    if takes_body:
        errors[413] = "The body is too large"
    errors[500] = "A fault of the coordinator's own: its log says more"
    return errors
