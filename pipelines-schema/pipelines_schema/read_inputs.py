"""The `inputs` of a step → patterns, with every mistake noted."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines_schema.fields import Field, Reading
from pipelines_schema.git_history import GitHistory
from pipelines_schema.limits import MAX_PATHS
from pipelines_schema.patterns import path_pattern_problem
from pipelines_schema.problem import shown
from pipelines_schema.read_git import read_git

INPUTS = "inputs"
_HINT = 'write a list of the files that the step needs, such as `["src/**", pyproject.toml]`'


def read_inputs(reading: Reading, fields: Mapping[str, Field]) -> tuple[str, ...] | None:
    """None where the step has none; an empty list is a step that needs no file of the commit."""
    entry = fields.get(INPUTS)
    if entry is None or entry.is_broken:
        return None
    found: dict[str, None] = {}
    for place, pattern in reading.texts(entry, _HINT, MAX_PATHS, one_allowed=True):
        problem = path_pattern_problem(pattern)
        if problem is not None:
            reading.add(place, f"the pattern {shown(pattern)} of `inputs` {problem}")
        elif pattern in found:
            reading.add(place, f"`inputs` names {shown(pattern)} twice: remove one of them")
        found[pattern] = None
    return tuple(found)


def git_beside(reading: Reading, fields: Mapping[str, Field]) -> GitHistory | None:
    """With `inputs` there is no `.git` unless it is asked for: the commit would count."""
    if INPUTS in fields and "git" not in fields:
        return None
    return read_git(reading, fields.get("git"))
