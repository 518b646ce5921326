"""Finds the macros of CEL, its only loops, in an expression as its parser would read it.

The library that evaluates has put other operators in their place by then. What it and this should
ever read differently is what evaluation has its limits for.
"""

from __future__ import annotations

from itertools import pairwise

from pipelines_schema.cel_tokens import cel_tokens

_MACROS = frozenset({"all", "exists", "exists_one", "existsOne", "map", "filter"})
_UNFOLDED = "@not_strictly_false"
"""What the library has made of `all` and `exists` in its list of called functions."""


def first_macro(expression: str) -> str | None:
    """The name of the first macro that is called on something, or None."""
    for (dot, name), (_, bracket) in pairwise(pairwise(cel_tokens(expression))):
        if dot[0] == "." and name[0] in _MACROS and bracket[0] == "(":
            return name[0]
    return None


def unfolds_a_macro(called: list[str]) -> bool:
    """Whether the functions that a compiled expression calls have one in their place."""
    return _UNFOLDED in called
