"""The part of the workflow's JSON Schema that describes a step at which a build waits."""

from __future__ import annotations

from typing import Any

from pipelines_schema import limits
from pipelines_schema.gates import Approver
from pipelines_schema.read_gate import NOT_BESIDE_APPROVE
from pipelines_schema.schema_shapes import PARAM_NAME, duration, object_of, text

NOTHING_BESIDE_GATE = {
    "if": {"required": ["approve"]},
    "then": {"not": {"anyOf": [{"required": [key]} for key in NOT_BESIDE_APPROVE]}},
}


def gate() -> dict[str, Any]:
    keys = {
        "message": text("What is asked.", limits.MAX_GATE_MESSAGE_CHARACTERS),
        "by": {
            "description": "The role that one needs to answer; a higher one will do. `maintainer` "
            "if left out.",
            "enum": [role.value for role in Approver],
        },
        "expires": duration(
            "How long it waits for an answer before it fails: `90m`, `3d` or whole seconds, at "
            f"most {limits.MAX_EXPIRY_SECONDS // 86400} days. 7 days if left out.",
            limits.MAX_EXPIRY_SECONDS,
        ),
        "params": {
            "description": "Parameters by name, to be given with the approval; the scripts of "
            "dependants find them as `PUSHROD_OUTPUT_<STEP>_<NAME>`.",
            "type": "object",
            "maxProperties": limits.MAX_PARAMS,
            "propertyNames": PARAM_NAME,
            "additionalProperties": {"$ref": "#/$defs/param"},
        },
    }
    return {
        "description": "A gate: the build waits here for somebody's approval, and takes no agent "
        "for it. `pushrod build approve BUILD/STEP`, or the buttons on the build's page.",
        **object_of(keys),
    }
