"""The workflow reference in Markdown, from the JSON Schema; `python -m` renews the guide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipelines_schema.schema import workflow_schema

BEGIN = "<!-- reference -->\n"
END = "<!-- end of reference -->\n"
GUIDE = Path(__file__).parents[2] / "docs" / "workflow.md"


def reference() -> str:
    """One table for the workflow's keys, one for a step's, one for each event of `on`."""
    schema = workflow_schema()
    definitions = schema["$defs"]
    parts = [("A workflow", schema), ("A step", definitions["step"]), ("`on`", _events(schema))]
    parts.append(("An item of `include`", definitions["include"]))
    parts.append(("`defaults`", definitions["defaults"]))
    parts.append(("A template", definitions["template"]))
    parts.append(("A template's parameter", definitions["templateParam"]))
    parts += [(f"`on.{event}`", definitions[event]) for event in ("push", "pullRequest", "manual")]
    parts.append(("An item of `on.schedule`", definitions["schedule"]["items"]))
    parts.append(("An item of `on.build`", definitions["buildTrigger"]["items"]))
    parts.append(("`concurrency`", schema["properties"]["concurrency"]))
    parts.append(("An item of `notify`", schema["properties"]["notify"]["items"]))
    parts.append(("`build` of a step", definitions["build"]))
    parts.append(("`resources` of a step", definitions["resources"]))
    parts.append(("A parameter of `on.manual`", definitions["param"]))
    return "\n".join(_table(title, _object_of(part), definitions) for title, part in parts)


def with_reference(guide: str) -> str:
    """The guide's text with the reference between its markers."""
    before, _, rest = guide.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{reference()}\n{END}{after}"


def _events(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    on: Mapping[str, Any] = schema["properties"]["on"]
    return _object_of({"anyOf": on["oneOf"]})


def _object_of(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema itself, or the first of its alternatives that has keys."""
    if "properties" in schema:
        return schema
    return next(one for one in schema["anyOf"] if "properties" in one)


def _table(title: str, schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    rows = [
        f"| `{key}` | {', '.join(dict.fromkeys(_types(value, definitions)))} | "
        f"{_description(value, definitions).replace('|', chr(92) + '|')} |"
        for key, value in schema["properties"].items()
    ]
    return "\n".join([f"### {title}\n", "| key | is | means |", "|---|---|---|", *rows, ""])


def _description(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    if "description" in schema:
        return str(schema["description"])
    return _description(_referred(schema, definitions), definitions) if "$ref" in schema else ""


def _referred(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    referred: Mapping[str, Any] = definitions[schema["$ref"].rpartition("/")[2]]
    return referred


def _types(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterator[str]:
    """What may be written there, in the words of people."""
    if "$ref" in schema:
        yield from _types(_referred(schema, definitions), definitions)
    elif "enum" in schema or "const" in schema:
        for word in schema.get("enum", [schema.get("const")]):
            yield f"`{word}`"
    elif "anyOf" in schema or "oneOf" in schema:
        for one in schema.get("anyOf", schema.get("oneOf")):
            yield from _types(one, definitions)
    elif isinstance(schema.get("type"), list):
        yield "text"
    elif "type" in schema:
        yield _WORDS[schema["type"]]


_WORDS = {
    "object": "mapping",
    "array": "list",
    "string": "text",
    "integer": "number",
    "number": "number",
    "boolean": "`true` or `false`",
    "null": "nothing",
}


if __name__ == "__main__":
    GUIDE.write_text(with_reference(GUIDE.read_text(encoding="utf-8")), encoding="utf-8")
