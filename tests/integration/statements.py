"""The statements that this process sends to its databases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa


@contextmanager
def collected() -> Iterator[list[tuple[str, Any]]]:
    """Those sent meanwhile, by whatever engine: text and parameters."""
    sent: list[tuple[str, Any]] = []

    def collect(
        _connection: object, _cursor: object, statement: str, parameters: Any, *_: object
    ) -> None:
        sent.append((statement, parameters))

    sa.event.listen(sa.Engine, "before_cursor_execute", collect)
    try:
        yield sent
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", collect)
