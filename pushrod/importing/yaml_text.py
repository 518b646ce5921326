"""Values → YAML, in the few forms that a workflow is written in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from pipelines_schema.nodes import Kind, plain_kind
from pushrod.importing.draft import Value

_MAX_FLOW = 88
_PLAIN = re.compile(r"[A-Za-z0-9_./~$][A-Za-z0-9_./~$@+=^-]*(?: [A-Za-z0-9_./~$@+=^()-]+)*")
_PLAIN_COLON = re.compile(r"[A-Za-z0-9_./-]+(?::[A-Za-z0-9_.-]+)+")
"""Images, and such."""
_HARMLESS = re.compile(r"(?:[0-9]+[smhd])+|[0-9]+[KMGT]iB|\.{1,2}/?[A-Za-z_][A-Za-z0-9_./-]*")
"""What begins like a number or a mark and is none: durations and paths."""
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_OLD_WORDS = frozenset({"y", "n", "yes", "no", "on", "off"})
_INDENT = "  "


def scalar(value: str | int | bool) -> str:
    """On one line, quoted where it would be read as something else (also by YAML 1.1)."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    plain = _PLAIN.fullmatch(value) or _PLAIN_COLON.fullmatch(value)
    is_text = plain_kind(value) is Kind.TEXT and value.lower() not in _OLD_WORDS
    if plain and is_text and (not re.match(r"[0-9.+-]", value) or _HARMLESS.fullmatch(value)):
        return value
    if '"' in value and "'" not in value and value.isprintable():
        return f"'{value}'"
    return _double_quoted(value)


def _key(name: str) -> str:
    """A word as it is, `on` too: workflows are YAML 1.2."""
    return name if _WORD.fullmatch(name) else scalar(name)


def _double_quoted(text: str) -> str:
    """JSON's, with all escaped that an editor doesn't show."""
    inner = json.dumps(text, ensure_ascii=False)[1:-1]
    return '"' + "".join(map(_visible, inner)) + '"'


def _visible(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def entry(key: str, value: Value, indent: str) -> Iterator[str]:
    """The lines of a key and its value."""
    name = _key(key)
    match value:
        case str() if "\n" in value and _fits_a_block(value):
            yield from _block(name, value, indent)
        case str() | bool() | int():
            yield f"{indent}{name}: {scalar(value)}"
        case _ if (flow := _flow(value)) is not None and len(flow) + len(indent) <= _MAX_FLOW:
            yield f"{indent}{name}: {flow}"
        case Mapping():
            yield f"{indent}{name}:"
            for inner, one in value.items():
                yield from entry(inner, one, indent + _INDENT)
        case _:
            yield f"{indent}{name}:"
            for item in value:
                yield from _item(item, indent + _INDENT)


def _item(value: Value, indent: str) -> Iterator[str]:
    flow = _flow(value)
    if flow is not None and len(flow) + len(indent) <= _MAX_FLOW + 20:
        yield f"{indent}- {flow}"
    elif isinstance(value, Mapping):
        lines = [line for key, one in value.items() for line in entry(key, one, indent + _INDENT)]
        yield f"{indent}- {lines[0].lstrip()}"
        yield from lines[1:]
    else:
        yield f"{indent}- {_whole(value)}"


def _flow(value: Value) -> str | None:
    """On one line; None where a text of several lines is in it."""
    match value:
        case str():
            return None if "\n" in value else scalar(value)
        case bool() | int():
            return scalar(value)
        case Mapping():
            pairs = [(_key(key), _flow(one)) for key, one in value.items()]
            known = [f"{key}: {one}" for key, one in pairs if one is not None]
            return "{" + ", ".join(known) + "}" if len(known) == len(pairs) else None
        case _:
            items = [_flow(one) for one in value]
            known = [one for one in items if one is not None]
            return "[" + ", ".join(known) + "]" if len(known) == len(items) else None


def _whole(value: Value) -> str:
    match value:
        case str() | bool() | int():
            return scalar(value)
        case Mapping():
            return "{" + ", ".join(f"{_key(k)}: {_whole(v)}" for k, v in value.items()) + "}"
        case _:
            return "[" + ", ".join(map(_whole, value)) + "]"


def _fits_a_block(text: str) -> bool:
    """Whether a literal block says exactly this text."""
    first = next((line for line in text.split("\n") if line), "")
    shown = all(one.isprintable() or one in "\n\t" for one in text)
    return shown and not first.startswith((" ", "\t")) and text.strip("\n") != ""


def _block(name: str, text: str, indent: str) -> Iterator[str]:
    lines: Sequence[str] = text.split("\n")
    chomp = "-"
    if lines[-1] == "":
        lines = lines[:-1]
        chomp = "" if lines[-1] else "+"
    yield f"{indent}{name}: |{chomp}"
    for line in lines:
        yield indent + _INDENT + line if line else ""
