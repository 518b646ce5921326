"""Which language a program is written in, and which of its files is started."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import StrEnum
from pathlib import PurePosixPath

from coordinator.domain.image_builds.python_source import starts_itself
from coordinator.domain.image_builds.refusal import RefusedSources
from coordinator.domain.image_builds.source_files import DOCKERFILE, shown


class Language(StrEnum):
    PYTHON = "python"
    NODE = "node"
    GO = "go"
    STATIC = "static"
    """Files that are served as they are."""
    DOCKERFILE = "dockerfile"
    """Whatever the sources' own Dockerfile says."""


NODE_SUFFIXES = (".js", ".mjs", ".cjs", ".ts", ".mts", ".cts")
SUFFIXES: Mapping[Language, Sequence[str]] = {
    Language.PYTHON: (".py",),
    Language.NODE: NODE_SUFFIXES,
    Language.GO: (".go",),
    Language.STATIC: (".html", ".htm"),
}
MANIFESTS: Mapping[Language, Sequence[str]] = {
    Language.PYTHON: ("requirements.txt", "pyproject.toml"),
    Language.NODE: ("package.json",),
    Language.GO: ("go.mod",),
}
USUAL_STEMS = ("agent", "main", "app", "server", "index", "run", "__main__", "bot")
_GO_MAIN = re.compile(r"^package\s+main\b", re.MULTILINE)
_GO_MAIN_FUNCTION = re.compile(r"^func\s+main\s*\(\s*\)", re.MULTILINE)


def detect_language(files: Mapping[str, str], entry_point: str | None) -> Language:
    """By the entry point, else by the manifests, else by what could be started.

    Raises RefusedSources where the entry point is in no language we start, or where there is
    more than one possibility.
    """
    if DOCKERFILE in files:
        return Language.DOCKERFILE
    if entry_point is not None:
        return _language_of(entry_point)
    possible = [one for one, names in MANIFESTS.items() if any(name in files for name in names)]
    if not possible:
        possible = [one for one in MANIFESTS if _candidates(one, files)]
    if len(possible) > 1:
        startable = [one for one in possible if _can_start(one, files)]
        possible = startable or possible
    if len(possible) > 1:
        raise RefusedSources.of(
            "entry_point",
            f"the files are a {' and a '.join(possible)} program at once: "
            "say by entry_point which file is started",
        )
    return possible[0] if possible else Language.STATIC


def _can_start(language: Language, files: Mapping[str, str]) -> bool:
    if language is Language.NODE and has_start_script(files):
        return True
    return bool(_candidates(language, files))


def _language_of(entry_point: str) -> Language:
    suffix = PurePosixPath(entry_point).suffix.lower()
    for language, suffixes in SUFFIXES.items():
        if suffix in suffixes:
            return language
    known = ", ".join(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
    raise RefusedSources.of(
        "entry_point",
        f"{shown(entry_point)} is in no language that is known here ({known}): "
        "name another file, or add a Dockerfile of your own",
    )


def check_entry_point(files: Mapping[str, str], entry_point: str | None) -> str | None:
    """The entry point as `files` names it. Raises RefusedSources."""
    if entry_point is None:
        return None
    plain = entry_point.removeprefix("./")
    if plain not in files:
        names = ", ".join(shown(name) for name in sorted(files)[:10])
        raise RefusedSources.of(
            "entry_point", f"{shown(entry_point)!r} is not among the files ({names})"
        )
    return plain


def find_entry_point(language: Language, files: Mapping[str, str]) -> str:
    """The file that starts the program. Raises RefusedSources where that can't be told."""
    candidates = _candidates(language, files)
    for stem in USUAL_STEMS:
        usual = [name for name in candidates if PurePosixPath(name).stem == stem]
        if len(usual) == 1:
            return usual[0]
    if len(candidates) == 1:
        return candidates[0]
    which = ", ".join(shown(name) for name in candidates[:10])
    raise RefusedSources.of(
        "entry_point",
        f"any of these may start the program: {which}; say by entry_point which one"
        if candidates
        else f"no file starts this {language} program: name one by entry_point",
    )


def _candidates(language: Language, files: Mapping[str, str]) -> list[str]:
    """Files that may start the program: nearest the root, those that say so themselves first."""
    mine = sorted(name for name in files if name.endswith(tuple(SUFFIXES[language])))
    find: Callable[[Collection[str], Mapping[str, str]], list[str]]
    match language:
        case Language.NODE:
            find = _node_candidates
        case Language.GO:
            find = _go_candidates
        case _:
            find = _python_candidates
    return find(mine, files)


def _python_candidates(mine: Collection[str], files: Mapping[str, str]) -> list[str]:
    top = [name for name in mine if "/" not in name and name not in ("setup.py", "conftest.py")]
    if any(PurePosixPath(name).stem in USUAL_STEMS for name in top) or len(top) == 1:
        return top
    return [name for name in mine if _says_main(files[name])] or top


def _says_main(source: str) -> bool:
    try:
        return starts_itself(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _node_candidates(mine: Collection[str], files: Mapping[str, str]) -> list[str]:
    declared = package_json(files).get("main")
    if isinstance(declared, str) and declared.removeprefix("./") in files:
        return [declared.removeprefix("./")]
    top = [
        name
        for name in mine
        if "/" not in name and ".config." not in name and not name.endswith(".d.ts")
    ]
    return top or [name for name in mine if name.startswith("src/") and name.count("/") == 1]


def _go_candidates(mine: Collection[str], files: Mapping[str, str]) -> list[str]:
    return [
        name
        for name in mine
        if not name.endswith("_test.go")
        and _GO_MAIN.search(files[name])
        and _GO_MAIN_FUNCTION.search(files[name])
    ]


def package_json(files: Mapping[str, str]) -> Mapping[str, object]:
    """The manifest of a Node program; empty where there is none. Raises RefusedSources."""
    text = files.get("package.json")
    if text is None:
        return {}
    try:
        manifest = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RefusedSources.of(
            "files.package.json", f"package.json is not JSON: {error}"
        ) from error
    if not isinstance(manifest, dict):
        raise RefusedSources.of("files.package.json", "package.json must hold a JSON object")
    return manifest


def scripts_of(files: Mapping[str, str]) -> Mapping[str, object]:
    scripts = package_json(files).get("scripts")
    return scripts if isinstance(scripts, dict) else {}


def has_start_script(files: Mapping[str, str]) -> bool:
    return isinstance(scripts_of(files).get("start"), str)


def go_package(entry_point: str) -> str:
    """The folder that holds the entry point, as `go build` takes it."""
    folder = str(PurePosixPath(entry_point).parent)
    return "." if folder == "." else f"./{folder}"
