"""Pieces of scripts: texts and values put so that bash takes them for what they are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from pipelines_schema.limits import ENVIRONMENT_NAME
from pushrod.importing.expansions import OPENING, pieces

_SPECIAL = re.compile(r'([\\$`"])')
_NOT_EXPANDED = re.compile(r'[\\`"]|\$\$|\$(?![A-Za-z_{])')
_HEREDOC = re.compile(r"<<-?\s*(\\?)(['\"]?)([A-Za-z_][A-Za-z0-9_]*)\2")
_VARIABLE = re.compile(ENVIRONMENT_NAME)
_END = "IMPORTED_SCRIPT"


class Quoting(Enum):
    """What a place of a script stands in."""

    NONE = "none"
    SINGLE = "single"
    DOUBLE = "double"
    COMMENT = "comment"
    LITERAL = "literal"
    """A heredoc in which nothing is expanded."""


@dataclass(frozen=True, slots=True)
class Expansion:
    """What stands for an expression in a script: the inside of double quotes."""

    text: str
    splits: bool = False
    """Whether it may become several words where it stands without quotes, as its author wrote it
    in the same file. What outsiders write may not."""


def failing(why: str) -> str:
    """A script that says what is missing, and fails."""
    return f"echo {shlex.quote(f'not imported: {why}')} >&2\nexit 1\n"


def warning(why: str) -> str:
    """A line that says what is missing, and goes on."""
    return f"echo {shlex.quote(f'not imported: {why}')} >&2\n"


def inside_double_quotes(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text)


def exported(name: str, inner: str) -> str:
    """`inner` is the inside of double quotes."""
    if not _VARIABLE.fullmatch(name):
        return warning(f"the variable {name}, a name that bash has none of")
    return f'export {name}="{inner}"\n'


def with_variables(script: str, variables: Mapping[str, str], skipped: Iterable[str] = ()) -> str:
    """Lines that set those of other system's variables that the script names, from ours."""
    words = set(re.findall(r"[A-Za-z_][A-Za-z0-9_]*", script)) - set(skipped)
    return "".join(exported(name, text) for name, text in variables.items() if name in words)


def unknown_variables(script: str, pattern: re.Pattern[str], known: Iterable[str]) -> Sequence[str]:
    """Those of another system's variables that nothing stands for here."""
    return sorted(set(pattern.findall(script)) - set(known))


def expanded(script: str, expansion: Callable[[str], Expansion]) -> tuple[str, bool]:
    """The script with an expansion for each `${{ … }}`; and whether one stands where bash expands
    nothing, and so is not replaced."""
    parts: list[str] = []
    stuck = False
    state = _State()
    for text, expression in pieces(script):
        state.read(text)
        parts.append(text)
        if expression is None:
            continue
        found = expansion(expression)
        quoting = state.quoting
        stuck = stuck or quoting is Quoting.LITERAL
        parts.append(_placed(found, quoting))
    return "".join(parts), stuck


def _placed(found: Expansion, quoting: Quoting) -> str:
    inner = found.text
    match quoting:
        case Quoting.SINGLE:
            return f"'\"{inner}\"'"
        case Quoting.NONE:
            return inner if found.splits or not inner else f'"{inner}"'
        case Quoting.COMMENT | Quoting.LITERAL:
            return inner.replace(OPENING, "$ {{") if quoting is Quoting.COMMENT else inner
        case Quoting.DOUBLE:
            return inner


class _State:
    """Follows a script's quotes, comments and heredocs, as far as they tell what expands."""

    def __init__(self) -> None:
        self._in = Quoting.NONE
        self._ends: list[tuple[str, bool]] = []
        """Of the heredocs that begin at the next line, and whether they expand."""
        self._heredoc: tuple[str, bool] | None = None
        self._line = ""

    @property
    def quoting(self) -> Quoting:
        if self._heredoc is not None:
            return Quoting.DOUBLE if self._heredoc[1] else Quoting.LITERAL
        return self._in

    def read(self, text: str) -> None:
        position = 0
        while position < len(text):
            position += self._step(text, position)

    def _step(self, text: str, position: int) -> int:
        """Takes one character, or an escaped pair; says how many it were."""
        one = text[position]
        if one == "\n":
            self._end_line()
            return 1
        before, self._line = self._line[-1:], self._line + one
        if self._heredoc is not None:
            return 1
        if one == "\\" and self._in in (Quoting.NONE, Quoting.DOUBLE):
            return 1 if text[position + 1 : position + 2] == "\n" else 2
        if one == "'" and self._in in (Quoting.NONE, Quoting.SINGLE):
            self._in = Quoting.SINGLE if self._in is Quoting.NONE else Quoting.NONE
        elif one == '"' and self._in in (Quoting.NONE, Quoting.DOUBLE):
            self._in = Quoting.DOUBLE if self._in is Quoting.NONE else Quoting.NONE
        elif one == "#" and self._in is Quoting.NONE and before in ("", " ", "\t", ";"):
            self._in = Quoting.COMMENT
        elif one == "<" and self._in is Quoting.NONE and (found := _HEREDOC.match(text, position)):
            self._ends.append((found[3], not found[1] and not found[2]))
            self._line += found[0][1:]
            return len(found[0])
        return 1

    def _end_line(self) -> None:
        line, self._line = self._line, ""
        if self._in is Quoting.COMMENT:
            self._in = Quoting.NONE
        if self._heredoc is not None and line.strip() == self._heredoc[0]:
            self._heredoc = None
        if self._heredoc is None and self._ends and self._in is Quoting.NONE:
            self._heredoc = self._ends.pop(0)


def subshell(
    script: str, exports: str = "", folder: str | None = None, may_fail: bool = False
) -> str:
    """The script in a shell of its own, in a folder; its failure ends all unless it may fail."""
    body = exports
    if folder is not None:
        body += f'cd "{folder}"\n'
    inner = f"(\n{body}{script.rstrip()}\n)\n"
    if may_fail:
        # Not `( … ) || true`: there bash would pass over each failing line in it.
        return f"set +e\n(\nset -e\n{body}{script.rstrip()}\n)\nset -e\n"
    return inner


def interpreted(script: str, program: str) -> str:
    """The script given to another program by a file."""
    end = _END
    while end in script:
        end += "_"
    return f"{program} /dev/stdin <<'{end}'\n{script.rstrip()}\n{end}\n"


def joined(commands: Iterable[str]) -> str:
    """One command a line, as they stand in a list."""
    return "".join(command.rstrip("\n") + "\n" for command in commands)


def with_ending(script: str, ending: str) -> str:
    """`ending` runs in a shell of its own when the script has ended, however that was; its own
    failure counts for nothing."""
    if not ending:
        return script
    head = "at_end() {\ncode=$?\ntrap - EXIT\nset +e\n"
    return f'{head}(\n{ending.rstrip()}\n)\nexit "$code"\n}}\ntrap at_end EXIT\n{script}'


def kept_expansions(text: str) -> str:
    """The inside of double quotes for a value in which `$NAME` is meant to be expanded, and nothing
    else: `$$` is a dollar sign, and `$(…)` is no command there."""
    return _NOT_EXPANDED.sub(lambda found: "\\" + found[0][-1], text)
