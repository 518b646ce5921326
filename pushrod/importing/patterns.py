"""Patterns of branches, tags and files, as conditions. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

_WILD = {"**/": "(.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
_PARTS = re.compile(r"(\*\*/|\*\*|\*|\?)")
_MAX_REGEX = 200


def text(value: str) -> str:
    """As CEL writes a text."""
    return json.dumps(value, ensure_ascii=False)


def matches(variable: str, pattern: str) -> str:
    """A condition: the variable is what a pattern with `*`, `**` and `?` means; `!` negates."""
    is_not = pattern.startswith("!")
    plain = pattern.removeprefix("!")
    if not set(plain) & set("*?"):
        return f"{variable} {'!=' if is_not else '=='} {text(plain)}"
    regex = "".join(_WILD.get(part) or re.escape(part) for part in _PARTS.split(plain) if part)
    return f"{'!' if is_not else ''}{variable}.matches({text(f'^{regex}$')})"


def one_of(variable: str, values: Sequence[str]) -> str:
    """A condition: the variable is one of the values, which are no patterns."""
    if len(values) == 1:
        return f"{variable} == {text(values[0])}"
    return f"{variable} in [{', '.join(map(text, values))}]"


def changed(patterns: Sequence[str]) -> str:
    """A condition: one of these files differs."""
    return f"changed({', '.join(map(text, patterns))})"


def regex(variable: str, written: str) -> str | None:
    """A condition for a regular expression between slashes; None where it is none that can be kept
    (repetitions by number are costly)."""
    found = re.fullmatch(r"/(.*)/(i?)", written, re.DOTALL)
    if found is None or len(found[1]) > _MAX_REGEX or re.search(r"\{\d|\(\?[=!<]", found[1]):
        return None
    inner = found[1].replace("\\/", "/")
    return f"{variable}.matches({text(('(?i)' if found[2] else '') + inner)})"
