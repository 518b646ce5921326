"""A Python program: its framework, its requirements, and how it is started."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from coordinator.domain.image_builds import python_source
from coordinator.domain.image_builds.dockerfile import PythonParts
from coordinator.domain.image_builds.packages import normalised, packages_of
from coordinator.domain.image_builds.python_start import PythonStart, python_start
from coordinator.domain.image_builds.refusal import Refusal, RefusedSources
from coordinator.domain.image_builds.source_files import shown

REQUIREMENTS = "requirements.txt"
MAX_REQUIREMENTS_CHARACTERS = 200_000
FRAMEWORKS: Mapping[str, Sequence[str]] = {
    "langgraph": ("langgraph",),
    "langchain": ("langchain",),
    "crewai": ("crewai",),
    "llama-index": ("llama_index",),
    "autogen": ("autogen", "autogen_agentchat", "autogen_core"),
    "openai-agents": ("agents",),
    "google-adk": ("google.adk",),
    "smolagents": ("smolagents",),
    "pydantic-ai": ("pydantic_ai",),
    "anthropic": ("anthropic",),
    "openai": ("openai",),
    "fastapi": ("fastapi",),
    "flask": ("flask",),
    "streamlit": ("streamlit",),
}
"""Known frameworks and the modules that show them; of several the first here is named."""
_ALSO_CALLED = {"llamaindex": "llama-index", "pyautogen": "autogen", "ag2": "autogen"}
_FILE_OPTION = re.compile(r"\s*+(?:-r|-c|--requirement|--constraint)[\s=]++(\S++)\s*+$")
_OWN_FOLDER = re.compile(r"\s*+(?:(?:-e|--editable)[\s=]++)?(?:\.{1,2}(?:/|$|\[|\s)|file:)")
_GLOB = re.compile(r"[*?\[\]$\\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonProgram:
    framework: str | None
    requirement_files: Sequence[str]
    needs_sources: bool
    start: PythonStart
    generated: Mapping[str, str] = field(default_factory=dict)

    def parts(self, base: str, pip_index_url: str | None) -> PythonParts:
        return PythonParts(
            base=base,
            requirement_files=self.requirement_files,
            needs_sources=self.needs_sources,
            command=self.start.command,
            module_folders=self.start.module_folders,
            pip_index_url=pip_index_url,
        )


def python_program(
    files: Mapping[str, str],
    *,
    entry_point: str,
    requirements: str | None,
    framework: str | None,
) -> PythonProgram:
    """Raises RefusedSources."""
    hint = _known_framework(framework)
    names, faults = _imported(files, entry_point)
    listed = _listed_requirements(files, requirements)
    if listed is None and faults:
        raise RefusedSources(faults)
    if listed is None:
        listed = _detected_requirements(files, entry_point, names, hint)
    text = listed.text
    generated = {} if listed.stands_in_files or not text else {REQUIREMENTS: text}
    named, own_folders = _files_named(text, {**files, **generated})
    found = hint or framework or _framework_of(names)
    return PythonProgram(
        framework=found,
        requirement_files=[REQUIREMENTS, *named] if text.strip() else [],
        needs_sources=own_folders,
        start=python_start(files, entry_point, framework=found, requirements=text),
        generated=generated,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Requirements:
    text: str
    stands_in_files: bool = False
    """As requirements.txt, so that none has to be written."""


def _known_framework(hint: str | None) -> str | None:
    plain = normalised(hint or "")
    plain = _ALSO_CALLED.get(plain, plain)
    return plain if plain in FRAMEWORKS else None


def _listed_requirements(files: Mapping[str, str], given: str | None) -> _Requirements | None:
    """The request's own `requirements`, else requirements.txt, else pyproject.toml's."""
    if given is not None:
        if len(given) > MAX_REQUIREMENTS_CHARACTERS:
            raise RefusedSources.of(
                "requirements", f"at most {MAX_REQUIREMENTS_CHARACTERS} characters"
            )
        return _Requirements(text=given if given.endswith("\n") else given + "\n")
    if REQUIREMENTS in files:
        return _Requirements(text=files[REQUIREMENTS], stands_in_files=True)
    declared = _of_pyproject(files)
    return None if declared is None else _Requirements(text=_one_a_line(declared))


def _detected_requirements(
    files: Mapping[str, str], entry_point: str, names: Collection[str], hint: str | None
) -> _Requirements:
    """The packages of what is imported that is neither Python's own nor the program's.

    A hint adds what it names, for a program that loads it in a way we do not see.
    """
    local = python_source.local_modules(files, entry_point)
    foreign = [
        name
        for name in names
        if name.partition(".")[0] not in local and not python_source.is_standard(name)
    ]
    hinted = [FRAMEWORKS[hint][0]] if hint else []
    return _Requirements(text=_one_a_line(packages_of([*foreign, *hinted])))


def _one_a_line(requirements: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in requirements)


def _of_pyproject(files: Mapping[str, str]) -> list[str] | None:
    text = files.get("pyproject.toml")
    if text is None:
        return None
    try:
        project = tomllib.loads(text).get("project", {})
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RefusedSources.of(
            "files.pyproject.toml", f"pyproject.toml is not TOML: {error}"
        ) from error
    listed = project.get("dependencies") if isinstance(project, dict) else None
    if not isinstance(listed, list):
        return None
    if not all(isinstance(one, str) and "\n" not in one for one in listed):
        raise RefusedSources.of(
            "files.pyproject.toml", "pyproject.toml: project.dependencies must be a list of texts"
        )
    return [*listed]


def _imported(files: Mapping[str, str], entry_point: str) -> tuple[set[str], list[Refusal]]:
    """What the program's files import, and which of them can't be read."""
    names: set[str] = set()
    faults: list[Refusal] = []
    left = python_source.MAX_READ_CHARACTERS
    for name, source in files.items():
        if name != entry_point and (not name.endswith(".py") or python_source.is_test(name)):
            continue
        left -= len(source)
        if left < 0:
            limit = python_source.MAX_READ_CHARACTERS
            message = f"more than {limit} characters of Python: send requirements.txt"
            return names, [*faults, Refusal(field="files", message=message)]
        try:
            names |= python_source.imported_names(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            faults.append(Refusal(field=f"files.{shown(name)}", message=_fault(name, error)))
    return names, faults


def _fault(name: str, error: Exception) -> str:
    place = shown(name)
    if isinstance(error, SyntaxError):
        if error.lineno is not None:
            place += f":{error.lineno}" + (f":{error.offset}" if error.offset else "")
        what = error.msg
    else:
        what = str(error) if isinstance(error, ValueError) else "nested too deeply"
    return (
        f"{place}: {what}; its imports can't be read: mend it, or send requirements.txt "
        "(then nothing has to be read)"
    )


def _files_named(text: str, files: Mapping[str, str]) -> tuple[list[str], bool]:
    """Further files that the requirements include, and whether they name our own folders."""
    named: list[str] = []
    waiting, own_folders = [text], False
    while waiting:
        for line in waiting.pop().splitlines():
            own_folders = own_folders or _OWN_FOLDER.match(line) is not None
            found = _FILE_OPTION.match(line)
            if not found:
                continue
            name = found[1].removeprefix("./")
            if name not in files or "/" in name or _GLOB.search(name):
                own_folders = True  # a place of its own, which only the whole tree keeps
            elif name not in named and name != REQUIREMENTS:
                named.append(name)
                waiting.append(files[name])
    return named, own_folders


def _framework_of(names: Collection[str]) -> str | None:
    dotted = [f"{name}." for name in names]
    for framework, modules in FRAMEWORKS.items():
        if any(name.startswith(f"{module}.") for name in dotted for module in modules):
            return framework
    return None
