"""The `schedule` of a workflow's `on`, with every mistake noted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipelines_schema.cron import CronFault, parse_cron, zone_problem
from pipelines_schema.fields import Field, Reading, Vocabulary
from pipelines_schema.limits import (
    MAX_BRANCH_PATTERN_CHARACTERS,
    MAX_CRON_CHARACTERS,
    MAX_SCHEDULES,
    MAX_TIME_ZONE_CHARACTERS,
)
from pipelines_schema.nodes import MapNode
from pipelines_schema.params import Param, param_problems
from pipelines_schema.patterns import branch_pattern_problem
from pipelines_schema.problem import Place, shown
from pipelines_schema.read_items import read_distinct_items
from pipelines_schema.read_params import read_param_names
from pipelines_schema.schedules import ScheduleTrigger

SCHEDULE_HINT = 'write `schedule: [{cron: "0 3 * * 1-5"}]`'
_SCHEDULE = Vocabulary(
    where="a schedule",
    known=("cron", "timezone", "branch", "params"),
    synonyms={
        "tz": "write `timezone`",
        "branches": "write `branch`, one for each schedule",
        "inputs": "write `params`",
        "with": "write `params`",
        "variables": "write `params`",
    },
)
_ZONE_HINT = "write a time zone such as `Europe/Vienna`, or remove the key for UTC"
_BRANCH_HINT = "write one branch, or remove the key for the default branch"
_PARAMS_HINT = "write `name: value` for each parameter, or remove the key"
_PARAM_HINT = "write the value, or remove the key"


def read_schedules(
    reading: Reading, entry: Field | None, params: Sequence[Param]
) -> tuple[ScheduleTrigger, ...]:
    """`params` are the workflow's."""
    return read_distinct_items(
        reading,
        entry,
        hint=SCHEDULE_HINT,
        example='{cron: "0 3 * * 1-5"}',
        most=MAX_SCHEDULES,
        read=lambda item: _schedule(reading, item, params),
        second="schedule",
    )


def _schedule(reading: Reading, item: MapNode, params: Sequence[Param]) -> ScheduleTrigger | None:
    fields = reading.fields(item, _SCHEDULE)
    if "cron" not in fields:
        reading.add(item.place, 'the schedule lacks `cron`: write `cron: "0 3 * * 1-5"`')
    cron = _cron(reading, fields.get("cron"))
    zone, branch = _zone(reading, fields.get("timezone")), _branch(reading, fields.get("branch"))
    given = _given(reading, item.place, fields.get("params"), params)
    if cron is None:
        return None
    return ScheduleTrigger(cron=cron, timezone=zone or "UTC", branch=branch, params=given)


def _cron(reading: Reading, entry: Field | None) -> str | None:
    if entry is None:
        return None
    text = reading.line_of_text(
        entry, 'write five fields, such as `"0 3 * * 1-5"`', MAX_CRON_CHARACTERS
    )
    if text is None:
        return None
    try:
        parse_cron(text)
    except CronFault as fault:
        reading.add(entry.place, f"`cron` {fault}")
        return None
    return text


def _zone(reading: Reading, entry: Field | None) -> str | None:
    if entry is None:
        return None
    name = reading.line_of_text(entry, _ZONE_HINT, MAX_TIME_ZONE_CHARACTERS)
    fault = None if name is None else zone_problem(name)
    if name is not None and fault is not None:
        reading.add(entry.place, f"{shown(name)} {fault}")
    return name


def _branch(reading: Reading, entry: Field | None) -> str | None:
    if entry is None:
        return None
    name = reading.line_of_text(entry, _BRANCH_HINT, MAX_BRANCH_PATTERN_CHARACTERS)
    if name is None:
        return None
    fault = branch_pattern_problem(name)
    if name.startswith("!") or any(wild in name for wild in "*?"):
        reading.add(entry.place, f"the branch {shown(name)} is a pattern: {_BRANCH_HINT}")
    elif fault is not None:
        reading.add(entry.place, f"the branch {shown(name)} {fault}")
    return name


def _given(
    reading: Reading, place: Place, entry: Field | None, params: Sequence[Param]
) -> Mapping[str, str]:
    """Values of the workflow's parameters; those that are missing are noted at the schedule."""
    named = (
        [] if entry is None else read_param_names(reading, entry, _PARAMS_HINT, "PUSHROD_PARAM_")
    )
    read = {one.name: (one, _value(reading, one)) for one in named}
    given = {name: value for name, (_, value) in read.items() if value is not None}
    for name, problem in param_problems(params, given).items():
        if name not in read:
            reading.add(place, f"{problem}: give it in `params`")
        elif name in given:
            one = read[name][0]
            is_unknown = name not in {param.name for param in params}
            reading.add(one.key.place if is_unknown else one.place, problem)
    return given


def _value(reading: Reading, entry: Field) -> str | None:
    text = reading.text(entry, _PARAM_HINT)
    return None if text is None or reading.refuse_expressions(entry.value) else text
