"""Which of a program's files is the one that is started."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath

from coordinator.domain.image_builds.languages import WHAT_TO_SEND, Language, language_of
from coordinator.domain.image_builds.node_manifest import has_start_script, package_json
from coordinator.domain.image_builds.python_source import is_test, starts_itself
from coordinator.domain.image_builds.refusal import RefusedSources
from coordinator.domain.image_builds.source_files import is_hidden, plain_name, shown

USUAL_STEMS = ("__main__", "agent", "main", "app", "server", "index", "run", "bot")
"""Of several that are there, the first is started."""
FRONT_PAGE = "index.html"
PAGES = (FRONT_PAGE, "index.htm")
UNLIKELY = 9
"""Worse than the place of any candidate."""
_SETTINGS = ("__init__.py", "config.py", "settings.py")
"""Beside a program these never are it."""
_TOOLS = ("setup.py", "conftest.py", "noxfile.py")
_GO_MAIN = re.compile(r"^package\s+main\b", re.MULTILINE)
_GO_MAIN_FUNCTION = re.compile(r"^func\s+main\s*\(\s*\)", re.MULTILINE)
_NODE_TOOL = re.compile(r"\.(config|test|spec)\.[a-z]+$|\.d\.[cm]?ts$")
_SCRIPT_OF_PAGE = re.compile(r"""<script\b[^>]*?\bsrc\s*=\s*["']?(?:\./|/)?([^"'\s>?#]+)""", re.I)


def check_entry_point(files: Mapping[str, str], entry_point: str | None) -> str | None:
    """The entry point as `files` names it. Raises RefusedSources."""
    if entry_point is None:
        return None
    plain = plain_name(entry_point)
    if plain not in files:
        names = ", ".join(shown(name) for name in sorted(files)[:10])
        raise RefusedSources.of(
            "entry_point", f"{shown(entry_point)!r} is not among the files ({names})"
        )
    return plain


def find_entry_point(language: Language, files: Mapping[str, str]) -> str:
    """The file that starts the program. Raises RefusedSources where that can't be told."""
    found = candidates(language, files)
    for stem in USUAL_STEMS:
        usual = [name for name in found if PurePosixPath(name).stem == stem]
        top = [name for name in usual if "/" not in name]
        if len(usual) == 1 or len(top) == 1:
            return (top or usual)[0]
    if len(found) == 1:
        return found[0]
    which = ", ".join(shown(name) for name in found[:10])
    raise RefusedSources.of(
        "entry_point",
        f"any of these may start the program: {which}; say by entry_point which one"
        if found
        else f"no file starts this {language} program: {WHAT_TO_SEND}",
    )


def unlikelihood(language: Language, files: Mapping[str, str]) -> int:
    """How little speaks for a program of that language, by the best place of a candidate.

    0 for a usual name at the top, UNLIKELY where there is no candidate. A script or a page that
    stands beside a program is its helper, so those come after.
    """
    if language is Language.NODE and has_start_script(files):
        return 0
    helper = {Language.SHELL: 3, Language.STATIC: 3}.get(language, 0)
    return min((_place(name) + helper for name in candidates(language, files)), default=UNLIKELY)


def _place(name: str) -> int:
    usual = PurePosixPath(name).stem in USUAL_STEMS
    return (0 if usual else 2) if "/" not in name else (1 if usual else 2) * 2


def candidates(language: Language, files: Mapping[str, str]) -> list[str]:
    """Files that may start the program: nearest the top, those that say so themselves first."""
    find: Callable[[Sequence[str], Mapping[str, str]], list[str]]
    match language:
        case Language.PYTHON:
            find = _python_candidates
        case Language.NODE:
            find = _node_candidates
        case Language.GO:
            find = _go_candidates
        case Language.STATIC:
            find = _pages
        case _:
            find = _nearest
    mine = [name for name, text in files.items() if language_of(name, text) is language]
    return find(sorted(name for name in mine if not is_hidden(name)), files)


def _nearest(mine: Sequence[str], files: Mapping[str, str]) -> list[str]:
    """Those at the top, else those of a usual name in a folder, else whatever there is."""
    top = [name for name in mine if "/" not in name]
    return top or [name for name in mine if PurePosixPath(name).stem in USUAL_STEMS] or [*mine]


def _python_candidates(mine: Sequence[str], files: Mapping[str, str]) -> list[str]:
    able = [name for name in mine if not is_test(name)]
    able = able or [name for name in mine if "/" not in name and name not in _TOOLS]
    able = [name for name in able if PurePosixPath(name).name not in _SETTINGS] or able
    top = [name for name in able if "/" not in name]
    if any(PurePosixPath(name).stem in USUAL_STEMS for name in top) or len(top) == 1:
        return top
    return [name for name in able if _says_main(name, files[name])] or _nearest(able, files)


def _says_main(name: str, source: str) -> bool:
    if PurePosixPath(name).name == "__main__.py":
        return True
    try:
        return starts_itself(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _node_candidates(mine: Sequence[str], files: Mapping[str, str]) -> list[str]:
    declared = package_json(files).get("main")
    if isinstance(declared, str) and plain_name(declared) in files:
        return [plain_name(declared)]
    of_pages = _scripts_of_pages(files)
    able = [
        name
        for name in mine
        if not _NODE_TOOL.search(name) and not any(f"/{name}".endswith(one) for one in of_pages)
    ]
    if of_pages and "package.json" not in files:  # the rest may be what those scripts import
        able = [name for name in able if PurePosixPath(name).stem in USUAL_STEMS]
    return _nearest(able, files)


def _scripts_of_pages(files: Mapping[str, str]) -> tuple[str, ...]:
    """What pages load runs in a browser."""
    pages = (text for name, text in files.items() if name.lower().endswith((".html", ".htm")))
    return tuple({f"/{path}" for text in pages for path in _SCRIPT_OF_PAGE.findall(text)})


def _go_candidates(mine: Sequence[str], files: Mapping[str, str]) -> list[str]:
    return [
        name
        for name in mine
        if not name.endswith("_test.go")
        and _GO_MAIN.search(files[name])
        and _GO_MAIN_FUNCTION.search(files[name])
    ]


def _pages(mine: Sequence[str], files: Mapping[str, str]) -> list[str]:
    """Front pages, those nearest the top."""
    if FRONT_PAGE in files:
        return [FRONT_PAGE]
    found = [name for name in mine if PurePosixPath(name).name.lower() in PAGES]
    depth = min((name.count("/") for name in found), default=0)
    return [name for name in found if name.count("/") == depth]


def go_package(entry_point: str) -> str:
    """The folder that holds the entry point, as `go build` takes it."""
    folder = str(PurePosixPath(entry_point).parent)
    return "." if folder == "." else f"./{folder}"
