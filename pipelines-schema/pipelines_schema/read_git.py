"""The `git` of a step → `GitHistory`, with every mistake noted."""

from __future__ import annotations

from pipelines_schema.fields import Field, Reading, Vocabulary
from pipelines_schema.git_history import DEFAULT_GIT, FULL_GIT, GitHistory
from pipelines_schema.limits import MAX_GIT_DEPTH
from pipelines_schema.nodes import Kind, MapNode, ScalarNode, integer
from pipelines_schema.problem import shown
from pipelines_schema.read_endings import read_boolean

GIT = Vocabulary(
    where="`git`",
    known=("depth", "tags"),
    synonyms={
        "fetchDepth": "write `depth`",
        "fetch-depth": "write `depth`",
        "fetchTags": "write `tags`",
        "fetch-tags": "write `tags`",
        "submodules": "they are there by themselves",
        "lfs": "its files are there by themselves",
    },
)
FULL = "full"
_HINT = "write `full`, `true`, `false`, or `{depth: 50}`"


def read_git(reading: Reading, entry: Field | None) -> GitHistory | None:
    """None for `false`: the step has no `.git`."""
    if entry is None or entry.is_broken:
        return DEFAULT_GIT
    if isinstance(entry.value, MapNode):
        return _written_out(reading, entry, entry.value)
    if isinstance(entry.value, ScalarNode):
        word = entry.value.text
        if entry.value.kind is Kind.BOOLEAN:
            return DEFAULT_GIT if word.lower() == "true" else None
        if word == FULL:
            return FULL_GIT
        if entry.value.kind is Kind.INTEGER:
            reading.add(entry.place, f"`git` is no number: write `{{depth: {word}}}`")
            return DEFAULT_GIT
    if entry.is_null:
        reading.add(entry.place, f"`git` is empty: {_HINT}")
    elif isinstance(entry.value, ScalarNode):
        reading.add(entry.place, f"`git` can't be {shown(entry.value.text)}: {_HINT}")
    else:
        reading.add(entry.place, f"`git` must not be a list: {_HINT}")
    return DEFAULT_GIT


def _written_out(reading: Reading, entry: Field, node: MapNode) -> GitHistory:
    if not node.entries:
        reading.add(entry.place, f"`git` is empty: {_HINT}")
    fields = reading.fields(node, GIT)
    return GitHistory(
        depth=_depth(reading, fields.get("depth")),
        tags=read_boolean(reading, fields.get("tags")),
    )


def _depth(reading: Reading, entry: Field | None) -> int:
    if entry is None or entry.is_broken:
        return 1
    depth = integer(entry.value) if isinstance(entry.value, ScalarNode) else None
    if depth is None or not 1 <= depth <= MAX_GIT_DEPTH:
        reading.add(
            entry.place,
            f"`depth` must be a whole number from 1 to {MAX_GIT_DEPTH}: for all of the history "
            "write `git: full`",
        )
        return 1
    return depth
