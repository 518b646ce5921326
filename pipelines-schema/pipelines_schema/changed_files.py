"""`changed("glob", …)` of a condition: whether one of these files differs."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from itertools import pairwise

from pipelines_schema.cel_tokens import cel_tokens, plain_text
from pipelines_schema.patterns import chosen_by, path_pattern_problem
from pipelines_schema.problem import shown

FUNCTION = "changed"
_HINT = 'write `changed("src/**")`'


class Changes:
    """The function, for one build. Whoever calls it looks for a `fault` afterwards."""

    def __init__(self, files: Collection[str] | None) -> None:
        """`files` are those that differ; None where there is nothing to compare with."""
        self._files = files
        self.fault: str | None = None
        """What is wrong with the arguments of a call, as in `the condition {fault}`."""

    def __call__(self, *patterns: object) -> bool:
        named = [pattern for pattern in patterns if isinstance(pattern, str)]
        if not patterns or len(named) < len(patterns):
            self.fault = f"calls `changed` without a file, or with what is no text: {_HINT}"
            return False
        for pattern in named:
            problem = path_pattern_problem(pattern)
            if problem is not None:
                self.fault = f"asks `changed` for {shown(pattern)}, which {problem}"
                return False
        return self._files is None or any(chosen_by(named, file) for file in self._files)


class NotWrittenOut(ValueError):
    """A call of an expression that asks for outputs, too, and so is answered before these are
    known, has a pattern that is computed; `offset` is the call's."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"computes what it asks `changed` for, beside `outputs`: {_HINT}")
        self.offset = offset


def with_changes_answered(expression: str, files: Collection[str] | None) -> tuple[str, str | None]:
    """The expression with `true` or `false` in the place of each call, and what is wrong with the
    arguments of one. Raises NotWrittenOut."""
    changes, parts, done = Changes(files), [], 0
    tokens = cel_tokens(expression)
    for index, (name, bracket) in enumerate(pairwise(tokens)):
        if (name[0], bracket[0]) == (FUNCTION, "("):
            patterns, end = _arguments(tokens, index)
            parts += [expression[done : name.start()], "true" if changes(*patterns) else "false"]
            done = end
    return "".join([*parts, expression[done:]]), changes.fault


def _arguments(tokens: Sequence[re.Match[str]], call: int) -> tuple[list[str], int]:
    """The texts of a call, and where it ends."""
    patterns: list[str] = []
    for text, mark in zip(tokens[call + 2 :: 2], tokens[call + 3 :: 2], strict=False):
        pattern = plain_text(text[0])
        if pattern is None or mark[0] not in (",", ")"):
            break
        patterns.append(pattern)
        if mark[0] == ")":
            return patterns, mark.end()
    raise NotWrittenOut(tokens[call].start())


def asks_for_changes(expression: str) -> bool:
    """Whether it may; also where it only names the word."""
    return FUNCTION in expression
