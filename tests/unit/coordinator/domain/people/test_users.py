"""Emails, passwords, and what a user may do in which account."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from coordinator.domain.errors import Forbidden, Invalid
from coordinator.domain.people.permissions import (
    NEEDED_FOR,
    NOWHERE,
    RIGHTS,
    BuildPermission,
    Right,
)
from coordinator.domain.people.tokens import Role
from coordinator.domain.people.users import User, checked_email, checked_password, principal_for

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def user(*, administrator: bool = False, **memberships: Role) -> User:
    return User(
        id="u",
        email="ada@example.org",
        administrator=administrator,
        disabled=False,
        generation=1,
        created_at=NOW,
        updated_at=NOW,
        memberships=memberships,
    )


@pytest.mark.parametrize("text", ["Ada@Example.ORG", "  ada@example.org\n", "ada@example.org"])
def test_an_email_has_one_spelling(text: str) -> None:
    assert checked_email(text) == "ada@example.org"


@pytest.mark.parametrize(
    "text", ["", "ada", "@", "ada@", "@example.org", "a b@example.org", "a\0@b", "a@" + "b" * 300]
)
def test_what_is_no_email_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="email"):
        checked_email(text)


@pytest.mark.parametrize("text", ["", "1234567", "x" * 1001])
def test_a_password_of_a_wrong_length_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="8 to 1000"):
        checked_password(text)


def test_a_password_typed_as_other_characters_of_the_same_look_is_the_same() -> None:
    assert checked_password("Ａ\u0308bcdefgh") == checked_password("Äbcdefgh")


def test_a_member_of_one_account_acts_there() -> None:
    principal = principal_for(user(acme=Role.DEVELOPER))
    assert (principal.account_id, principal.rights) == ("acme", RIGHTS[Role.DEVELOPER])
    assert principal.within("acme") == principal
    with pytest.raises(Forbidden):
        principal.within("other")


def test_a_member_of_several_accounts_may_nothing_until_one_is_chosen() -> None:
    principal = principal_for(user(acme=Role.MAINTAINER, other=Role.VIEWER))
    assert (principal.account_id, principal.rights) == (NOWHERE, frozenset())
    assert not principal.sees("acme")
    there = principal.within("other")
    assert (there.account_id, there.rights) == ("other", RIGHTS[Role.VIEWER])
    assert principal.within("acme").rights == RIGHTS[Role.MAINTAINER]
    with pytest.raises(Forbidden):
        principal.within("third")
    with pytest.raises(Forbidden):
        there.within("acme")


def test_a_member_of_nothing_may_nothing() -> None:
    principal = principal_for(user())
    assert (principal.account_id, principal.rights) == (NOWHERE, frozenset())
    with pytest.raises(Forbidden):
        principal.within("acme")


def test_an_administrator_is_one_in_every_account() -> None:
    principal = principal_for(user(administrator=True, acme=Role.VIEWER))
    assert principal.account_id is None
    assert Right.ADMINISTER in principal.rights
    assert principal.within("other").account_id == "other"


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        (Role.VIEWER, "list read"),
        (Role.DEVELOPER, "create list read cancel"),
        (Role.MAINTAINER, "create list read cancel delete"),
        (Role.ADMIN, "create list read cancel delete"),
        (Role.AGENT, ""),
    ],
)
def test_each_role_has_its_permissions_to_builds(role: Role, allowed: str) -> None:
    given = {one.value for one in BuildPermission if NEEDED_FOR[one] in RIGHTS[role]}
    assert given == {f"build:{name}" for name in allowed.split()}
