"""Tokens: whose they are, and what role they give."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class TokenKind(StrEnum):
    USER = "user"
    REGISTRATION = "registration"
    AGENT = "agent"
    SESSION = "session"


class Role(StrEnum):
    ADMIN = "admin"
    MAINTAINER = "maintainer"
    DEVELOPER = "developer"
    VIEWER = "viewer"
    AGENT = "agent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    id: str
    kind: TokenKind
    name: str
    role: Role
    account_id: str | None
    agent_id: str | None
    user_id: str | None
    """Who made it, if a user did: another of his tokens."""
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
