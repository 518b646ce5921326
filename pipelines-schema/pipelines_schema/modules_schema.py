"""The JSON Schema of the file of modules, for editors: `python -m` this module writes it.

It describes shapes: what workflows and steps there are, only the parser can know.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipelines_schema import limits

FILE_NAME = "modules.schema.json"

_TEXT = {"type": ["string", "number", "boolean"], "minLength": 1}
_NAMES = {"pattern": f"^{limits.MODULE_NAME}$", "maxLength": limits.MAX_NAME_CHARACTERS}


def modules_schema() -> dict[str, Any]:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "pushrod modules",
        "description": "The modules of a repository: `.pushrod/modules.yml`.",
        "type": "object",
        "properties": {
            "modules": {
                "description": "What can be built by name: each module's name → what it is.",
                "type": "object",
                "minProperties": 1,
                "maxProperties": limits.MAX_MODULES,
                "propertyNames": _NAMES,
                "additionalProperties": {"$ref": "#/$defs/module"},
            }
        },
        "required": ["modules"],
        "additionalProperties": False,
        "$defs": {"module": _module(), "target": _target()},
    }


def rendered() -> str:
    """The text of the published file."""
    return json.dumps(modules_schema(), indent=2, ensure_ascii=False) + "\n"


def _module() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "path": {
                "description": "The module's folder, relative to the repository's root; `.` is "
                "all of it. Scripts find it as `PUSHROD_MODULE_PATH`.",
                **_TEXT,
            },
            "targets": {
                "description": "What can be built of it: each target's name → a workflow, or one "
                "step of it with what that depends on. `default` is the one that is built where "
                "none is named. Left out: what the folder's files tell, a `docker_image`, a "
                "`python_wheel` or a `web_app`.",
                "type": "object",
                "minProperties": 1,
                "maxProperties": limits.MAX_TARGETS,
                "propertyNames": _NAMES,
                "additionalProperties": {"$ref": "#/$defs/target"},
            },
        },
        "required": ["path"],
        "additionalProperties": False,
    }


def _target() -> dict[str, Any]:
    workflow = {"description": "A workflow's name, or its file.", **_TEXT}
    step = {
        "description": "A step of it: that and all it depends on are built. Left out: all steps.",
        **_TEXT,
        "maxLength": limits.MAX_NAME_CHARACTERS,
    }
    return {
        "anyOf": [
            workflow,
            {
                "type": "object",
                "properties": {"workflow": workflow, "step": step},
                "required": ["workflow"],
                "additionalProperties": False,
            },
        ]
    }


if __name__ == "__main__":
    published = Path(__file__).parent.parent / FILE_NAME
    published.write_text(rendered(), encoding="utf-8")
