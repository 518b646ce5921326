"""The `concurrency` of a workflow and of a step, with every mistake noted."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from pipelines_schema.fields import Field, Reading, Vocabulary
from pipelines_schema.limits import MAX_GROUP_CHARACTERS, MAX_GROUP_LIMIT
from pipelines_schema.nodes import MapNode, ScalarNode, integer
from pipelines_schema.placeholders import PLACE_WORDS
from pipelines_schema.read_endings import read_boolean
from pipelines_schema.step_groups import StepGroup
from pipelines_schema.workflow import Concurrency

_OF_WORKFLOW = Vocabulary(
    where="`concurrency`",
    known=("group", "cancelRunning"),
    synonyms={
        "cancel-in-progress": "write `cancelRunning`",
        "cancelInProgress": "write `cancelRunning`",
        "limit": "of a workflow's group one build runs at a time: leave it out",
    },
)
_OF_STEP = Vocabulary(
    where="a step's `concurrency`",
    known=("group", "limit"),
    synonyms={
        "cancelRunning": "it belongs to the `concurrency` of the workflow: a step waits its turn",
        "max": "write `limit`",
        "resource_group": "write `group`",
    },
)
_HINT = 'write `{group: "deploy-${{ branch }}", cancelRunning: true}`, or the group alone'
_STEP_HINT = "write `{group: gpu, limit: 2}`, or the group alone"
_GROUP_HINT = "write the group's name, such as `deploy-${{ branch }}`"


def read_concurrency(
    reading: Reading, entry: Field | None, env: Mapping[str, str], params: Sequence[str]
) -> Concurrency | None:
    """`env` is the workflow's, `params` are its parameters' names."""
    if entry is None:
        return None
    allowed = (*PLACE_WORDS, *_named("env", env), *_named("params", params))
    if isinstance(entry.value, ScalarNode) and not entry.is_null:
        group = _group(reading, entry, allowed)
        return None if group is None else Concurrency(group=group)
    fields = _fields(reading, entry, _OF_WORKFLOW, _HINT)
    group = _group(reading, fields.get("group"), allowed)
    cancel_running = read_boolean(reading, fields.get("cancelRunning"))
    return None if group is None else Concurrency(group=group, cancel_running=cancel_running)


def read_step_group(
    reading: Reading,
    entry: Field | None,
    params: Iterable[str],
    env: Iterable[str] | None,
    matrix: Iterable[str],
) -> StepGroup | None:
    """`params` and the workflow's `env` by their names, and what may stand there of the matrix.
    `env` is None where what the workflow has of both is not known."""
    if entry is None:
        return None
    of_workflow = (*_named("env", env or ()), *_named("params", params))
    known = of_workflow if env is not None else _any_of_workflow(reading, entry)
    allowed = (*PLACE_WORDS, *known, *matrix)
    if isinstance(entry.value, ScalarNode) and not entry.is_null:
        group = _group(reading, entry, allowed)
        return None if group is None else StepGroup(name=group)
    fields = _fields(reading, entry, _OF_STEP, _STEP_HINT)
    group = _group(reading, fields.get("group"), allowed)
    limit = _limit(reading, fields.get("limit"))
    return None if group is None else StepGroup(name=group, limit=limit)


def _fields(
    reading: Reading, entry: Field, vocabulary: Vocabulary, hint: str
) -> Mapping[str, Field]:
    node = reading.mapping(entry, hint)
    if node is None:
        return {}
    fields = reading.fields(node, vocabulary)
    if "group" not in fields:
        reading.add(node.place, f"`concurrency` needs `group`: {_GROUP_HINT}")
    return fields


def _named(kind: str, names: Iterable[str]) -> Iterable[str]:
    return (f"{kind}.{name}" for name in names)


def _any_of_workflow(reading: Reading, entry: Field) -> tuple[str, ...]:
    group = entry.value
    if isinstance(group, MapNode):
        group = next((value for key, value in group.entries if key.text == "group"), group)
    words = (word for _, word in reading.expressions(group))
    return tuple(word for word in words if word.startswith(("env.", "params.")))


def _group(reading: Reading, entry: Field | None, allowed: Collection[str]) -> str | None:
    if entry is None:
        return None
    words = ", ".join(f"`{word}`" for word in PLACE_WORDS)
    instead = f"a group's name may hold {words}, and values of `env` and of parameters"
    if reading.refuse_expressions(entry.value, allowed, instead=instead):
        return None
    return reading.line_of_text(entry, _GROUP_HINT, MAX_GROUP_CHARACTERS, allowed=allowed)


def _limit(reading: Reading, entry: Field | None) -> int:
    if entry is None or entry.is_broken:
        return 1
    limit = integer(entry.value) if isinstance(entry.value, ScalarNode) else None
    if limit is None or not 1 <= limit <= MAX_GROUP_LIMIT:
        reading.add(entry.place, f"`limit` must be a whole number from 1 to {MAX_GROUP_LIMIT:,}")
        return 1
    return limit
