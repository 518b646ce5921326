"""When an attempt of a step is over and what follows → values, with every mistake noted."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipelines_schema.fields import Field, Reading, Vocabulary
from pipelines_schema.limits import (
    DEFAULT_GRACE_SECONDS,
    DEFAULT_TIMEOUT_SECONDS,
    DURATION,
    EXIT,
    EXIT_CODE,
    MAX_BUILD_TIMEOUT_SECONDS,
    MAX_GRACE_SECONDS,
    MAX_PATHS,
    MAX_QUEUE_TIMEOUT_SECONDS,
    MAX_RETRIES,
    MAX_RETRY_DELAY_SECONDS,
    MAX_TIMEOUT_SECONDS,
    RETRY_WORD,
)
from pipelines_schema.nodes import Kind, ListNode, Node, ScalarNode, integer
from pipelines_schema.problem import shown
from pipelines_schema.suggestions import closest
from pipelines_schema.workflow import (
    DEFAULT_RETRIES,
    DEFAULT_RUN_ON,
    NEVER,
    Ending,
    Retries,
    RetryCause,
)

_RETRIES = Vocabulary(where="`retries`", known=("max", "on", "delay"))
_CAUSES = {
    "lost": RetryCause.LOST,
    "timeout": RetryCause.TIMEOUT,
    "failed": RetryCause.FAILURE,
    "failure": RetryCause.FAILURE,
}
"""`failure` is what `failed` was called before."""
_TIMEOUT_HINT = "write a duration such as `90s`, `10m` or `1h30m`"
_RETRIES_HINT = f"write a number from 0 to {MAX_RETRIES}, or `{{max: 2, on: [lost, timeout]}}`"


def read_timeout(reading: Reading, entry: Field | None) -> int:
    most = f"must be from 1 second to {MAX_TIMEOUT_SECONDS // 3600} hours"
    seconds = read_duration(reading, entry, 1, MAX_TIMEOUT_SECONDS, most)
    return DEFAULT_TIMEOUT_SECONDS if seconds is None else seconds


def read_queue_timeout(reading: Reading, entry: Field | None) -> int | None:
    bounds = f"must be from 1 second to {MAX_QUEUE_TIMEOUT_SECONDS // 3600} hours"
    return read_duration(reading, entry, 1, MAX_QUEUE_TIMEOUT_SECONDS, bounds)


def read_build_timeout(reading: Reading, entry: Field | None) -> int | None:
    """Of a whole build."""
    bounds = f"must be from 1 second to {MAX_BUILD_TIMEOUT_SECONDS // 86400} days"
    return read_duration(reading, entry, 1, MAX_BUILD_TIMEOUT_SECONDS, bounds)


def read_grace(reading: Reading, entry: Field | None) -> int:
    bounds = f"must be from `0` (killed at once) to {MAX_GRACE_SECONDS // 60} minutes"
    seconds = read_duration(reading, entry, 0, MAX_GRACE_SECONDS, bounds)
    return DEFAULT_GRACE_SECONDS if seconds is None else seconds


def read_duration(
    reading: Reading, entry: Field | None, least_seconds: int, most_seconds: int, bounds: str
) -> int | None:
    """None where there is none; `bounds` says the least and the most in words."""
    if entry is None or entry.is_broken:
        return None
    seconds = _duration_seconds(entry.value)
    if seconds is None:
        if entry.is_null:
            reading.add(entry.place, f"{entry.label} is empty: {_TIMEOUT_HINT}")
        else:
            reading.add(
                entry.place,
                f"{entry.label} is no duration: {_TIMEOUT_HINT}, or a whole number of seconds",
            )
    elif not least_seconds <= seconds <= most_seconds:
        reading.add(entry.place, f"{entry.label} {bounds}")
    return seconds


def _duration_seconds(node: Node) -> int | None:
    """`90s`, `10m`, `1h30m` or whole seconds; None for anything else."""
    if not isinstance(node, ScalarNode):
        return None
    if node.kind is Kind.INTEGER:
        return integer(node)
    if node.kind is not Kind.TEXT or not re.fullmatch(DURATION, node.text):
        return None
    unit_seconds = {"d": 86400, "h": 3600, "m": 60, "s": 1}
    parts = re.findall("([0-9]+)([dhms])", node.text)
    return sum(int(count) * unit_seconds[unit] for count, unit in parts)


def read_retries(reading: Reading, entry: Field | None) -> Retries:
    if entry is None:
        return DEFAULT_RETRIES
    if isinstance(entry.value, ScalarNode):
        return _retries(_retry_count(reading, entry), tuple(RetryCause), ())
    node = reading.mapping(entry, _RETRIES_HINT)
    if node is None:
        return DEFAULT_RETRIES
    fields = reading.fields(node, _RETRIES)
    if "max" not in fields:
        reading.add(node.place, f"`retries` needs `max`, a number from 0 to {MAX_RETRIES}")
        return DEFAULT_RETRIES
    causes, codes = _retry_causes(reading, fields.get("on"))
    bounds = f"must be from `0` (at once) to {MAX_RETRY_DELAY_SECONDS // 3600} hour"
    delay = read_duration(reading, fields.get("delay"), 0, MAX_RETRY_DELAY_SECONDS, bounds)
    return _retries(_retry_count(reading, fields["max"]), causes, codes, delay or 0)


def _retries(
    count: int, causes: tuple[RetryCause, ...], codes: tuple[int, ...], delay_seconds: int = 0
) -> Retries:
    if count == 0:
        return NEVER
    return Retries(max=count, on=causes, exit_codes=codes, delay_seconds=delay_seconds)


def _retry_count(reading: Reading, entry: Field) -> int:
    count = integer(entry.value) if isinstance(entry.value, ScalarNode) else None
    if count is not None and 0 <= count <= MAX_RETRIES:
        return count
    if not entry.is_broken:
        reading.add(entry.place, f"{entry.label} must be a whole number from 0 to {MAX_RETRIES}")
    return 0


def _retry_causes(
    reading: Reading, entry: Field | None
) -> tuple[tuple[RetryCause, ...], tuple[int, ...]]:
    """And the exit codes that it names."""
    if entry is None:
        return tuple(RetryCause), ()
    chosen = _words(
        reading,
        entry,
        ["lost", "timeout", "failed"],
        unknown="unknown cause {word} in `retries`",
        empty="so nothing would be tried again",
        also=re.compile(RETRY_WORD),
        shown_also="`exit:75` (an exit code)",
    )
    causes = {_CAUSES[word] for word in chosen if word in _CAUSES}
    codes = {int(word.removeprefix(EXIT)) for word in chosen if re.fullmatch(EXIT_CODE, word)}
    return tuple(cause for cause in RetryCause if cause in causes), tuple(sorted(codes))


def _words(
    reading: Reading,
    entry: Field,
    words: Sequence[str],
    *,
    unknown: str,
    empty: str,
    also: re.Pattern[str] | None = None,
    shown_also: str = "",
) -> set[str]:
    """One of the words, or a list of them, each once; what `also` fits is one, too."""
    listed = ", ".join([*(f"`{word}`" for word in words), *filter(None, [shown_also])])
    chosen: set[str] = set()
    hint = f"write a list of {listed}"
    if isinstance(entry.value, ListNode) and not entry.value.items:
        reading.add(entry.place, f"{entry.label} is empty, {empty}: {hint}")
    for place, word in reading.texts(entry, hint, MAX_PATHS, one_allowed=True):
        if word not in words and not (also and also.fullmatch(word)):
            near = closest(word, words)
            meant = f"did you mean `{near}`?" if near else f"write {listed}"
            reading.add(place, f"{unknown.format(word=shown(word))}: {meant}")
        elif word in chosen:
            reading.add(place, f"{entry.label} names {shown(word)} twice: remove one of them")
        chosen.add(word)
    return chosen


def read_boolean(reading: Reading, entry: Field | None) -> bool:
    if entry is None or entry.is_broken:
        return False
    if isinstance(entry.value, ScalarNode) and entry.value.kind is Kind.BOOLEAN:
        return entry.value.text.lower() == "true"
    reading.add(entry.place, f"{entry.label} must be `true` or `false`, without quotes")
    return False


def read_at_most_once(reading: Reading, fields: dict[str, Field], retries: Retries) -> bool:
    entry = fields.get("atMostOnce")
    once = read_boolean(reading, entry)
    if once and entry is not None and "retries" in fields and retries.max:
        reading.add(
            entry.key.place,
            "`atMostOnce` says never again, and `retries` says again: remove one of them",
        )
    return once


def read_run_on(reading: Reading, fields: dict[str, Field]) -> tuple[Ending, ...]:
    entry = fields.get("runOn")
    if entry is None:
        return DEFAULT_RUN_ON
    chosen = _words(
        reading,
        entry,
        [ending.value for ending in Ending],
        unknown="unknown ending {word} in `runOn`",
        empty="so the step would never run",
    )
    if chosen - {Ending.SUCCESS} and "dependsOn" not in fields:
        reading.add(
            entry.key.place,
            "`runOn` says how the dependencies must have ended, but there is no `dependsOn`: add "
            "it, or remove `runOn`",
        )
    return tuple(ending for ending in Ending if ending.value in chosen) or DEFAULT_RUN_ON
