"""What is wrong with a field of a request, in words that say what to write instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic_core import ErrorDetails

_Facts = Mapping[str, Any]

_WORDS: Mapping[str, Callable[[_Facts], str]] = {
    "missing": lambda _: "it is missing, and has to be given",
    "string_type": lambda _: "write text",
    "string_too_short": lambda facts: _at_least(facts["min_length"], "character"),
    "string_too_long": lambda facts: f"write at most {facts['max_length']:,} characters",
    "string_pattern_mismatch": lambda facts: f"write what matches {facts['pattern']}",
    "bool_type": lambda _: "write true or false",
    "bool_parsing": lambda _: "write true or false",
    "int_type": lambda _: "write a whole number",
    "int_parsing": lambda _: "write a whole number",
    "int_from_float": lambda _: "write a whole number",
    "int_parsing_size": lambda _: "write a smaller number",
    "float_type": lambda _: "write a number",
    "float_parsing": lambda _: "write a number",
    "greater_than": lambda facts: f"write a number above {facts['gt']}",
    "greater_than_equal": lambda facts: f"write a number of at least {facts['ge']}",
    "less_than": lambda facts: f"write a number below {facts['lt']}",
    "less_than_equal": lambda facts: f"write a number of at most {facts['le']}",
    "list_type": lambda _: "write a list",
    "tuple_type": lambda _: "write a list",
    "dict_type": lambda _: "write an object",
    "model_type": lambda _: "write an object",
    "model_attributes_type": lambda _: "write an object",
    "literal_error": lambda facts: f"write {facts['expected']}",
    "enum": lambda facts: f"write {facts['expected']}",
    "too_short": lambda facts: _at_least(facts["min_length"], "entry", "entries"),
    "too_long": lambda facts: f"write at most {facts['max_length']:,} entries",
}


def in_words(problem: ErrorDetails) -> str:
    """Of a problem with its context; what has no words of ours is told in pydantic's."""
    words = _WORDS.get(problem["type"])
    if words is None:
        return problem["msg"].removeprefix("Value error, ")
    return words(problem.get("ctx", {}))


def _at_least(count: int, one: str, many: str | None = None) -> str:
    if count == 1:
        return "it must not be empty"
    return f"write at least {count:,} {many or f'{one}s'}"
