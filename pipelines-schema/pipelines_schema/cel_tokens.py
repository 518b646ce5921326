"""An expression in CEL, cut by the lexical grammar of the language definition: the library that
evaluates gives no syntax tree."""

from __future__ import annotations

import re

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


_PLAIN_TEXT = re.compile(r"""(["'])([^"'\\\n]*)\1""")


def plain_text(token: str) -> str | None:
    """What a token in quotes says; None for any other, or one with escapes or quotes in it."""
    found = _PLAIN_TEXT.fullmatch(token)
    return found and found[2]


def cel_tokens(expression: str) -> list[re.Match[str]]:
    """In their order, without blanks and comments; `lastgroup` is `text`, `name`, or None for any
    other character."""
    return [match for match in _TOKEN.finditer(expression) if match.lastgroup != "hidden"]
