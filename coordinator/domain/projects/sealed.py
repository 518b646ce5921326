"""What is kept sealed for a project or an account, as it may be shown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryLoginShown:
    """A login to a registry as it may be shown."""

    scope_id: str
    """The project's id, or the account's for a login of all its projects."""
    host: str
    username: str
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretShown:
    """A value of a secret as it may be shown."""

    scope_id: str
    """The project's id, or the account's for a secret of all its projects."""
    name: str
    pattern: str
    """Of full names of branches or tags; empty: it is for every build."""
    updated_at: datetime
