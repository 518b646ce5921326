"""The `approve` of a step, with every mistake noted."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines_schema.fields import Field, Reading, Vocabulary
from pipelines_schema.gates import Approver, Gate
from pipelines_schema.limits import (
    DEFAULT_EXPIRY_SECONDS,
    MAX_EXPIRY_SECONDS,
    MAX_GATE_MESSAGE_CHARACTERS,
)
from pipelines_schema.problem import shown
from pipelines_schema.read_endings import read_duration
from pipelines_schema.read_params import read_params
from pipelines_schema.step_keys import STEP
from pipelines_schema.step_outputs import output_variable
from pipelines_schema.suggestions import closest

APPROVE = "approve"
_BESIDE = ("name", APPROVE, "use", "with", "dependsOn", "when", "runOn", "allowFailure")
NOT_BESIDE_APPROVE = tuple(key for key in STEP.known if key not in _BESIDE)
_GATE = Vocabulary(
    where="`approve`",
    known=("message", "by", "expires", "params"),
    synonyms={
        "text": "write `message`",
        "title": "write `message`",
        "role": "write `by`",
        "approvers": "write `by`, a role",
        "timeout": "write `expires`",
        "inputs": "write `params`",
        "parameters": "write `params`",
    },
)
_HINT = "write `{message: …, by: maintainer}`, or `{}` for a maintainer's approval"
_ROLES = ", ".join(f"`{role.value}`" for role in Approver)
_BY_HINT = f"write who may answer: {_ROLES}"


def read_gate(reading: Reading, fields: Mapping[str, Field], step: str | None) -> Gate | None:
    entry = fields.get(APPROVE)
    if entry is None:
        return None
    for key in NOT_BESIDE_APPROVE:
        if key in fields:
            reading.add(
                fields[key].key.place,
                f"`{key}` has no place beside `approve`, which runs nothing: move it into a step "
                "that depends on this one",
            )
    node = reading.mapping(entry, _HINT)
    if node is None:
        return None
    parts = reading.fields(node, _GATE)
    prefix = output_variable(step or "step", "")
    return Gate(
        message=_message(reading, parts.get("message")),
        by=_by(reading, parts.get("by")),
        expires_seconds=_expires(reading, parts.get("expires")),
        params=read_params(reading, parts["params"], prefix) if "params" in parts else (),
    )


def _message(reading: Reading, entry: Field | None) -> str | None:
    if entry is None:
        return None
    text = reading.text(entry, "write what is asked, or remove the key")
    if text is None or reading.refuse_expressions(entry.value):
        return None
    if not text.strip() or len(text) > MAX_GATE_MESSAGE_CHARACTERS:
        reading.add(
            entry.place,
            f"`message` must have 1 to {MAX_GATE_MESSAGE_CHARACTERS:,} characters: write what is "
            "asked, or remove the key",
        )
    return text


def _by(reading: Reading, entry: Field | None) -> Approver:
    role = None if entry is None else reading.text(entry, _BY_HINT)
    if entry is None or role is None:
        return Approver.MAINTAINER
    if role not in list(Approver):
        near = closest(role, list(Approver))
        meant = f"did you mean `{near}`?" if near else _BY_HINT
        reading.add(entry.place, f"`by` names the unknown role {shown(role)}: {meant}")
        return Approver.MAINTAINER
    return Approver(role)


def _expires(reading: Reading, entry: Field | None) -> int:
    bounds = f"must be from 1 second to {MAX_EXPIRY_SECONDS // 86400} days"
    seconds = read_duration(reading, entry, 1, MAX_EXPIRY_SECONDS, bounds)
    return DEFAULT_EXPIRY_SECONDS if seconds is None else seconds
