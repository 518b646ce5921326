"""How a Python program is started: as a file, as a module of its package, or by its server."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from coordinator.domain.image_builds import python_source
from coordinator.domain.image_builds.dockerfile import PORT

_FASTAPI_COMMAND = re.compile(r"^[ \t]*+fastapi(\[(all|standard)[\],]|-cli\b)", re.MULTILINE)
_PLAIN_FOLDER = re.compile(r"[A-Za-z0-9_./-]+")
"""What stands in a Dockerfile without quotes."""
_TOP = PurePosixPath(".")


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonStart:
    command: Sequence[str]
    module_folders: Sequence[str]
    """Of a program in a folder: those above it, nearest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """What is asked of the file that is started."""

    calls: Mapping[str, str]
    starts_itself: bool
    relative_level: int
    imports: frozenset[str]


def python_start(
    files: Mapping[str, str], entry_point: str, *, framework: str | None, requirements: str
) -> PythonStart:
    folders = [str(folder) for folder in PurePosixPath(entry_point).parent.parents]
    return PythonStart(
        command=_command(files, entry_point, framework, requirements),
        module_folders=[folder for folder in folders if _PLAIN_FOLDER.fullmatch(folder)],
    )


def _command(
    files: Mapping[str, str], entry_point: str, framework: str | None, requirements: str
) -> list[str]:
    """A file that starts itself is run; an application object is given to its server."""
    if framework == "streamlit":
        port, address = f"--server.port={PORT}", "--server.address=0.0.0.0"
        return ["streamlit", "run", entry_point, port, address]
    try:
        source = _read(files[entry_point])
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ["python", entry_point]
    made = source.calls.items()
    application = next((name for name, word in made if word in ("FastAPI", "Flask")), None)
    module = _module(files, PurePosixPath(entry_point), source)
    if source.starts_itself or not application or "." in PurePosixPath(entry_point).stem:
        return ["python", "-m", module[1]] if module else ["python", entry_point]
    path = PurePosixPath(entry_point).with_suffix("")
    if source.calls[application] == "Flask":
        app = [f"--app={path}:{application}"]
        return ["flask", *app, "run", "--host=0.0.0.0", f"--port={PORT}"]
    if _FASTAPI_COMMAND.search(requirements):  # its command is installed, not only its library
        return ["fastapi", "run", entry_point, "--host=0.0.0.0", f"--port={PORT}"]
    root, dotted = module or (str(path.parent), path.name)
    return [
        "uvicorn",
        f"--app-dir={root}",
        f"{dotted}:{application}",
        "--host=0.0.0.0",
        f"--port={PORT}",
    ]


def _read(text: str) -> _Source:
    return _Source(
        calls=python_source.assigned_calls(text),
        starts_itself=python_source.starts_itself(text),
        relative_level=python_source.relative_level(text),
        imports=frozenset(python_source.imported_names(text)),
    )


def _module(
    files: Mapping[str, str], path: PurePosixPath, source: _Source
) -> tuple[str, str] | None:
    """The folder that the package is in, and the dotted name to start; None for a plain script.

    A module of a package is what has relative imports, and a `__main__.py` whose imports don't
    name files beside it.
    """
    level = source.relative_level
    if level == 0 and (path.name != "__main__.py" or _imports_neighbours(files, path, source)):
        return None
    root, up = path.parent, 0
    while root != _TOP and (up < max(level, 1) or f"{root}/__init__.py" in files):
        root, up = root.parent, up + 1
    parts = path.relative_to(root).with_suffix("").parts
    importable = _PLAIN_FOLDER.fullmatch(str(root)) and all(part.isidentifier() for part in parts)
    if up < max(level, 1) or not importable:
        return None
    return str(root), ".".join(parts[:-1] if parts[-1] == "__main__" else parts)


def _imports_neighbours(files: Mapping[str, str], path: PurePosixPath, source: _Source) -> bool:
    """Whether it imports a file of its folder as if it stood at the top."""
    wanted = {name.partition(".")[0] for name in source.imports}
    beside = {name for name in wanted if f"{path.parent / name}.py" in files}
    above = path.parent.parents
    return any(all(f"{folder / name}.py" not in files for folder in above) for name in beside)
