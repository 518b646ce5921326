"""Who may do what. Another account's thing is not forbidden but not there (404)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from coordinator.domain.errors import Forbidden
from coordinator.domain.people.tokens import Role


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


def _least_role(right: Right) -> Role:
    return next(role for role, rights in RIGHTS.items() if right in rights)  # least first


class BuildPermission(StrEnum):
    """What specification 001 calls the rights to builds."""

    CREATE = "build:create"
    """Also to start one and to retry one."""
    LIST = "build:list"
    READ = "build:read"
    CANCEL = "build:cancel"
    DELETE = "build:delete"


NEEDED_FOR: Mapping[BuildPermission, Right] = {
    BuildPermission.CREATE: Right.BUILD,
    BuildPermission.LIST: Right.READ,
    BuildPermission.READ: Right.READ,
    BuildPermission.CANCEL: Right.BUILD,
    BuildPermission.DELETE: Right.MANAGE,
}

NOWHERE = ""
"""The account of who has none, or has not chosen one yet: no account has this id."""


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
    user_id: str | None = None
    """Of a person who logged in with a password."""
    person_id: str | None = None
    """Whoever has several tokens is one person: the user whose token it is, or the token with
    which a session was opened. None: the token stands for itself."""
    choices: Mapping[str, Role] = field(default_factory=dict)
    """Account id → role, of a user of several accounts who has not chosen one yet."""

    @property
    def holder(self) -> str:
        """How a hand-out records whose it is."""
        if self.agent_id:
            return f"agent:{self.agent_id}"
        return f"token:{self.person_id or self.token_id}"

    def holds(self, step_id: str, epoch: int, holder: str) -> bool:
        """Whether it may report on this hand-out: as its holder, or by the hand-out's own token."""
        if self.kind is PrincipalKind.STEP:
            return (self.step_id, self.epoch) == (step_id, epoch)
        return self.holder == holder

    def sees(self, account_id: str) -> bool:
        return self.account_id is None or self.account_id == account_id

    def require(self, right: Right) -> None:
        """Raises Forbidden."""
        if right not in self.rights:
            role = _least_role(right)
            raise Forbidden(
                f"this token has no right to {right.value}: the role {role.value} has it"
            )

    def permissions(self) -> list[BuildPermission]:
        return [one for one, right in NEEDED_FOR.items() if right in self.rights]

    def require_permission(self, permission: BuildPermission) -> None:
        """Raises Forbidden."""
        if NEEDED_FOR[permission] not in self.rights:
            role = _least_role(NEEDED_FOR[permission])
            raise Forbidden(
                f"the permission {permission.value} is missing: the role {role.value} has it"
            )

    def within(self, account_id: str) -> Principal:
        """The same principal, acting in one account alone. Raises Forbidden for another's."""
        if account_id in self.choices:
            rights = RIGHTS[self.choices[account_id]]
            return replace(self, account_id=account_id, rights=rights, choices={})
        if self.choices or not self.sees(account_id):
            raise Forbidden("this is not a tenant of yours: X-Tenant-ID names another account")
        return replace(self, account_id=account_id)
