"""The files of a work tree that a step's `inputs` name, in a folder of their own.

They are hard links: nobody writes to them, and a tree's files are never changed in place.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from agent.removal import remove_folder
from agent.source_trees import SourceError, WorkTree
from pipelines_schema.input_files import is_input, may_hold_inputs, shown_file


def name_of(inputs: Sequence[str]) -> str:
    """Of the folder, and of what engines keep of it."""
    return hashlib.sha256(json.dumps(list(inputs)).encode()).hexdigest()[:16]


def pick(tree: WorkTree, folder: Path, inputs: Sequence[str]) -> None:
    """Make the folder. Raises SourceError. Blocking."""
    try:
        remove_folder(folder)
        folder.mkdir(parents=True)
        _pick(tree.files, folder, inputs)
    except OSError as error:
        raise SourceError(f"the step's `inputs` can't be laid out: {error}") from error


def _pick(files: Path, folder: Path, inputs: Sequence[str]) -> None:
    for place, below, names in os.walk(files, onerror=_raised):
        inside = os.path.relpath(place, files)
        inside = "" if inside == "." else inside + "/"
        links = [name for name in below if os.path.islink(os.path.join(place, name))]
        chosen = [name for name in [*names, *links] if is_input(inputs, shown_file(inside + name))]
        if chosen:
            os.makedirs(folder / inside, exist_ok=True)
        for name in chosen:
            os.link(os.path.join(place, name), folder / inside / name, follow_symlinks=False)
        below[:] = [
            name
            for name in below
            if name not in links and may_hold_inputs(inputs, shown_file(inside + name))
        ]


def _raised(error: OSError) -> None:
    raise error
