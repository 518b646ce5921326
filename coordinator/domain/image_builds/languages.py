"""The languages that images are built of, and which of them a file is written in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import PurePosixPath


class Language(StrEnum):
    PYTHON = "python"
    NODE = "node"
    GO = "go"
    SHELL = "shell"
    STATIC = "static"
    """Pages that are served as they are."""
    DOCKERFILE = "dockerfile"
    """Whatever the sources' own Dockerfile says."""


NODE_SUFFIXES = (".js", ".mjs", ".cjs", ".ts", ".mts", ".cts")
SUFFIXES: Mapping[Language, Sequence[str]] = {
    Language.PYTHON: (".py",),
    Language.NODE: NODE_SUFFIXES,
    Language.GO: (".go",),
    Language.SHELL: (".sh", ".bash"),
    Language.STATIC: (".html", ".htm"),
}
BUILT = (
    "built are Python (.py), Node (.js, .mjs, .cjs, .ts, .mts, .cts), Go (.go), shell scripts "
    "(.sh, or `#!/bin/bash`) and static pages (index.html)"
)
WHAT_TO_SEND = "name by entry_point the file that is started, or add a Dockerfile of your own"
_BY_SUFFIX = {suffix: one for one, suffixes in SUFFIXES.items() for suffix in suffixes}
_INTERPRETERS = {
    "python": Language.PYTHON,
    "node": Language.NODE,
    "nodejs": Language.NODE,
    "bash": Language.SHELL,
    "sh": Language.SHELL,
    "dash": Language.SHELL,
}


def language_of(name: str, text: str) -> Language | None:
    """By the suffix, else by the interpreter in a script's first line; None for any other file."""
    suffix = PurePosixPath(name).suffix.lower()
    program = interpreter(text)
    if suffix in SUFFIXES[Language.SHELL] and program is not None:
        return _INTERPRETERS.get(program)  # what the kernel starts, whatever the name says
    return _BY_SUFFIX.get(suffix) or _INTERPRETERS.get(program or "")


def interpreter(text: str) -> str | None:
    """The program of a `#!` line without its version: `#!/usr/bin/env python3` → `python`."""
    if not text.startswith("#!"):
        return None
    words = text[2:].partition("\n")[0].split()
    if words and PurePosixPath(words[0]).name == "env":
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    return PurePosixPath(words[0]).name.rstrip("0123456789.") if words else None
