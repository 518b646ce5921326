"""PyYAML's complaints in words for people: what is wrong and what to write instead.

Both of its parsers (libyaml and pure Python) word the same mistake differently; each phrase below
is one that occurs in one of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import yaml

from pipelines_schema.problem import Place, shown

_NOT_YAML = "this is not valid YAML: check quotes, brackets and the indentation"

_BY_PHRASE: Sequence[tuple[tuple[str, ...], str]] = (
    (
        ("mapping values are not allowed",),
        "a `:` can't stand here: put the text in quotes if the `:` belongs to it, else check "
        "the indentation",
    ),
    (
        ("sequence entries are not allowed",),
        "a list item `- ` can't begin here: put each item on a line of its own, below its key",
    ),
    (
        ("mapping keys are not allowed",),
        "a `?` can't stand here: put the text in quotes",
    ),
    (
        ("expected hexdecimal", "hexadecimal numbers", "Unicode character escape"),
        "this escape needs the hexadecimal digits of one character: `\\x` 2, `\\u` 4, `\\U` 8",
    ),
    (
        (
            "indentation indicator",
            "chomping",
            "expected comment or line break",
            "expected a comment or a line break",
        ),
        "after `|` or `>` only `-`, `+`, an indentation 1 to 9 or a comment may stand: begin the "
        "text on the next line",
    ),
    (
        ("tab character",),
        "a tab can't indent YAML: use spaces",
    ),
    (
        ("incompatible YAML document",),
        "this version of YAML is not supported: remove the `%YAML` line",
    ),
    (
        ("tag handle", "scanning a tag", "parsing a tag"),
        "tags (`!…`) are not supported: remove it, or put the text in quotes if the `!` belongs "
        "to it",
    ),
    (
        ("directive",),
        "directives (lines beginning with `%`) are not needed here: remove it",
    ),
    (
        ("scanning an anchor", "scanning an alias"),
        "after `&` or `*` an anchor's name of letters, digits, `-` and `_` must stand: put the "
        "text in quotes if it is no anchor",
    ),
    (
        ("document start",),
        "the document has ended before this: remove this, or what ended it",
    ),
    (
        ("unexpected ':'",),
        "a `:` can't stand inside this text: put the text in quotes",
    ),
)


def explained(error: yaml.MarkedYAMLError, lines: Sequence[str]) -> tuple[Place, str]:
    """Where a syntax error is, and what to say about it."""
    context, problem = str(error.context or ""), str(error.problem or "")
    place = _clamped(error.problem_mark or error.context_mark, lines)
    opened = _clamped(error.context_mark, lines) if error.context_mark else place
    if "cannot start any token" in problem:
        return place, _cannot_start(_character(place, lines))
    if "quoted scalar" in context and "unexpected" in problem:
        return opened, "the quote that opens here is never closed: add the closing quote"
    if "unknown escape" in problem:
        return place, (
            "this is no escape of a double-quoted text: double the backslash, or use single quotes"
        )
    if "expected ':'" in problem and "simple key" in context:
        return opened, "a `:` is missing after this key: write `key: value`"
    if "flow sequence" in context:
        return place, _unfinished("list", "[", "]", opened)
    if "flow mapping" in context:
        return place, _unfinished("mapping", "{", "}", opened)
    for phrases, message in _BY_PHRASE:
        if any(phrase in problem or phrase in context for phrase in phrases):
            return place, message
    if "block collection" in context or "block sequence" in context:
        return place, (
            f"an item `- …` of the list that begins at {_named(opened)} is expected here: check "
            "the indentation"
        )
    if "block mapping" in context:
        return place, (
            f"a `key: value` of the mapping that begins at {_named(opened)} is expected here: "
            "check the indentation and the quotes"
        )
    if "node content" in problem:
        return place, (
            f"a value is expected here, not {shown(_character(place, lines))}: put the text in "
            "quotes if it belongs to it"
        )
    return place, _NOT_YAML


def _unfinished(what: str, opening: str, closing: str, opened: Place) -> str:
    return (
        f"the {what} opened with `{opening}` at {_named(opened)} needs a `,` or `{closing}` before "
        "this"
    )


def _cannot_start(character: str) -> str:
    if character == "\t":
        return "a tab can't indent YAML: use spaces"
    return f"text can't begin with {shown(character)}: put it in quotes"


def _named(place: Place) -> str:
    return f"line {place.line}, column {place.column}"


def _character(place: Place, lines: Sequence[str]) -> str:
    return lines[place.line - 1][place.column - 1 : place.column] or "the end of the file"


def _clamped(mark: yaml.Mark | None, lines: Sequence[str]) -> Place:
    """The mark as a place; libyaml puts the end of the file on a line that no editor shows."""
    if mark is None:
        return Place(1, 1)
    if mark.line < len(lines):
        return Place(mark.line + 1, min(mark.column, len(lines[mark.line])) + 1)
    return Place(len(lines), len(lines[-1]) + 1)
