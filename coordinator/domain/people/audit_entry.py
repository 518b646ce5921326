"""An entry of the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    id: str
    project_id: str | None
    action: str
    details: Mapping[str, Any] = field(default_factory=dict)
    created_at: datetime
