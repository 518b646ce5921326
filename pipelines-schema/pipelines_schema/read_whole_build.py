"""What a workflow says of a build as a whole, with every mistake noted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipelines_schema.expressions import BUILD_WORDS, GROUP_WORDS
from pipelines_schema.fields import Field, Reading, Vocabulary
from pipelines_schema.limits import MAX_BUILD_TIMEOUT_SECONDS, MAX_GROUP_CHARACTERS
from pipelines_schema.nodes import ScalarNode
from pipelines_schema.read_endings import read_boolean, read_duration
from pipelines_schema.workflow import Concurrency

_CONCURRENCY = Vocabulary(
    where="`concurrency`",
    known=("group", "cancelRunning"),
    synonyms={
        "cancel-in-progress": "write `cancelRunning`",
        "cancelInProgress": "write `cancelRunning`",
        "limit": "of a workflow's group one build runs at a time: leave it out",
    },
)
_HINT = 'write `{group: "deploy-${{ branch }}", cancelRunning: true}`, or the group alone'
_GROUP_HINT = "write the group's name, such as `deploy-${{ branch }}`"
_INSTEAD = "a group's name may hold {words}, and values of `env` and of parameters"


def read_concurrency(
    reading: Reading, entry: Field | None, env: Mapping[str, str], params: Sequence[str]
) -> Concurrency | None:
    """`env` is the workflow's, `params` are its parameters' names."""
    if entry is None:
        return None
    words = (*BUILD_WORDS, *GROUP_WORDS)
    allowed = (
        *words,
        *(f"env.{name}" for name in env),
        *(f"params.{name}" for name in params),
    )
    if isinstance(entry.value, ScalarNode) and not entry.is_null:
        group = _group(reading, entry, allowed)
        return None if group is None else Concurrency(group=group)
    node = reading.mapping(entry, _HINT)
    if node is None:
        return None
    fields = reading.fields(node, _CONCURRENCY)
    if "group" not in fields:
        reading.add(node.place, f"`concurrency` needs `group`: {_GROUP_HINT}")
    group = _group(reading, fields.get("group"), allowed)
    cancel_running = read_boolean(reading, fields.get("cancelRunning"))
    return None if group is None else Concurrency(group=group, cancel_running=cancel_running)


def _group(reading: Reading, entry: Field | None, allowed: Sequence[str]) -> str | None:
    if entry is None:
        return None
    words = ", ".join(f"`{word}`" for word in (*BUILD_WORDS, *GROUP_WORDS))
    instead = _INSTEAD.format(words=words)
    if reading.refuse_expressions(entry.value, allowed, instead=instead):
        return None
    return reading.line_of_text(entry, _GROUP_HINT, MAX_GROUP_CHARACTERS, allowed=allowed)


def read_build_timeout(reading: Reading, entry: Field | None) -> int | None:
    bounds = f"must be from 1 second to {MAX_BUILD_TIMEOUT_SECONDS // 86400} days"
    return read_duration(reading, entry, 1, MAX_BUILD_TIMEOUT_SECONDS, bounds)
