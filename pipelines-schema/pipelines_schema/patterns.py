"""Patterns of branches, tags and files: `*`, `**`, `?`, and `!` before what is not meant."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from functools import lru_cache

from pipelines_schema.limits import MAX_BRANCH_PATTERN_CHARACTERS, MAX_PATH_BYTES
from pipelines_schema.problem import shown


def chosen_by(patterns: Sequence[str], name: str) -> bool:
    """From the first pattern to the last, each takes what it matches in, or with `!` out again;
    where all begin with `!`, they leave out of everything."""
    chosen = all(pattern.startswith("!") for pattern in patterns)
    for pattern in patterns:
        takes_out = pattern.startswith("!")
        if chosen == takes_out and pattern_matches(pattern[takes_out:], name):
            chosen = not takes_out
    return chosen


def branch_pattern_problem(pattern: str) -> str | None:
    """What is wrong with a branch pattern, or None."""
    name = pattern.removeprefix("!")
    if not name:
        return "is empty: write a branch or a pattern such as `release/*`"
    if len(pattern) > MAX_BRANCH_PATTERN_CHARACTERS:
        return f"is longer than {MAX_BRANCH_PATTERN_CHARACTERS} characters"
    if name.startswith("refs/"):
        return "must be a branch's short name: write `main`, not `refs/heads/main`"
    forbidden = [c for c in name if c in " ~^:\\[" or not c.isprintable()]
    if forbidden or ".." in name or name.startswith("/") or name.endswith("/"):
        return "is no name that git allows for a branch, so it would never match"
    return None


def path_pattern_problem(pattern: str) -> str | None:
    """What is wrong with a pattern of changed files, or None."""
    path = pattern.removeprefix("!")
    if not path:
        return 'is empty: write a path or a pattern such as `"src/**"`'
    if len(pattern) > MAX_PATH_BYTES:
        return f"is longer than {MAX_PATH_BYTES} characters"
    if path.endswith("/"):
        return f"names a folder, but files change: write `{shown(path + '**')[1:]}"
    parts = path.split("/")
    if path.startswith("/") or "." in parts or ".." in parts or "" in parts:
        return "must be relative to the repository's root, without `.`, `..` or `//`"
    return None


class _Wildcard(Enum):
    ONE = "?"
    """Any character but `/`."""
    SEGMENT = "*"
    """Any run of characters without `/`."""
    ANY = "**"
    FOLDERS = "**/"
    """At the start of a segment: nothing, or whole segments."""


def pattern_matches(pattern: str, name: str) -> bool:
    """Match `*` (not across `/`), `**` (across) and `?`; all else stands for itself.

    Steps through all ways of matching at once: a pattern full of stars costs its length times the
    name's, where a backtracking regular expression would take for ever.
    """
    first, *rest = _tokens(pattern)
    if not rest and not isinstance(first, _Wildcard):
        return first == name
    reached = {0}
    for token in (first, *rest):
        reached = _step(token, reached, name)
        if not reached:
            return False
    return len(name) in reached


@lru_cache(maxsize=1000)
def _tokens(pattern: str) -> Sequence[str | _Wildcard]:
    """The wildcards, and the runs of text between them; at least one."""
    tokens: list[str | _Wildcard] = [""]
    position = 0
    while position < len(pattern):
        at_segment_start = position == 0 or pattern[position - 1] == "/"
        if at_segment_start and pattern.startswith("**/", position):
            token: str | _Wildcard = _Wildcard.FOLDERS
        elif pattern.startswith("**", position):
            token = _Wildcard.ANY
        elif pattern[position] in "*?":
            token = _Wildcard(pattern[position])
        else:
            token = pattern[position]
        position += len(token.value if isinstance(token, _Wildcard) else token)
        before = tokens[-1]
        if isinstance(token, _Wildcard) or isinstance(before, _Wildcard):
            tokens.append(token)
        else:
            tokens[-1] = before + token
    return tokens


def _step(token: str | _Wildcard, reached: set[int], name: str) -> set[int]:
    match token:
        case _Wildcard.ANY:
            return set(range(min(reached), len(name) + 1))
        case _Wildcard.FOLDERS:
            first = min(reached)
            return reached | {
                end for end in range(first + 1, len(name) + 1) if name[end - 1] == "/"
            }
        case _Wildcard.SEGMENT:
            return _within_segments(reached, name)
        case _Wildcard.ONE:
            return {at + 1 for at in reached if at < len(name) and name[at] != "/"}
        case _:
            return {at + len(token) for at in reached if name.startswith(token, at)}


def _within_segments(reached: set[int], name: str) -> set[int]:
    result: set[int] = set()
    inside = False
    for position in range(len(name) + 1):
        inside = position in reached or (inside and name[position - 1] != "/")
        if inside:
            result.add(position)
    return result
