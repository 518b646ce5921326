"""What conditions of other systems have in common: their words, `||`, `&&`, `!`, brackets. Pure.

Each format brings its pattern of tokens, whose groups are their kinds (`sign` for operators), and
what a comparison means.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

from pushrod.importing.draft import TRUE, all_of, either, negated

MAX_TOKENS = 500
MAX_DEPTH = 30
Token = tuple[str, str]
"""Its kind, and as it is written."""


class Untranslatable(Exception):
    """There is no equal for it here; the message says of what."""


class Tokens:
    """Of one expression, read from the left. Raises Untranslatable where it can't be read."""

    def __init__(self, expression: str, token: re.Pattern[str]) -> None:
        self._tokens: list[Token] = []
        self._position = self._depth = 0
        position, stripped = 0, expression.strip()
        while position < len(stripped):
            match = token.match(stripped, position)
            if match is None or len(self._tokens) == MAX_TOKENS:
                raise Untranslatable("the expression can't be read")
            kind = match.lastgroup or ""
            self._tokens.append((kind, match[kind]))
            position = match.end()

    def next_is(self, *signs: str) -> str | None:
        """The sign, which is taken then."""
        if self._position < len(self._tokens):
            kind, written = self._tokens[self._position]
            if kind == "sign" and written in signs:
                self._position += 1
                return written
        return None

    def is_negated(self) -> bool:
        """By the `!` that come next, which are taken."""
        signs = 0
        while self.next_is("!"):
            signs += 1
        return signs % 2 == 1

    def expect(self, sign: str) -> None:
        if not self.next_is(sign):
            raise Untranslatable("the expression can't be read")

    def take(self) -> Token:
        if self._position == len(self._tokens):
            raise Untranslatable("the expression is not whole")
        self._position += 1
        return self._tokens[self._position - 1]

    def expect_end(self) -> None:
        if self._position < len(self._tokens):
            raise Untranslatable("the expression can't be read")

    @contextmanager
    def deeper(self) -> Iterator[None]:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Untranslatable("the expression is nested too deep")
        yield
        self._depth -= 1


class Condition(ABC):
    """One that becomes CEL as it is read: comparisons, put together by `||`, `&&`, `!`, `()`."""

    def __init__(self, expression: str, token: re.Pattern[str]) -> None:
        self.tokens = Tokens(expression, token)

    @abstractmethod
    def comparison(self) -> str:
        """The next one, in CEL. Raises Untranslatable."""

    def in_cel(self) -> str:
        """All of it. Raises Untranslatable."""
        found = self._either()
        self.tokens.expect_end()
        return found

    def _either(self) -> str:
        with self.tokens.deeper():
            parts = [self._all()]
            while self.tokens.next_is("||"):
                parts.append(self._all())
        return either(parts) or TRUE

    def _all(self) -> str:
        parts = [self._one()]
        while self.tokens.next_is("&&"):
            parts.append(self._one())
        return all_of(parts) or TRUE

    def _one(self) -> str:
        is_negated = self.tokens.is_negated()
        if self.tokens.next_is("("):
            found = self._either()
            self.tokens.expect(")")
        else:
            found = self.comparison()
        return negated(found) if is_negated else found
