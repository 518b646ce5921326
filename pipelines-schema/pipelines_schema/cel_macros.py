"""Finds the macros of CEL, its only loops, in an expression as its parser would read it.

The library that evaluates gives no syntax tree: it has put other operators in their place by then.
So the expression is cut here by the lexical grammar of the language definition; what the library
and this should ever read differently is what evaluation has its limits for.
"""

from __future__ import annotations

import re
from itertools import pairwise

_MACROS = frozenset({"all", "exists", "exists_one", "existsOne", "map", "filter"})
_UNFOLDED = "@not_strictly_false"
"""What the library has made of `all` and `exists` in its list of called functions."""
_TOKEN = re.compile(
    r"""
      (?P<hidden> \s+ | //[^\n]* )
    | (?P<text>
        (?: [rR][bB]? | [bB][rR] ) (?: \"{3}.*?\"{3} | '{3}.*?'{3} | "[^"\n\r]*" | '[^'\n\r]*' )
      | [bB]? (?:
            \"{3} (?: \\. | [^\\] )*? \"{3} | '{3} (?: \\. | [^\\] )*? '{3}
          | " (?: \\. | [^"\\\n\r] )* " | ' (?: \\. | [^'\\\n\r] )* '
        )
      )
    | (?P<name> [A-Za-z_][A-Za-z0-9_]* )
    | .
    """,
    re.VERBOSE | re.DOTALL,
)


def first_macro(expression: str) -> str | None:
    """The name of the first macro that is called on something, or None."""
    read = [match for match in _TOKEN.finditer(expression) if match.lastgroup != "hidden"]
    for (dot, name), (_, bracket) in pairwise(pairwise(read)):
        if dot[0] == "." and name[0] in _MACROS and bracket[0] == "(":
            return name[0]
    return None


def unfolds_a_macro(called: list[str]) -> bool:
    """Whether the functions that a compiled expression calls have one in their place."""
    return _UNFOLDED in called
