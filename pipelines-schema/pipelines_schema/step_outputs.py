"""What a step hands on as values: the lines of its `$PUSHROD_OUTPUT`, and the variables that those
which depend on it find. Pure.

A message names lines and keys, never a value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

OUTPUT_VARIABLE = "PUSHROD_OUTPUT"
MAX_OUTPUT_BYTES = 64 * 1024
"""Of a step."""
MAX_VARIABLE_BYTES = 1024 * 1024
"""Of all that a step is given: a program is not started with more than twice as much."""
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,99}", re.ASCII)
KEYS = "letters, digits, `_`, `-` and `.`, at most 100, the first a letter or `_`"
_BEGINNING = re.compile(r"([^=]*?)(=|<<)(.*)", re.DOTALL)
_NOT_OF_VARIABLES = re.compile(r"[^A-Z0-9_]")
_HOW = "write `key=value`, or `key<<WORD`, lines, and a line that is WORD"
TOO_LARGE = f"a step may write {MAX_OUTPUT_BYTES // 1024} KiB there: put more into `outputPaths`"


class OutputsError(ValueError):
    """For people: what is wrong, and what to write instead."""


def is_key(text: str) -> bool:
    return _KEY.fullmatch(text) is not None


def read_outputs(written: bytes) -> dict[str, str]:
    """The values by their keys; of a key that is written twice, the last. Raises OutputsError."""
    if len(written) > MAX_OUTPUT_BYTES:
        raise OutputsError(f"${OUTPUT_VARIABLE}: {TOO_LARGE}")
    try:
        text = written.decode()
    except UnicodeDecodeError as error:
        number = written.count(b"\n", 0, error.start) + 1
        raise _mistake(number, "this is not UTF-8: encode it, for example by base64") from error
    values: dict[str, str] = {}
    lines = enumerate(text.split("\n"), 1)
    for number, line in lines:
        if line.strip():
            key, value = _entry(number, line, lines)
            values[key] = value
    check_outputs(values)
    return values


def _entry(number: int, line: str, lines: Iterator[tuple[int, str]]) -> tuple[str, str]:
    parts = _BEGINNING.fullmatch(line)
    if parts is None:
        raise _mistake(number, _HOW)
    key, sign, rest = parts.groups()
    if not is_key(key):
        raise _mistake(number, f"this is no key: {KEYS}")
    if sign == "<<":
        rest = _lines_until(rest.strip(), number, lines)
    if "\0" in rest:
        raise _mistake(number, f"the value of `{key}` has a NUL byte, which no variable can hold")
    return key, rest


def _lines_until(word: str, number: int, lines: Iterator[tuple[int, str]]) -> str:
    if not word:
        raise _mistake(number, f"a word is missing after `<<`: {_HOW}")
    found: list[str] = []
    for _, line in lines:
        if line == word:
            return "\n".join(found)
        found.append(line)
    raise _mistake(number, "the line that ends this value, the word after `<<`, never comes")


def check_outputs(values: Mapping[str, str]) -> None:
    """What holds however they were written. Raises OutputsError."""
    variables: dict[str, str] = {}
    for key in values:
        if not is_key(key):
            raise OutputsError(f"${OUTPUT_VARIABLE}: a key is no key: {KEYS}")
        other = variables.setdefault(_part(key), key)
        if other != key:
            raise OutputsError(
                f"${OUTPUT_VARIABLE}: `{other}` and `{key}` become one variable: rename one"
            )
    size = sum(len(key.encode()) + len(value.encode()) for key, value in values.items())
    if size > MAX_OUTPUT_BYTES:
        raise OutputsError(f"${OUTPUT_VARIABLE}: {TOO_LARGE}")


def output_variables(outputs: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """What a script finds, of the steps that it depends on by their names. Raises OutputsError."""
    variables: dict[str, str] = {}
    origins: dict[str, str] = {}
    for step, values in outputs.items():
        for key, value in values.items():
            name, origin = output_variable(step, key), f"`{key}` of step `{step}`"
            if name in variables:
                raise OutputsError(
                    f"the outputs {origins[name]} and {origin} become one variable, {name}: "
                    "rename one"
                )
            variables[name], origins[name] = value, origin
    size = sum(len(name) + len(value.encode()) for name, value in variables.items())
    if size > MAX_VARIABLE_BYTES:
        raise OutputsError(
            f"the outputs of all that this step depends on have {size} bytes, and a script can "
            f"be given {MAX_VARIABLE_BYTES}: put the larger ones into `outputPaths`"
        )
    return variables


def output_variable(step: str, key: str) -> str:
    return f"{OUTPUT_VARIABLE}_{_part(step)}_{_part(key)}"


def _part(name: str) -> str:
    return _NOT_OF_VARIABLES.sub("_", name.upper())


def _mistake(line: int, what: str) -> OutputsError:
    return OutputsError(f"${OUTPUT_VARIABLE}, line {line}: {what}")
