"""GitHub's expressions, parsed: what stands in `${{ … }}` and `if`. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>-?[0-9]+(?:\.[0-9]+)?)|"
    r"(?P<word>[A-Za-z_][A-Za-z0-9_-]*)|(?P<sign>&&|\|\||==|!=|<=|>=|[!<>().,\[\]*]))"
)
_MAX_TOKENS = 500
_MAX_DEPTH = 30
_COMPARISONS = ("==", "!=", "<", ">", "<=", ">=")


class Untranslatable(Exception):
    """There is no equal for it here; the message says of what."""


@dataclass(frozen=True, slots=True)
class Literal:
    text: str


@dataclass(frozen=True, slots=True)
class Name:
    """`github.event.number`; names are case-insensitive there, `secrets` and `env` keep theirs."""

    parts: tuple[str, ...]

    @property
    def word(self) -> str:
        return ".".join(self.parts)


@dataclass(frozen=True, slots=True)
class Call:
    name: str
    arguments: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Not:
    inner: Expression


@dataclass(frozen=True, slots=True)
class Both:
    """`&&` or `||`."""

    sign: str
    first: Expression
    second: Expression


@dataclass(frozen=True, slots=True)
class Comparison:
    sign: str
    first: Expression
    second: Expression


Expression = Literal | Name | Call | Not | Both | Comparison


def parsed(text: str) -> Expression:
    """Raises Untranslatable where it can't be read."""
    return _Parser(_tokens(text)).whole()


def _tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    position = 0
    stripped = text.strip()
    while position < len(stripped):
        match = _TOKEN.match(stripped, position)
        if match is None or len(found) == _MAX_TOKENS:
            raise Untranslatable("the expression can't be read")
        found.append((match.lastgroup or "", match[match.lastgroup or 0]))
        position = match.end()
    return found


class _Parser:
    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._position = 0
        self._depth = 0

    def whole(self) -> Expression:
        found = self._either()
        if self._position < len(self._tokens):
            raise Untranslatable("the expression can't be read")
        return found

    def _next_is(self, *signs: str) -> str | None:
        if self._position < len(self._tokens):
            kind, text = self._tokens[self._position]
            if kind == "sign" and text in signs:
                self._position += 1
                return text
        return None

    def _either(self) -> Expression:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise Untranslatable("the expression is nested too deep")
        found = self._all()
        while self._next_is("||"):
            found = Both("||", found, self._all())
        self._depth -= 1
        return found

    def _all(self) -> Expression:
        found = self._comparison()
        while self._next_is("&&"):
            found = Both("&&", found, self._comparison())
        return found

    def _comparison(self) -> Expression:
        found = self._unary()
        while sign := self._next_is(*_COMPARISONS):
            found = Comparison(sign, found, self._unary())
        return found

    def _unary(self) -> Expression:
        signs = 0
        while self._next_is("!"):
            signs += 1
        found = self._operand()
        return Not(found) if signs % 2 else found

    def _operand(self) -> Expression:
        if self._next_is("("):
            found = self._either()
            self._expect(")")
            return found
        if self._position == len(self._tokens):
            raise Untranslatable("the expression is not whole")
        kind, text = self._tokens[self._position]
        self._position += 1
        if kind == "text":
            return Literal(text[1:-1].replace("''", "'"))
        if kind == "number":
            return Literal(text)
        if kind != "word":
            raise Untranslatable("the expression can't be read")
        if self._next_is("("):
            return Call(text.lower(), self._arguments())
        if text.lower() in ("true", "false", "null"):
            return Literal("" if text.lower() == "null" else text.lower())
        return self._name(text)

    def _arguments(self) -> tuple[Expression, ...]:
        found: list[Expression] = []
        while not self._next_is(")"):
            if found:
                self._expect(",")
            found.append(self._either())
        return tuple(found)

    def _name(self, first: str) -> Name:
        parts = [first]
        while sign := self._next_is(".", "["):
            if self._position == len(self._tokens):
                raise Untranslatable("the expression is not whole")
            kind, text = self._tokens[self._position]
            self._position += 1
            parts.append(text[1:-1] if kind == "text" else text)
            if sign == "[":
                self._expect("]")
        return Name(tuple(parts))

    def _expect(self, sign: str) -> None:
        if not self._next_is(sign):
            raise Untranslatable("the expression can't be read")
