"""Which outputs of other steps an expression in CEL asks for.

They are looked up by name before it is evaluated, so a name is written out, never computed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipelines_schema.cel_tokens import cel_tokens, plain_text
from pipelines_schema.problem import shown
from pipelines_schema.step_outputs import KEYS, is_key

OUTPUTS = "outputs"
_HOW = 'write `outputs.step.key`, or `outputs["build-app"]["image.tag"]` for other names'


@dataclass(frozen=True, slots=True)
class OutputName:
    step: str
    key: str


class NoOutputName(ValueError):
    """What stands at an offset of the expression names no output: the message says what would."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


def outputs_named(expression: str) -> tuple[OutputName, ...]:
    """In the order of the expression, each once. Raises NoOutputName."""
    tokens = cel_tokens(expression)
    found = [
        _output_name(tokens[index:])[0]
        for index, token in enumerate(tokens)
        if token[0] == OUTPUTS and (index == 0 or tokens[index - 1][0] != ".")
    ]
    return tuple(dict.fromkeys(found))


def output_word(text: str) -> OutputName | None:
    """What a text names that is nothing but the name of an output, as in `${{ outputs.a.b }}`."""
    tokens = cel_tokens(text)
    if not tokens or tokens[0][0] != OUTPUTS:
        return None
    try:
        name, rest = _output_name(tokens)
    except NoOutputName:
        return None
    return None if rest or ":" in text else name  # a `:` is where a reference is cut


def _output_name(
    tokens: Sequence[re.Match[str]],
) -> tuple[OutputName, Sequence[re.Match[str]]]:
    """Of tokens that begin with `outputs`; and what follows it."""
    step, rest = _member(tokens[1:])
    key, rest = _member(rest)
    if step is None or key is None or (rest and rest[0][0] == "("):
        raise NoOutputName(f"names no output: {_HOW}", tokens[0].start())
    if not is_key(key):
        raise NoOutputName(f"names the output {shown(key)}: a key has {KEYS}", tokens[0].start())
    return OutputName(step, key), rest


def _member(tokens: Sequence[re.Match[str]]) -> tuple[str | None, Sequence[re.Match[str]]]:
    """What `.name` or `["name"]` names, and what follows it."""
    match [token[0] for token in tokens[:3]]:
        case [".", name, *_] if tokens[1].lastgroup == "name":
            return name, tokens[2:]
        case ["[", text, "]"]:
            return plain_text(text), tokens[3:]
    return None, tokens


def values_named(
    names: Iterable[OutputName], by_step: Mapping[str, Mapping[str, str]]
) -> dict[str, dict[str, str]]:
    """Those alone, by step and key; empty text for what was not handed on."""
    found: dict[str, dict[str, str]] = {}
    for name in names:
        value = by_step.get(name.step, {}).get(name.key, "")
        found.setdefault(name.step, {})[name.key] = value
    return found
