"""Our own conditions as tests of bash, as far as a script can tell what they ask. Pure."""

from __future__ import annotations

import json
import re
import shlex

_TOKEN = re.compile(
    r'\s*(?:(?P<text>"(?:[^"\\]|\\.)*")|(?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_]\w*)?)|'
    r"(?P<sign>&&|\|\||==|!=|[!()\[\],+.]))"
)
_VARIABLES = {
    "event": "$PUSHROD_EVENT",
    "branch": "$PUSHROD_BRANCH",
    "tag": "$PUSHROD_TAG",
    "ref": "$PUSHROD_REF",
    "message": "$PUSHROD_COMMIT_MESSAGE",
    "author": "$PUSHROD_COMMIT_AUTHOR",
}
_NOT_IN_BASH = re.compile(r"\\[a-zA-Z]|\(\?|\*\?|\+\?")
_MAX_DEPTH = 20


class NotInBash(Exception):
    """The condition asks what no script knows."""


def bash_test(condition: str) -> str:
    """A command that succeeds where the condition holds. Raises NotInBash."""
    tokens: list[tuple[str, str]] = []
    position = 0
    while position < len(condition):
        match = _TOKEN.match(condition, position)
        if match is None:
            raise NotInBash(condition)
        kind = match.lastgroup or ""
        tokens.append((kind, match[kind]))
        position = match.end()
    return _Parser(tokens).whole()


class _Parser:
    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = [*tokens, ("end", "")]
        self._position = 0
        self._depth = 0

    def whole(self) -> str:
        found = self._either()
        self._expect("")
        return found

    @property
    def _next(self) -> str:
        return self._tokens[self._position][1]

    def _expect(self, sign: str) -> None:
        if self._next != sign:
            raise NotInBash(sign)
        self._position += 1

    def _either(self) -> str:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise NotInBash("nested too deep")
        parts = [self._all()]
        while self._next == "||":
            self._position += 1
            parts.append(self._all())
        self._depth -= 1
        return parts[0] if len(parts) == 1 else "{ " + " || ".join(parts) + "; }"

    def _all(self) -> str:
        parts = [self._one()]
        while self._next == "&&":
            self._position += 1
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else "{ " + " && ".join(parts) + "; }"

    def _one(self) -> str:
        if self._next == "!":
            self._position += 1
            return f"! {{ {self._one()}; }}"
        if self._next == "(" and not self._is_sum():
            self._position += 1
            found = self._either()
            self._expect(")")
            return found
        return self._comparison()

    def _is_sum(self) -> bool:
        """`(branch + tag)`: a value in parentheses."""
        return [text for _, text in self._tokens[self._position :][:5]] == [
            *("(", "branch", "+", "tag", ")"),
        ]

    def _comparison(self) -> str:
        first = self._value()
        sign = self._next
        if sign in ("==", "!="):
            self._position += 1
            return f'[[ "{first}" {sign} "{self._value()}" ]]'
        if sign == "in":
            self._position += 1
            return self._listed(first)
        if sign == ".":
            self._position += 1
            return self._method(first)
        raise NotInBash(first)

    def _listed(self, first: str) -> str:
        self._expect("[")
        tests = [f'[[ "{first}" == "{self._value()}" ]]']
        while self._next == ",":
            self._position += 1
            tests.append(f'[[ "{first}" == "{self._value()}" ]]')
        self._expect("]")
        return "{ " + " || ".join(tests) + "; }"

    def _method(self, first: str) -> str:
        method = self._tokens[self._position][1]
        self._position += 1
        self._expect("(")
        kind, written = self._tokens[self._position]
        self._position += 1
        self._expect(")")
        if kind != "text":
            raise NotInBash(method)
        inner = json.loads(written)
        match method:
            case "matches" if not _NOT_IN_BASH.search(inner):
                return f'[[ "{first}" =~ $(printf %s {shlex.quote(inner)}) ]]'
            case "startsWith":
                return f'[[ "{first}" == {shlex.quote(inner)}* ]]'
            case "endsWith":
                return f'[[ "{first}" == *{shlex.quote(inner)} ]]'
            case "contains":
                return f'[[ "{first}" == *{shlex.quote(inner)}* ]]'
        raise NotInBash(method)

    def _value(self) -> str:
        """The inside of double quotes."""
        if self._is_sum():
            self._position += 5
            return "$PUSHROD_BRANCH$PUSHROD_TAG"
        kind, written = self._tokens[self._position]
        self._position += 1
        if kind == "text":
            return re.sub(r'([\\$`"])', r"\\\1", json.loads(written))
        head, dot, rest = written.partition(".")
        if kind == "name" and dot and self._next == "(":
            # `branch.matches(…)`: the method was read as a part of the name.
            self._tokens[self._position - 1 : self._position] = [("sign", "."), ("name", rest)]
            self._position -= 1
            return self._variable(head, "")
        if kind != "name":
            raise NotInBash(written)
        return self._variable(head, rest)

    def _variable(self, head: str, rest: str) -> str:
        if not rest and head in _VARIABLES:
            return _VARIABLES[head]
        if head == "env" and rest:
            return f"${{{rest}}}"
        if head == "matrix" and rest:
            return f"$PUSHROD_MATRIX_{rest.upper()}"
        if head == "params" and rest:
            return f"$PUSHROD_PARAM_{rest.upper()}"
        raise NotInBash(head)
