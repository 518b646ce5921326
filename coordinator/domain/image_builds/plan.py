"""The whole plan of an image: what is detected, the files of its commit, its name and tag."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from coordinator.domain.image_builds import image_name as naming
from coordinator.domain.image_builds.detection import detect_language, own_dockerfile
from coordinator.domain.image_builds.dockerfile import (
    Bases,
    GoParts,
    Mirrors,
    NodeParts,
    go_dockerfile,
    node_dockerfile,
    python_dockerfile,
    shell_dockerfile,
    static_dockerfile,
)
from coordinator.domain.image_builds.entry_points import (
    FRONT_PAGE,
    check_entry_point,
    find_entry_point,
    go_package,
)
from coordinator.domain.image_builds.languages import Language
from coordinator.domain.image_builds.node_manifest import has_start_script, scripts_of
from coordinator.domain.image_builds.python_program import python_program
from coordinator.domain.image_builds.refusal import RefusedSources
from coordinator.domain.image_builds.source_files import (
    DOCKERFILE,
    IGNORE_FILE,
    check_files,
    is_hidden,
    plain_files,
    shown,
)

_GENERATED_ONLY = (DOCKERFILE, IGNORE_FILE)
"""What the build reads, and the image does not hold."""
GO_VERSION = "1.22"
"""Of a generated go.mod: the language, not the compiler."""
_GO_IMPORTS = re.compile(r'^[ \t]*+(?:import[ \t]++)?(?:[\w.]++[ \t]++)?"([^"\s]++)"', re.MULTILINE)
_LOCKS = ("package-lock.json", "npm-shrinkwrap.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    name: str
    name_field: str = "name"
    """How the request calls it, for messages."""
    files: Mapping[str, str]
    files_field: str = "files"
    entry_point: str | None = None
    requirements: str | None = None
    framework: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePlan:
    language: Language
    entry_point: str | None
    """None where nothing is started by name: static files, a Dockerfile of the program's own."""
    framework: str | None
    files: Mapping[str, str]
    """All of the commit: the request's files and the generated ones."""
    name: str
    tag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Program:
    entry_point: str | None
    framework: str | None = None
    generated: Mapping[str, str]


def plan_image(request: ImageRequest, *, account: str, bases: Bases, mirrors: Mirrors) -> ImagePlan:
    """The same request and settings always make the same plan. Raises RefusedSources."""
    request = replace(request, files=plain_files(request.files))
    check_files(request.files)
    name = naming.image_name(request.name, field=request.name_field)
    entry_point = check_entry_point(request.files, request.entry_point)
    language = detect_language(request.files, entry_point)
    program = _program(language, request, entry_point, bases, mirrors)
    files = {**request.files, **program.generated}
    check_files(files)  # a generated name may be a folder of the request's
    return ImagePlan(
        language=language,
        entry_point=program.entry_point,
        framework=program.framework,
        files=files,
        name=name,
        tag=naming.tag(account=account, agent_name=request.name, files=files),
    )


def _program(
    language: Language,
    request: ImageRequest,
    entry_point: str | None,
    bases: Bases,
    mirrors: Mirrors,
) -> _Program:
    if request.requirements is not None and language is not Language.PYTHON:
        raise RefusedSources.of(
            "requirements", f"requirements are for Python; this is a {language} program"
        )
    if language is Language.DOCKERFILE:
        own = request.files[own_dockerfile(request.files) or DOCKERFILE]
        generated = {} if DOCKERFILE in request.files else {DOCKERFILE: own}
        return _Program(entry_point=entry_point, framework=request.framework, generated=generated)
    if language is Language.STATIC:
        return _static(request.files, entry_point, bases)
    if language is Language.NODE:
        return _node(request, entry_point, bases, mirrors)
    entry_point = entry_point or find_entry_point(language, request.files)
    if language is Language.PYTHON:
        return _python(request, entry_point, bases, mirrors)
    if language is Language.SHELL:
        return _shell(request, entry_point, bases)
    return _go(request, entry_point, bases, mirrors)


def _static(files: Mapping[str, str], entry_point: str | None, bases: Bases) -> _Program:
    """The entry point is the page that its folder shows, and nothing outside of that is served."""
    page = entry_point or find_entry_point(Language.STATIC, files)
    if is_hidden(page):
        raise RefusedSources.of(
            "entry_point",
            f"{shown(page)} begins with a dot, or its folder does: such files are not served",
        )
    folder = PurePosixPath(page).parent
    generated = _generated(files, static_dockerfile(bases.static, str(folder)))
    generated[IGNORE_FILE] = _with_lines(files.get(IGNORE_FILE, ""), *_GENERATED_ONLY, "**/.*")
    front = str(folder / FRONT_PAGE)
    if page != front:
        generated[front] = files[page]
    return _Program(entry_point=entry_point, generated=generated)


def _with_lines(text: str, *lines: str) -> str:
    """The last of the lines of an ignore file decide: no `!` before them brings a file back."""
    kept = text if not text or text.endswith("\n") else f"{text}\n"
    return kept + "".join(f"{line}\n" for line in lines)


def _shell(request: ImageRequest, entry_point: str, bases: Bases) -> _Program:
    """By the interpreter in its first line, with that line's options; bash where it has none."""
    named = request.files[entry_point].startswith("#!")
    command = [f"./{entry_point}"] if named else ["bash", entry_point]
    generated = _generated(request.files, shell_dockerfile(bases.shell, command))
    return _Program(entry_point=entry_point, framework=request.framework, generated=generated)


def _node(
    request: ImageRequest, entry_point: str | None, bases: Bases, mirrors: Mirrors
) -> _Program:
    """By the entry point wanted, else by the manifest's `start` script, else by what is found."""
    if entry_point is None and not has_start_script(request.files):
        entry_point = find_entry_point(Language.NODE, request.files)
    command = ["npm", "start"] if entry_point is None else ["node", entry_point]
    parts = _node_parts(request.files, command, bases, mirrors)
    generated = _generated(request.files, node_dockerfile(parts))
    return _Program(entry_point=entry_point, framework=request.framework, generated=generated)


def _generated(files: Mapping[str, str], dockerfile: str) -> dict[str, str]:
    """The Dockerfile, which is no part of the image itself."""
    added = {DOCKERFILE: dockerfile}
    if IGNORE_FILE not in files:
        added[IGNORE_FILE] = _with_lines("", *_GENERATED_ONLY, "node_modules", "__pycache__")
    return added


def _python(request: ImageRequest, entry_point: str, bases: Bases, mirrors: Mirrors) -> _Program:
    program = python_program(
        request.files,
        entry_point=entry_point,
        requirements=request.requirements,
        framework=request.framework,
    )
    parts = program.parts(bases.python, mirrors.pip_index_url)
    generated = {**_generated(request.files, python_dockerfile(parts)), **program.generated}
    return _Program(entry_point=entry_point, framework=program.framework, generated=generated)


def _node_parts(
    files: Mapping[str, str], command: Sequence[str], bases: Bases, mirrors: Mirrors
) -> NodeParts:
    lock = next((name for name in _LOCKS if name in files), None)
    return NodeParts(
        base=bases.node,
        manifests=["package.json", *([lock] if lock else [])] if "package.json" in files else [],
        locked=lock is not None,
        builds=isinstance(scripts_of(files).get("build"), str),
        command=command,
        npm_registry=mirrors.npm_registry,
    )


def _go(request: ImageRequest, entry_point: str, bases: Bases, mirrors: Mirrors) -> _Program:
    files = request.files
    foreign = any("." in path.split("/")[0] for path in _go_imports(files))
    locked = "go.mod" in files and "go.sum" in files
    parts = GoParts(
        base=bases.go,
        run_base=bases.go_run,
        package=go_package(entry_point),
        locked=locked,
        tidy=foreign and not locked,
        go_proxy=mirrors.go_proxy,
    )
    generated = _generated(files, go_dockerfile(parts))
    if "go.mod" not in files:
        generated["go.mod"] = f"module agent\n\ngo {GO_VERSION}\n"
    return _Program(entry_point=entry_point, framework=request.framework, generated=generated)


def _go_imports(files: Mapping[str, str]) -> list[str]:
    sources = (text for name, text in files.items() if name.endswith(".go"))
    return [path for text in sources for path in _GO_IMPORTS.findall(text)]
