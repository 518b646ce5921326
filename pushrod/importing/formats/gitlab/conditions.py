"""GitLab's expressions and lists of refs → CEL. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from pushrod.importing.conditions import Condition, Token, Untranslatable
from pushrod.importing.draft import NEVER, TRUE, all_of, either, negated
from pushrod.importing.patterns import one_of, regex, text

_TOKEN = re.compile(
    r"\s*(?:(?P<variable>\$\{?\w+\}?)|(?P<text>\"[^\"]*\"|'[^']*')|(?P<regex>/(?:\\.|[^/\\])+/i?)|"
    r"(?P<sign>&&|\|\||==|!=|=~|!~|[!()])|(?P<null>null))"
)
_SOURCES: Mapping[str, Sequence[str]] = {
    "push": ("push", "tag"),
    "merge_request_event": ("pullRequest",),
    "external_pull_request_event": ("pullRequest",),
    "schedule": ("schedule",),
    "web": ("manual",),
    "api": ("manual",),
    "trigger": ("manual",),
    "chat": ("manual",),
    "pipeline": ("manual",),
}
_IN_PULL_REQUEST = frozenset(
    {
        *("CI_MERGE_REQUEST_ID", "CI_MERGE_REQUEST_IID", "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME"),
        *("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "CI_OPEN_MERGE_REQUESTS"),
    }
)
_NO_PULL_REQUEST = 'event != "pullRequest"'
"""Their name of the branch is empty for merge requests: a fork's branch may have any name."""
_VALUES = {
    "CI_COMMIT_BRANCH": "branch",
    "CI_COMMIT_TAG": "tag",
    "CI_COMMIT_REF_NAME": "(branch + tag)",
    "CI_COMMIT_MESSAGE": "message",
    "CI_COMMIT_TITLE": "message",
    "CI_COMMIT_AUTHOR": "author",
    "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": '(event == "pullRequest" ? branch : "")',
}
_REFS = {
    "branches": 'event == "push" || event == "manual" || event == "schedule"',
    "tags": 'event == "tag"',
    "merge_requests": 'event == "pullRequest"',
    "external_pull_requests": 'event == "pullRequest"',
    "schedules": 'event == "schedule"',
    "pushes": 'event == "push" || event == "tag"',
    "web": 'event == "manual"',
    "api": 'event == "manual"',
    "triggers": 'event == "manual"',
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What a pipeline's conditions may ask for besides."""

    variables: Collection[str]
    default_branch: str


def condition(expression: str, names: Names) -> str:
    """In CEL. Raises Untranslatable."""
    return _Condition(expression, names).in_cel()


class _Condition(Condition):
    def __init__(self, expression: str, names: Names) -> None:
        super().__init__(expression, _TOKEN)
        self._names = names

    def comparison(self) -> str:
        first = self.tokens.take()
        sign = self.tokens.next_is("==", "!=", "=~", "!~")
        if sign is None:
            return self._is_set(first)
        second = self.tokens.take()
        if first[0] != "variable":
            first, second = second, first
        is_equal = sign in ("==", "=~")
        if "null" in (first[0], second[0]) or second[1] in ('""', "''"):
            found = negated(self._is_set(first))
        elif first[1].strip("${}") == "CI_PIPELINE_SOURCE" and second[0] == "text":
            found = _source(second[1][1:-1])
        elif sign in ("=~", "!~"):
            found = self._guarded(first, self._matches(first, second))
        elif is_equal or _is_branch(first):
            found = self._guarded(first, f"{self._value(first)} == {self._value(second)}")
        else:
            return f"{self._value(first)} != {self._value(second)}"
        return found if is_equal else negated(found)

    def _matches(self, first: Token, second: Token) -> str:
        found = regex(self._value(first), second[1]) if second[0] == "regex" else None
        if found is None:
            raise Untranslatable("there is no equal for this regular expression")
        return found

    def _guarded(self, token: Token, test: str) -> str:
        return (all_of([_NO_PULL_REQUEST, test]) or TRUE) if _is_branch(token) else test

    def _is_set(self, token: Token) -> str:
        name = token[1].strip("${}")
        if token[0] == "variable" and name in _IN_PULL_REQUEST:
            return 'event == "pullRequest"'
        if token[0] == "variable" and name == "CI_PIPELINE_SOURCE":
            return TRUE
        return self._guarded(token, f'{self._value(token)} != ""')

    def _value(self, token: Token) -> str:
        kind, written = token
        if kind == "text":
            return text(written[1:-1])
        name = written.strip("${}")
        if kind == "variable":
            if name == "CI_DEFAULT_BRANCH":
                return text(self._names.default_branch)
            if name in _VALUES:
                return _VALUES[name]
            if name in self._names.variables:
                return f"env.{name}"
        raise Untranslatable(f"a condition can't ask for `{written}` here")


def _is_branch(token: Token) -> bool:
    return token[0] == "variable" and token[1].strip("${}") == "CI_COMMIT_BRANCH"


def _source(name: str) -> str:
    events = _SOURCES.get(name)
    return one_of("event", events) if events else NEVER  # others never start a build here


def of_refs(refs: Sequence[str]) -> str:
    """What `only: refs` means: one of them. Raises Untranslatable."""
    found: list[str] = []
    for ref in refs:
        plain = ref.partition("@")[0] if not ref.startswith("/") else ref
        if plain in _REFS:
            found.append(_REFS[plain])
            continue
        if plain.startswith("/"):
            test = regex("(branch + tag)", plain)
            if test is None:
                raise Untranslatable(f"there is no equal for `{ref}`")
        else:
            test = f"(branch + tag) == {text(plain)}"
        found.append(all_of([_NO_PULL_REQUEST, test]) or TRUE)
    return either(found) or TRUE
