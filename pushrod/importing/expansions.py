"""`${{ … }}` in texts of other systems: where each stands. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

OPENING = "${{"
_CLOSING = "}}"


def pieces(text: str) -> Iterator[tuple[str, str | None]]:
    """The text in pieces, each with the expression behind it; None behind the last."""
    done = 0
    while (start := text.find(OPENING, done)) >= 0:
        end = _closing(text, start + len(OPENING))
        if end < 0:
            break
        yield text[done:start], text[start + len(OPENING) : end].strip()
        done = end + len(_CLOSING)
    yield text[done:], None


def _closing(text: str, position: int) -> int:
    """Where the expression's `}}` is: a quoted one doesn't end it."""
    quoted = False
    while position < len(text):
        if text[position] == "'":
            quoted = not quoted
        elif not quoted and text.startswith(_CLOSING, position):
            return position
        position += 1
    return -1


def filled(text: str, value: Callable[[str], str], literal: Callable[[str], str] = str) -> str:
    """The text with each expression's value, and `literal` of what stands between."""
    return "".join(
        literal(piece) + ("" if expression is None else value(expression))
        for piece, expression in pieces(text)
    )
