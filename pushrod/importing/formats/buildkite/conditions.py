"""Buildkite's conditions → CEL. Pure."""

from __future__ import annotations

import re

from pushrod.importing.conditions import Condition, Untranslatable
from pushrod.importing.draft import NEVER, negated
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


def condition(expression: str) -> str:
    """In CEL. Raises Untranslatable."""
    return _Condition(expression, _TOKEN).in_cel()


class _Condition(Condition):
    def comparison(self) -> str:
        kind, name = self.tokens.take()
        if kind == "name" and name in ("true", "false"):
            return name
        sign = self.tokens.next_is("==", "!=", "=~", "!~")
        if sign is None:
            raise Untranslatable(f"a condition can't ask for `{name}` here")
        other_kind, other = self.tokens.take()
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
