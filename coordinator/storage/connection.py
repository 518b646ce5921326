"""The type of what a transaction's work sees of its database.

SQLAlchemy's own, by which annotations are checked; loading it would load the ORM too, 6 MB of an
idle coordinator, and nothing here ever makes one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection
else:
    AsyncConnection = Any

__all__ = ["AsyncConnection"]
