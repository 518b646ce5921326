"""GitHub's expressions, parsed: what stands in `${{ … }}` and `if`. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pushrod.importing.conditions import Tokens, Untranslatable

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>-?[0-9]+(?:\.[0-9]+)?)|"
    r"(?P<word>[A-Za-z_][A-Za-z0-9_-]*)|(?P<sign>&&|\|\||==|!=|<=|>=|[!<>().,\[\]*]))"
)
_COMPARISONS = ("==", "!=", "<", ">", "<=", ">=")


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
    return _Parser(Tokens(text, _TOKEN)).whole()


class _Parser:
    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def whole(self) -> Expression:
        found = self._either()
        self._tokens.expect_end()
        return found

    def _either(self) -> Expression:
        with self._tokens.deeper():
            found = self._all()
            while self._tokens.next_is("||"):
                found = Both("||", found, self._all())
        return found

    def _all(self) -> Expression:
        found = self._comparison()
        while self._tokens.next_is("&&"):
            found = Both("&&", found, self._comparison())
        return found

    def _comparison(self) -> Expression:
        found = self._unary()
        while sign := self._tokens.next_is(*_COMPARISONS):
            found = Comparison(sign, found, self._unary())
        return found

    def _unary(self) -> Expression:
        is_negated = self._tokens.is_negated()
        found = self._operand()
        return Not(found) if is_negated else found

    def _operand(self) -> Expression:
        if self._tokens.next_is("("):
            found = self._either()
            self._tokens.expect(")")
            return found
        kind, text = self._tokens.take()
        if kind == "text":
            return Literal(text[1:-1].replace("''", "'"))
        if kind == "number":
            return Literal(text)
        if kind != "word":
            raise Untranslatable("the expression can't be read")
        if self._tokens.next_is("("):
            return Call(text.lower(), self._arguments())
        if text.lower() in ("true", "false", "null"):
            return Literal("" if text.lower() == "null" else text.lower())
        return self._name(text)

    def _arguments(self) -> tuple[Expression, ...]:
        found: list[Expression] = []
        while not self._tokens.next_is(")"):
            if found:
                self._tokens.expect(",")
            found.append(self._either())
        return tuple(found)

    def _name(self, first: str) -> Name:
        parts = [first]
        while sign := self._tokens.next_is(".", "["):
            kind, text = self._tokens.take()
            parts.append(text[1:-1] if kind == "text" else text)
            if sign == "[":
                self._tokens.expect("]")
        return Name(tuple(parts))
