"""What someone may have meant by a word we don't know."""

from __future__ import annotations

from collections.abc import Iterable

MAX_WORD_CHARACTERS = 100


def closest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate that `word` is most likely a slip of, or None."""
    if len(word) > MAX_WORD_CHARACTERS:
        return None
    allowed = 1 if len(word) < 5 else 2
    distances = [
        (_distance(word, candidate, allowed), index, candidate)
        for index, candidate in enumerate(candidates)
    ]
    near = [entry for entry in distances if entry[0] <= allowed and entry[0] < len(word)]
    return min(near)[2] if near else None


def _distance(word: str, candidate: str, bound: int) -> int:
    """0 for the same word in another style (`depends_on`), else the edits; over `bound`: any."""
    if _bare(word) == _bare(candidate):
        return 0
    if abs(len(word) - len(candidate)) > bound:
        return bound + 1
    return edit_distance(word.casefold(), candidate.casefold())


def _bare(word: str) -> str:
    return word.casefold().replace("_", "").replace("-", "").replace(" ", "")


def edit_distance(one: str, other: str) -> int:
    """Insertions, removals, replacements and swaps of neighbours that turn one into the other."""
    before_last: list[int] = []
    last = list(range(len(other) + 1))
    for row, left in enumerate(one, start=1):
        current = [row]
        for column, right in enumerate(other, start=1):
            cost = min(last[column] + 1, current[-1] + 1, last[column - 1] + (left != right))
            if row > 1 and column > 1 and left == other[column - 2] and one[row - 2] == right:
                cost = min(cost, before_last[column - 2] + 1)
            current.append(cost)
        before_last, last = last, current
    return last[-1]
