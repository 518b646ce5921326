"""Buildkite's conditions → CEL. Pure."""

from __future__ import annotations

import re

from pushrod.importing.draft import NEVER, TRUE, all_of, either, negated
from pushrod.importing.patterns import regex, text

_TOKEN = re.compile(
    r"\s*(?:(?P<text>\"(?:[^\"\\]|\\.)*\"|'[^']*')|(?P<regex>/(?:\\.|[^/\\])+/i?)|"
    r"(?P<name>[A-Za-z_][\w.]*)|(?P<sign>&&|\|\||==|!=|=~|!~|[!()\[\],]))"
)
_VALUES = {
    "build.branch": "(branch + tag)",
    "build.tag": "tag",
    "build.message": "message",
    "build.author.name": "author",
    "build.creator.name": "author",
}
_SOURCES = {
    "webhook": 'event in ["push", "tag", "pullRequest"]',
    "ui": 'event == "manual"',
    "api": 'event == "manual"',
    "schedule": 'event == "schedule"',
}
_PULL_REQUEST = "build.pull_request"
_MAX_TOKENS = 300
_MAX_DEPTH = 20


class Untranslatable(Exception):
    """There is no equal for it here; the message says of what."""


def condition(expression: str) -> str:
    """In CEL. Raises Untranslatable."""
    tokens: list[tuple[str, str]] = []
    position = 0
    stripped = expression.strip()
    while position < len(stripped):
        match = _TOKEN.match(stripped, position)
        if match is None or len(tokens) == _MAX_TOKENS:
            raise Untranslatable("the expression can't be read")
        kind = match.lastgroup or ""
        tokens.append((kind, match[kind]))
        position = match.end()
    return _Parser(tokens).whole()


class _Parser:
    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._position = 0
        self._depth = 0

    def whole(self) -> str:
        found = self._either()
        if self._position < len(self._tokens):
            raise Untranslatable("the expression can't be read")
        return found

    def _next_is(self, *signs: str) -> str | None:
        if self._position < len(self._tokens):
            kind, written = self._tokens[self._position]
            if kind == "sign" and written in signs:
                self._position += 1
                return written
        return None

    def _either(self) -> str:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise Untranslatable("the expression is nested too deep")
        parts = [self._all()]
        while self._next_is("||"):
            parts.append(self._all())
        self._depth -= 1
        return either(parts) or TRUE

    def _all(self) -> str:
        parts = [self._one()]
        while self._next_is("&&"):
            parts.append(self._one())
        return all_of(parts) or TRUE

    def _one(self) -> str:
        signs = 0
        while self._next_is("!"):
            signs += 1
        if self._next_is("("):
            found = self._either()
            if not self._next_is(")"):
                raise Untranslatable("the expression can't be read")
        else:
            found = self._comparison()
        return negated(found) if signs % 2 else found

    def _take(self) -> tuple[str, str]:
        if self._position == len(self._tokens):
            raise Untranslatable("the expression is not whole")
        self._position += 1
        return self._tokens[self._position - 1]

    def _comparison(self) -> str:
        kind, name = self._take()
        if kind == "name" and name in ("true", "false"):
            return name
        sign = self._next_is("==", "!=", "=~", "!~")
        if sign is None:
            raise Untranslatable(f"a condition can't ask for `{name}` here")
        other_kind, other = self._take()
        if kind == "text":
            kind, name, other_kind, other = other_kind, other, kind, name
        if sign in ("=~", "!~"):
            found = regex(_value(kind, name), other) if other_kind == "regex" else None
            if found is None:
                raise Untranslatable("there is no equal for this regular expression")
            return found if sign == "=~" else f"!{found}"
        return _compared(name, kind, sign, other, other_kind)


def _compared(name: str, kind: str, sign: str, other: str, other_kind: str) -> str:
    is_equal = sign == "=="
    if name.startswith(_PULL_REQUEST):
        return _pull_request(name, is_equal, other)
    if name == "build.source" and other_kind == "text":
        found = _SOURCES.get(other[1:-1], NEVER)
        return found if is_equal else negated(found)
    if other == "null":
        return f'{_value(kind, name)} {sign} ""'
    return f"{_value(kind, name)} {sign} {_value(other_kind, other)}"


def _pull_request(name: str, is_equal: bool, other: str) -> str:
    if name in ("build.pull_request.id", _PULL_REQUEST) and other == "null":
        return f'event {"!=" if is_equal else "=="} "pullRequest"'
    if name == "build.pull_request.draft" and other in ("true", "false"):
        return "draft" if is_equal is (other == "true") else "!draft"
    raise Untranslatable(f"a condition can't ask for `{name}` here")


def _value(kind: str, written: str) -> str:
    if kind == "text":
        return text(written[1:-1].replace('\\"', '"'))
    if written in _VALUES:
        return _VALUES[written]
    raise Untranslatable(f"a condition can't ask for `{written}` here")
