"""What an engine has collected, read from the disk: files, links and folders."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from agent.artifact_errors import ArtifactError
from agent.engines.output_paths import name_problem
from pipelines_schema.contract_outputs import OutputFolder, OutputLink


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFile:
    path: Path
    name: str
    """Relative, `/` separated."""
    mode: int
    size: int
    modified: int
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputTree:
    """All by name."""

    files: list[FoundFile] = field(default_factory=list)
    links: list[OutputLink] = field(default_factory=list)
    folders: list[OutputFolder] = field(default_factory=list)


def read_tree(root: Path) -> OutputTree:
    """Blocking. Raises ArtifactError for a name that can't be sent."""
    tree = OutputTree()
    todo = [root]
    while todo:
        with os.scandir(todo.pop()) as entries:
            for entry in entries:
                if _add(tree, root, entry):
                    todo.append(Path(entry.path))
    for found in (tree.files, tree.links, tree.folders):
        found.sort(key=lambda one: one.name)
    return tree


def _add(tree: OutputTree, root: Path, entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder."""
    name = os.path.relpath(entry.path, root)
    if problem := name_problem(name):
        shown = os.fsencode(name).decode("utf-8", "backslashreplace")
        raise ArtifactError(f"the output {shown} {problem}: it can't be stored")
    status = entry.stat(follow_symlinks=False)
    mode = stat.S_IMODE(status.st_mode) & 0o777
    if stat.S_ISDIR(status.st_mode):
        tree.folders.append(OutputFolder(name=name, mode=mode))
        return True
    if stat.S_ISLNK(status.st_mode):
        tree.links.append(OutputLink(name=name, target=os.readlink(entry.path)))
    elif stat.S_ISREG(status.st_mode):
        tree.files.append(
            FoundFile(
                path=Path(entry.path),
                name=name,
                mode=mode,
                size=status.st_size,
                modified=int(status.st_mtime),
            )
        )
    return False
