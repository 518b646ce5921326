"""Who may do what."""

from __future__ import annotations

import itertools

import pytest

from coordinator.domain.errors import Forbidden
from coordinator.domain.people.permissions import RIGHTS, Principal, PrincipalKind, Right
from coordinator.domain.people.tokens import Role

GRANTED = {
    Role.VIEWER: "read",
    Role.DEVELOPER: "read build",
    Role.MAINTAINER: "read build manage register",
    Role.ADMIN: "read build manage register administer",
    Role.AGENT: "run",
}


@pytest.mark.parametrize(("role", "right"), list(itertools.product(Role, Right)))
def test_a_role_has_its_rights_and_no_other(role: Role, right: Right) -> None:
    somebody = Principal(
        kind=PrincipalKind.PERSON, name="x", token_id="t", account_id=None, rights=RIGHTS[role]
    )
    if right.value in GRANTED[role].split():
        somebody.require(right)
        return
    with pytest.raises(Forbidden, match=f"no right to {right.value}"):
        somebody.require(right)


def test_who_belongs_to_an_account_sees_no_other() -> None:
    def of(account: str | None) -> Principal:
        return Principal(
            kind=PrincipalKind.PERSON,
            name="x",
            token_id="t",
            account_id=account,
            rights=frozenset(),
        )

    assert of("acme").sees("acme")
    assert not of("acme").sees("other")
    assert of(None).sees("acme")


def test_a_hand_out_belongs_to_an_agent_or_to_a_token() -> None:
    agent = Principal(
        kind=PrincipalKind.AGENT,
        name="x",
        token_id="t",
        account_id=None,
        rights=frozenset(),
        agent_id="a",
    )
    assert agent.holder == "agent:a"
    person = Principal(
        kind=PrincipalKind.PERSON, name="x", token_id="t", account_id=None, rights=frozenset()
    )
    assert person.holder == "token:t"
