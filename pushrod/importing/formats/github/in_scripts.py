"""GitHub's expressions as bash: values that are expanded, and tests. Pure."""

from __future__ import annotations

import re

from pushrod.importing.conditions import Untranslatable
from pushrod.importing.formats.github.expressions import (
    Both,
    Call,
    Comparison,
    Expression,
    Literal,
    Name,
    Not,
    parsed,
)
from pushrod.importing.formats.github.meaning import OWN_REPOSITORY, Scope, called
from pushrod.importing.formats.github.words import EVENTS
from pushrod.importing.shell_text import Expansion, inside_double_quotes


def expansion(expression: str, scope: Scope) -> Expansion:
    """What stands for an expression in a script. Raises Untranslatable."""
    return _expansion(parsed(expression), scope)


def _expansion(one: Expression, scope: Scope) -> Expansion:
    match one:
        case Literal(text=text):
            return Expansion(inside_double_quotes(text), splits=False)
        case Name():
            word = scope.word(one)
            if word.script is not None:
                return Expansion(word.script, splits=word.is_own)
        case Both(sign="||", first=Name() as first, second=second):
            return _with_default(_expansion(first, scope), second, scope)
        case Call(name="format", arguments=(Literal(text=text), *values)):
            return _formatted(text, [_expansion(value, scope) for value in values])
    raise Untranslatable(f"there is no equal for `{called(one)}` in a script")


def _with_default(found: Expansion, second: Expression, scope: Scope) -> Expansion:
    """One that is never empty needs no default."""
    if found.text.startswith("${{"):
        return found
    plain = re.fullmatch(r"\$\{?([A-Za-z_]\w*)\}?", found.text)
    if plain is None:
        raise Untranslatable(f"there is no equal for a default of `{found.text}`")
    default = _expansion(second, scope)
    text = f"${{{plain[1]}:-{default.text}}}"
    return Expansion(text, splits=found.splits and default.splits)


def _formatted(text: str, values: list[Expansion]) -> Expansion:
    """`format('py{0}', …)`."""
    parts = re.split(r"\{([0-9])\}", text)
    found = [inside_double_quotes(one) for one in parts]
    for place, number in enumerate(parts[1::2]):
        if int(number) >= len(values):
            raise Untranslatable("there is no equal for this `format()`")
        found[2 * place + 1] = values[int(number)].text
    return Expansion("".join(found), splits=all(one.splits for one in values))


def shell_test(expression: Expression, scope: Scope) -> str:
    """A condition of bash, for parts of a script. Raises Untranslatable."""
    match expression:
        case Both(sign=sign, first=first, second=second):
            return f"{{ {shell_test(first, scope)} {sign} {shell_test(second, scope)}; }}"
        case Not(inner=inner):
            return f"! {{ {shell_test(inner, scope)}; }}"
        case Comparison(sign=("==" | "!=") as sign, first=first, second=second):
            return _shell_comparison(sign, first, second, scope)
        case Call(name=("contains" | "startswith" | "endswith") as name, arguments=(first, second)):
            before = "" if name == "startswith" else "*"
            after = "" if name == "endswith" else "*"
            wanted = _expansion(second, scope).text
            return f'[[ "{_expansion(first, scope).text}" == {before}"{wanted}"{after} ]]'
        case Literal(text=text):
            return "false" if text in ("", "false", "0") else "true"
        case Name():
            return f'[[ ! "{_expansion(expression, scope).text}" =~ ^(|0|false)$ ]]'
    raise Untranslatable(f"there is no equal for `{called(expression)}`")


def _shell_comparison(sign: str, first: Expression, second: Expression, scope: Scope) -> str:
    if isinstance(first, Literal):
        first, second = second, first
    if isinstance(first, Name) and isinstance(second, Literal):
        if first.word == "github.event_name":
            events = EVENTS.get(second.text, ("none",))
            return f'{"! " if sign == "!=" else ""}[[ "$PUSHROD_EVENT" =~ ^({"|".join(events)})$ ]]'
        if first.word in ("github.repository", "github.repository_owner"):
            scope.notes.append(OWN_REPOSITORY)
            return "true" if sign == "==" else "false"
    return f'[[ "{_expansion(first, scope).text}" {sign} "{_expansion(second, scope).text}" ]]'
