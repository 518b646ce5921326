"""Which language a program is written in, or why it is none that is built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from coordinator.domain.image_builds.entry_points import UNLIKELY, USUAL_STEMS, unlikelihood
from coordinator.domain.image_builds.languages import BUILT, WHAT_TO_SEND, Language, language_of
from coordinator.domain.image_builds.refusal import RefusedSources
from coordinator.domain.image_builds.source_files import DOCKERFILE, shown

MANIFESTS: Mapping[Language, Sequence[str]] = {
    Language.PYTHON: ("requirements.txt", "pyproject.toml"),
    Language.NODE: ("package.json",),
    Language.GO: ("go.mod",),
}
_OTHERS = {
    "Rust": ("Cargo.toml", ".rs"),
    "Java": ("pom.xml", "build.gradle", ".java"),
    "Kotlin": ("build.gradle.kts", ".kt"),
    "Ruby": ("Gemfile", ".rb"),
    "PHP": ("composer.json", ".php"),
    "Elixir": ("mix.exs", ".ex"),
    "C#": (".csproj", ".cs"),
    "C or C++": ("CMakeLists.txt", ".c", ".cc", ".cpp"),
    "Swift": ("Package.swift", ".swift"),
    "a Jupyter notebook (export it as a .py file)": (".ipynb",),
}
"""Manifests, then suffixes, of what is not built here."""
_USUAL_ABROAD = (*USUAL_STEMS, "program", "lib")


def own_dockerfile(files: Mapping[str, str]) -> str | None:
    """The name of the sources' Dockerfile, in whatever case it is written."""
    if DOCKERFILE in files:
        return DOCKERFILE
    return next((name for name in sorted(files) if name.lower() == DOCKERFILE.lower()), None)


def detect_language(files: Mapping[str, str], entry_point: str | None) -> Language:
    """By the entry point, else by the manifests, else by what could be started.

    Raises RefusedSources where that is in no language that is built, or where there is more than
    one possibility.
    """
    if own_dockerfile(files) is not None:
        return Language.DOCKERFILE
    if entry_point is not None:
        return _of_entry_point(entry_point, files[entry_point])
    by_manifest = [one for one, names in MANIFESTS.items() if any(name in files for name in names)]
    if len(by_manifest) == 1:
        return by_manifest[0]
    found = {one: unlikelihood(one, files) for one in by_manifest or Language}
    least = min(found.values())
    if not by_manifest and (least == UNLIKELY or (least > 0 and _foreign_program(files))):
        raise RefusedSources.of("files", _nothing_to_build(files))
    possible = [one for one, unlikely in found.items() if unlikely == least]
    if len(possible) > 1:
        raise RefusedSources.of(
            "entry_point",
            f"the files are a {' and a '.join(possible)} program at once: "
            "say by entry_point which file is started",
        )
    return possible[0]


def _of_entry_point(entry_point: str, text: str) -> Language:
    found = language_of(entry_point, text)
    if found is not None:
        return found
    raise RefusedSources.of(
        "entry_point",
        f"{shown(entry_point)} is in no language that is known here{_looks_like([entry_point])}: "
        f"{BUILT}; name another file, or add a Dockerfile of your own",
    )


def _nothing_to_build(files: Mapping[str, str]) -> str:
    looks_like = _looks_like(sorted(files))
    return f"no program was found among the files{looks_like}: {BUILT}; {WHAT_TO_SEND}"


def _looks_like(names: Sequence[str]) -> str:
    other = next((found for name in names for found in [_foreign(name)] if found), None)
    return f" (they look like {other})" if other else ""


def _foreign(name: str) -> str | None:
    """The language of a file that is not built here, by its manifest's name or its suffix."""
    file = PurePosixPath(name).name
    for other, signs in _OTHERS.items():
        suffixes = tuple(sign for sign in signs if sign.startswith("."))
        if file in signs or file.lower().endswith(suffixes):
            return other
    return None


def _foreign_program(files: Mapping[str, str]) -> bool:
    """Whether it is one by its manifest at the top, or by a source of a usual name near it.

    Then what else could be started, in a folder or as a page, is its helper.
    """
    return any(_is_manifest_abroad(name) or _is_main_abroad(name) for name in files)


def _is_manifest_abroad(name: str) -> bool:
    return name.endswith(".csproj") or any(name in signs for signs in _OTHERS.values())


def _is_main_abroad(name: str) -> bool:
    usual = PurePosixPath(name).stem.lower() in _USUAL_ABROAD
    return usual and name.count("/") < 2 and _foreign(name) is not None
