"""People who log in with email and password, and what they may do in which account. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from coordinator.domain.errors import Invalid
from coordinator.domain.people.permissions import NOWHERE, RIGHTS, Principal, PrincipalKind
from coordinator.domain.people.tokens import Role

MIN_PASSWORD_CHARACTERS = 8
MAX_PASSWORD_CHARACTERS = 1000
MAX_EMAIL_CHARACTERS = 254
"""RFC 5321, 4.5.3.1.3: what fits between the angle brackets of a mail's path."""
_EMAIL = re.compile(r"[^\s@<>\x00-\x1f\x7f]{1,64}@[^\s@<>\x00-\x1f\x7f]{1,189}")
PERSONS_ROLES = (Role.VIEWER, Role.DEVELOPER, Role.MAINTAINER)
"""What a user can be in an account; the role admin is for all accounts at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    id: str
    email: str
    administrator: bool
    """The role admin: every account, memberships or not."""
    disabled: bool
    generation: int
    """+1 with each change that ends the logins made before it."""
    created_at: datetime
    updated_at: datetime
    memberships: Mapping[str, Role]
    """Account id → role."""


def checked_email(text: str) -> str:
    """In the one spelling that is stored and compared. Raises Invalid."""
    email = unicodedata.normalize("NFC", text.strip()).casefold()
    if len(email) > MAX_EMAIL_CHARACTERS or not _EMAIL.fullmatch(email):
        raise Invalid(
            "this is no email address: write one like ada@example.org",
            details=[{"path": "email", "message": "not an email address"}],
        )
    return email


def normal_password(text: str) -> str:
    """The same characters typed on another keyboard are the same password (NIST SP 800-63B)."""
    return unicodedata.normalize("NFKC", text)


def checked_password(text: str) -> str:
    """Raises Invalid."""
    password = normal_password(text)
    if not MIN_PASSWORD_CHARACTERS <= len(password) <= MAX_PASSWORD_CHARACTERS:
        raise Invalid(
            f"a password has {MIN_PASSWORD_CHARACTERS} to {MAX_PASSWORD_CHARACTERS} characters",
            details=[
                {
                    "path": "password",
                    "message": f"{MIN_PASSWORD_CHARACTERS} to {MAX_PASSWORD_CHARACTERS} characters",
                }
            ],
        )
    return password


def principal_for(user: User) -> Principal:
    """Of several accounts the request must choose one, and until then may do nothing."""
    account_id: str | None = NOWHERE
    rights = RIGHTS[Role.ADMIN] if user.administrator else frozenset()
    if user.administrator:
        account_id = None
    elif len(user.memberships) == 1:
        [(account_id, role)] = user.memberships.items()
        rights = RIGHTS[role]
    several = not user.administrator and len(user.memberships) > 1
    return Principal(
        kind=PrincipalKind.PERSON,
        name=user.email,
        token_id=user.id,
        account_id=account_id,
        rights=rights,
        user_id=user.id,
        person_id=user.id,
        choices=dict(user.memberships) if several else {},
    )
