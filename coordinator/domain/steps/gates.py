"""Steps at which a build waits for somebody's answer: who may give it."""

from __future__ import annotations

from collections.abc import Mapping

from coordinator.domain.people.permissions import Right
from pipelines_schema import Approver, Gate

RIGHT_OF: Mapping[Approver, Right] = {
    Approver.DEVELOPER: Right.BUILD,
    Approver.MAINTAINER: Right.MANAGE,
    Approver.ADMIN: Right.ADMINISTER,
}
FOR_AN_APPROVAL = "waiting for approval"
"""Why a build has not gone on, one of whose gates waits."""


def approver_of(gate: Gate, *, of_fork: bool) -> Approver:
    """The least role that may answer: where outsiders wrote the workflow, which could name any, at
    least a maintainer's."""
    if of_fork and gate.by is Approver.DEVELOPER:
        return Approver.MAINTAINER
    return gate.by


def approval_by(role: Approver) -> str:
    return f"an approval by {'an' if role is Approver.ADMIN else 'a'} {role.value}"
