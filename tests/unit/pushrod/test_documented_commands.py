"""Every command of ours that README and docs/ name is one that the program takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pushrod.cli import pushrod

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCED = re.compile(r"^ *```.*?\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(pushrod [^`\n]+)`")
COMMAND = re.compile(r"(?:^|[\s;(/])(pushrod +(?:-|[a-z]).*)")
ENDS = frozenset(("|", "||", "&&", ";", "&", ">", ">>", "<", "2>", "2>&1"))
OMITTED = re.compile(r"…|\.\.\.|\w\||\[|/pushrod$")
"""Of more than one command, or with something left out."""


def commands() -> Iterator[tuple[str, str]]:
    """Each with its page."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in FENCED.findall(text):
            for line in block.replace("\\\n", " ").splitlines():
                found = COMMAND.search(line)
                is_ours = not line.lstrip().startswith("git ")  # where it is a remote's name
                if found and is_ours and not OMITTED.search(found[1]):
                    yield page.name, found[1]
        yield from (
            (page.name, found) for found in INLINE.findall(text) if not OMITTED.search(found)
        )


def words_of(command: str) -> list[str]:
    lexer = shlex.shlex(command, posix=True, punctuation_chars="<>|&;()")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if word in ENDS or set(word) <= set("<>|&;()"):
            break
        words.append(word)
    return words[1:]


def refusal(words: list[str]) -> str | None:
    """Why the program would refuse the line, whatever stands in files and variables."""
    command: click.Command = pushrod
    context = click.Context(pushrod, info_name="pushrod")
    while True:
        parser = command.make_parser(context)
        try:
            _, rest, _ = parser.parse_args(list(words))
        except click.UsageError as error:
            return error.format_message()
        if not isinstance(command, click.Group):
            return None
        if not rest:
            return None  # the group itself is spoken of
        found = command.get_command(context, rest[0])
        if found is None:
            return f"no command {rest[0]!r} in {command.name!r}"
        command, words = found, rest[1:]
        context = click.Context(command, parent=context, info_name=rest[0])


@pytest.mark.parametrize(("page", "command"), sorted(set(commands())))
def test_a_documented_command_is_one_that_there_is(page: str, command: str) -> None:
    assert refusal(words_of(command)) is None


@pytest.mark.parametrize(
    "command",
    ["pushrod projects list", "pushrod build create --colour x", "pushrod token make x > file"],
)
def test_another_is_found_out(command: str) -> None:
    assert refusal(words_of(command)) is not None


def test_many_are_looked_at() -> None:
    assert len(set(commands())) > 80
