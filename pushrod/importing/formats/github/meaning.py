"""GitHub's expressions → CEL, and bash. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipelines_schema.limits import ENVIRONMENT_NAME
from pipelines_schema.step_outputs import output_variable
from pushrod.importing.conditions import Untranslatable
from pushrod.importing.draft import NEVER, TRUE, all_of, both, either, negated
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
from pushrod.importing.formats.github.words import EVENTS, WORDS, Word

_STATUS = {
    "always": ["success", "failure"],
    "failure": ["failure"],
    "cancelled": ["cancelled"],
    "success": [],
}
_HEAD_REPOSITORY = "github.event.pull_request.head.repo."
_NO_FORKS = "a fork's build waits for approval and gets no secrets: it counts as one of your own"
OWN_REPOSITORY = "a repository's own name is always the one that is built here"


@dataclass(slots=True)
class Scope:
    """What names mean in a job."""

    matrix: Mapping[str, bool] = field(default_factory=dict)
    """The names of its matrix, each with whether all combinations have it."""
    steps: Mapping[str, str] = field(default_factory=dict)
    """The names of jobs by their ids."""
    secrets: list[str] = field(default_factory=list)
    """Those that were met in scripts: the step has to name them."""
    choices: frozenset[str] = frozenset()
    """Inputs that may stand in `${{ params.x }}`."""
    notes: list[str] = field(default_factory=list)

    def word(self, name: Name) -> Word:
        """Raises Untranslatable."""
        word, parts = name.word, name.parts
        if word.lower() in WORDS:
            return WORDS[word.lower()]
        if len(parts) == 4 and parts[:3] == ("github", "event", "inputs"):
            return self._input(parts[3])
        match parts:
            case ("matrix", *rest) if rest and all(map(_is_plain, rest)):
                return self._matrix(rest)
            case ("env", key) if _is_plain(key):
                return Word(condition=word, script=f"${{{key}}}", outside=word, is_own=True)
            case ("inputs", key):
                return self._input(key)
            case ("secrets", key) if key.upper() == "GITHUB_TOKEN":
                raise Untranslatable("pushrod makes no token for a forge: set a secret of your own")
            case ("secrets", key) if _is_plain(key):
                self.secrets.append(key)
                return Word(script=f"${{{key}}}", is_own=True)
            case ("needs", job, "outputs", key):
                return self._output(job, key)
            case ("steps", _, "outputs", key) if re.fullmatch(r"[\w.-]+", key):
                pattern = key.replace(".", "\\.")
                return Word(script=f"$(sed -n 's/^{pattern}=//p' \"$PUSHROD_OUTPUT\" | tail -n 1)")
        raise Untranslatable(f"there is no equal for `{word}`")

    def _matrix(self, rest: list[str]) -> Word:
        known = self.matrix.get(rest[0])
        if known is None:
            raise Untranslatable(f"the matrix has no `{rest[0]}`")
        word = "matrix." + ".".join(rest)
        variable = "PUSHROD_MATRIX_" + "_".join(rest).upper()
        if not known:
            return Word(condition=word, script=f"${variable}", is_own=True)
        return Word(condition=word, script=f"${{{{ {word} }}}}", outside=word, is_own=True)

    def _input(self, key: str) -> Word:
        if not _is_plain(key):
            raise Untranslatable(f"there is no equal for `inputs.{key}`")
        outside = f"params.{key}" if key in self.choices else None
        return Word(
            condition=f"params.{key}", script=f"$PUSHROD_PARAM_{key.upper()}", outside=outside
        )

    def _output(self, job: str, key: str) -> Word:
        step = self.steps.get(job)
        if step is None:
            raise Untranslatable(f"there is no job `{job}`")
        plain = _is_plain(step) and _is_plain(key)
        word = f"outputs.{step}.{key}" if plain else f"outputs[{_text(step)}][{_text(key)}]"
        return Word(condition=word, script=f"${output_variable(step, key)}", outside=word)


def _is_plain(text: str) -> bool:
    return re.fullmatch(ENVIRONMENT_NAME, text) is not None


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an `if` says: when, and after which ends of what comes before."""

    when: str | None = None
    run_on: tuple[str, ...] = ()


def meaning(text: str, scope: Scope) -> Meaning:
    """Of a job's `if`. Raises Untranslatable."""
    inner = text.strip()
    if inner.startswith("${{") and inner.endswith("}}"):
        inner = inner[3:-2]
    when: str | None = None
    run_on: tuple[str, ...] = ()
    for one in conjuncts(parsed(inner)):
        status = status_of(one)
        if status is None:
            when = both(when, condition(one, scope))
        else:
            run_on = (*run_on, *(word for word in status if word not in run_on))
    return Meaning(when, run_on)


def conjuncts(expression: Expression) -> list[Expression]:
    if isinstance(expression, Both) and expression.sign == "&&":
        return [*conjuncts(expression.first), *conjuncts(expression.second)]
    return [expression]


def status_of(expression: Expression) -> list[str] | None:
    """The ends after which it holds, where it asks for nothing else."""
    match expression:
        case Call(name=name, arguments=()) if name in _STATUS:
            return _STATUS[name]
        case Not(inner=Call(name="cancelled")):
            return ["success", "failure"]
        case Both(sign="||", first=first, second=second):
            one, other = status_of(first), status_of(second)
            return None if one is None or other is None else [*one, *other]
    return None


def condition(expression: Expression, scope: Scope) -> str:
    """In CEL. Raises Untranslatable."""
    match expression:
        case Both(sign=sign, first=first, second=second):
            parts = [condition(first, scope), condition(second, scope)]
            return (all_of(parts) if sign == "&&" else either(parts)) or TRUE
        case Not(inner=inner):
            return negated(condition(inner, scope))
        case Comparison():
            return _comparison(expression, scope)
        case Call(name=("contains" | "startswith" | "endswith") as name, arguments=(first, second)):
            return _asked(name, first, second, scope)
        case Literal(text=text):
            return "false" if text in ("", "false", "0") else "true"
        case Name():
            if expression.word == f"{_HEAD_REPOSITORY}fork":
                scope.notes.append(_NO_FORKS)
                return NEVER
            word = scope.word(expression)
            if word.is_boolean and word.condition:
                return word.condition
            return f'!({_value(expression, scope)} in ["", "false", "0"])'
    raise Untranslatable(f"there is no equal for `{called(expression)}`")


def _asked(name: str, first: Expression, second: Expression, scope: Scope) -> str:
    if isinstance(first, Name) and first.word == "github.event.pull_request.labels.*.name":
        return f"{_value(second, scope)} in labels"
    if isinstance(first, Call) and first.name == "fromjson":
        return f"{_value(second, scope)} in {_listed(first)}"
    method = {"contains": "contains", "startswith": "startsWith", "endswith": "endsWith"}[name]
    return f"{_value(first, scope)}.{method}({_value(second, scope)})"


def _listed(call: Call) -> str:
    """The texts of a list that is written out."""
    try:
        found = json.loads(call.arguments[0].text)  # type: ignore[union-attr]
    except (AttributeError, IndexError, ValueError, RecursionError):
        raise Untranslatable("there is no equal for `fromJSON`") from None
    if not isinstance(found, list) or not all(isinstance(one, str | int) for one in found):
        raise Untranslatable("there is no equal for `fromJSON`")
    return "[" + ", ".join(_text(str(one)) for one in found) + "]"


def _comparison(one: Comparison, scope: Scope) -> str:
    first, second = one.first, one.second
    if isinstance(first, Literal):
        first, second = second, first
    if one.sign not in ("==", "!="):
        raise Untranslatable(f"there is no equal for `{one.sign}`")
    is_equal = one.sign == "=="
    if isinstance(first, Name) and first.word.startswith(_HEAD_REPOSITORY):
        # Ours are asked for approval, and what is pushed and asked to be merged is built once.
        scope.notes.append(_NO_FORKS)
        return TRUE if is_equal else 'event == "pullRequest"'
    if isinstance(first, Name) and isinstance(second, Literal):
        if first.word == "github.event_name":
            return _event(second.text, is_equal)
        if first.word in ("github.repository", "github.repository_owner"):
            scope.notes.append(OWN_REPOSITORY)
            return "true" if is_equal else "false"
        if first.word in WORDS and WORDS[first.word].is_boolean:
            wanted = (second.text == "true") is is_equal
            return (
                WORDS[first.word].condition or "" if wanted else f"!{WORDS[first.word].condition}"
            )
    return f"{_value(first, scope)} {one.sign} {_value(second, scope)}"


def _event(name: str, is_equal: bool) -> str:
    events = EVENTS.get(name)
    if events is None:
        return "false" if is_equal else "true"  # an event that never happens here
    listed = [f'event == "{event}"' for event in events]
    if is_equal:
        return " || ".join(listed)
    return " && ".join(listed).replace("==", "!=")


def _value(expression: Expression, scope: Scope) -> str:
    match expression:
        case Literal(text=text):
            return _text(text)
        case Name():
            found = scope.word(expression).condition
            if found is not None:
                return found
    raise Untranslatable(f"a condition can't ask for `{called(expression)}` here")


def called(expression: Expression) -> str:
    match expression:
        case Name():
            return expression.word
        case Call(name=name):
            return f"{name}()"
        case Literal(text=text):
            return text
    return "this expression"
