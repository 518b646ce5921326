"""The keys of a step that the language has no place for yet, and which import writes as comments.

Once pushrod reads one of them, taking it out of this table is all that is to be done here.
"""

from __future__ import annotations

from pushrod.importing.ledger import Verdict

WAITING: frozenset[str] = frozenset()


def verdict_of(key: str) -> Verdict:
    """What becomes of a source's key that would be this one."""
    return Verdict.LEFT if key in WAITING else Verdict.CARRIED


def why_waiting(key: str) -> str:
    return f"`{key}` is not supported yet: it is kept as a comment"
