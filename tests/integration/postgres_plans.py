"""What a PostgreSQL server does for a statement."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from coordinator.storage.postgresql import PostgresPlace, engine_of

LARGE = ("builds", "steps", "audit_log", "deliveries")
MOST_ROWS = 20
"""Of a large table, beside what is walked of an index alone."""


class Plans:
    """What the server does for a statement, run once more."""

    def __init__(self, place: PostgresPlace) -> None:
        self._engine = engine_of(place)

    def faults(self, statement: str, parameters: Any) -> list[str]:
        """Tables that are read whole, rows that are read for no page, and sorts of more."""
        return [
            fault
            for node in _nodes(self._explained(statement, parameters))
            if (fault := _fault(node))
        ]

    def _explained(self, statement: str, parameters: Any) -> dict[str, Any]:
        explain = f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {statement}"
        with self._engine.connect() as connection:
            [[[plan]]] = connection.exec_driver_sql(explain, parameters and tuple(parameters))
        whole: dict[str, Any] = plan["Plan"]
        return whole

    def walked(self, statement: str, parameters: Any) -> int:
        """The most entries that one look into an index has read."""
        return max(
            node["Actual Rows"]
            for node in _nodes(self._explained(statement, parameters))
            if node["Node Type"] == "Index Only Scan"
        )

    def rows_of(self, table: str, statement: str, parameters: Any) -> int:
        """How many it has read, in whichever way."""
        return sum(
            _read(node)
            for node in _nodes(self._explained(statement, parameters))
            if node.get("Relation Name") == table
        )

    def close(self) -> None:
        self._engine.dispose()


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for below in node.get("Plans", ()):
        yield from _nodes(below)


def _fault(node: dict[str, Any]) -> str | None:
    kind, table = node["Node Type"], node.get("Relation Name")
    read = _read(node)
    if kind == "Sort":
        [below] = node["Plans"]
        sorted_rows = below["Actual Rows"] * below["Actual Loops"]
        return f"sorts {sorted_rows} rows" if sorted_rows > MOST_ROWS else None
    if table not in LARGE or kind == "Index Only Scan":
        return None
    return f"{kind} of {read} rows of {table}" if kind == "Seq Scan" or read > MOST_ROWS else None


def _read(node: dict[str, Any]) -> int:
    each: int = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
    return each * int(node["Actual Loops"])
