"""Which names a file of a request may have: they become paths of a commit and of an image."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from coordinator.domain.image_builds.refusal import Refusal, RefusedSources

MAX_FILES = 1000
MAX_NAME_BYTES = 1000
MAX_PART_BYTES = 255
MAX_DEPTH = 30
SHOWN_REFUSALS = 20
DOCKERFILE = "Dockerfile"
IGNORE_FILE = ".dockerignore"

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_GIT_FOLDER = re.compile(r"(\.git|git~[0-9]+)[. ]*(:.*)?", re.IGNORECASE)
"""As some file system would write `.git`: git itself refuses these in a tree."""
_HERE = re.compile(r"^(?:\./)++(?=.)", re.DOTALL)
_READ_BY_GIT = (".gitattributes", ".gitmodules")


def check_files(files: Mapping[str, str]) -> None:
    """Raises RefusedSources, naming up to SHOWN_REFUSALS files."""
    if not files:
        raise RefusedSources.of("files", "files is empty: send at least the program's own file")
    if len(files) > MAX_FILES:
        raise RefusedSources.of(
            "files", f"{len(files)} files, the most is {MAX_FILES}: leave out what is installed"
        )
    refusals = [
        Refusal(field=f"files.{shown(name)}", message=f"{shown(name)}: {problem}")
        for name in files
        for problem in [name_problem(name) or _clash(name, files)]
        if problem
    ]
    if refusals:
        raise RefusedSources(refusals[:SHOWN_REFUSALS])


def plain_files(files: Mapping[str, str]) -> dict[str, str]:
    """The same with `./a.py` called `a.py`. Raises RefusedSources where that is there too."""
    plain: dict[str, str] = {}
    for name, text in files.items():
        if plain.setdefault(plain_name(name), text) != text:
            message = f"{shown(name)}: {shown(plain_name(name))} is there too: send one of them"
            raise RefusedSources.of(f"files.{shown(name)}", message)
    return plain


def plain_name(name: str) -> str:
    return _HERE.sub("", name)


def is_hidden(name: str) -> bool:
    """Whether it, or a folder that it is in, begins with a dot."""
    return any(part.startswith(".") for part in name.split("/"))


def shown(name: str) -> str:
    """As it may stand in a message: one line, not too long."""
    return _CONTROL.sub("?", name)[:200]


def name_problem(name: str) -> str | None:
    """Why it can't be the name of a file, and what to write; None if it can."""
    if not name:
        return "a file needs a name"
    if len(name.encode("utf-8", "replace")) > MAX_NAME_BYTES:
        return f"the name is longer than {MAX_NAME_BYTES} bytes"
    if _CONTROL.search(name):
        return "a name holds no control characters"
    if "\\" in name:
        return "write folders with `/`, not with a backslash"
    if name.startswith("/"):
        return "the name must be relative to the program's folder, without a `/` at its start"
    return next(_part_problems(name.split("/")), None)


def _part_problems(parts: list[str]) -> Iterator[str]:
    if len(parts) > MAX_DEPTH:
        yield f"folders are at most {MAX_DEPTH} deep"
    for part in parts:
        if part in ("", ".", ".."):
            yield "write the path without empty parts, `.` and `..`"
        if len(part.encode("utf-8", "replace")) > MAX_PART_BYTES:
            yield f"a part of the path is at most {MAX_PART_BYTES} bytes long"
        if _GIT_FOLDER.fullmatch(part):
            yield "git's own folder can't be part of an image: leave it out"
        if part.lower() in _READ_BY_GIT:
            yield "git would read this file instead of keeping it: leave it out"


def _clash(name: str, files: Mapping[str, str]) -> str | None:
    for folder in PurePosixPath(name).parents:
        if str(folder) in files:
            return f"{shown(str(folder))} can't be a file and a folder at once"
    return None
