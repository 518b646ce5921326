"""Who may do what. Another account's thing is not forbidden but not there (404)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from coordinator.domain.errors import Forbidden
from coordinator.domain.model import Role


class Right(StrEnum):
    READ = "read"
    BUILD = "build"
    """Push, create, cancel and retry builds, claim steps as a worker of one's own."""
    MANAGE = "manage"
    """Projects, workflows, images, registration tokens."""
    ADMINISTER = "administer"
    """Accounts, people's tokens."""
    RUN = "run"
    """Poll for steps and run them."""
    REGISTER = "register"


_READ = frozenset({Right.READ})
_BUILD = _READ | {Right.BUILD}
_MANAGE = _BUILD | {Right.MANAGE, Right.REGISTER}
RIGHTS: dict[Role, frozenset[Right]] = {
    Role.VIEWER: _READ,
    Role.DEVELOPER: _BUILD,
    Role.MAINTAINER: _MANAGE,
    Role.ADMIN: _MANAGE | {Right.ADMINISTER},
    Role.AGENT: frozenset({Right.RUN}),
}


class PrincipalKind(StrEnum):
    PERSON = "person"
    REGISTRATION = "registration"
    AGENT = "agent"
    STEP = "step"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Whoever a request speaks for."""

    kind: PrincipalKind
    name: str
    token_id: str
    account_id: str | None
    """None: all accounts."""
    rights: frozenset[Right]
    agent_id: str | None = None
    step_id: str | None = None
    epoch: int | None = None

    @property
    def holder(self) -> str:
        """How a hand-out records whose it is."""
        return f"agent:{self.agent_id}" if self.agent_id else f"token:{self.token_id}"

    def sees(self, account_id: str) -> bool:
        return self.account_id is None or self.account_id == account_id

    def require(self, right: Right) -> None:
        """Raises Forbidden."""
        if right not in self.rights:
            raise Forbidden(f"this token has no right to {right.value}")
