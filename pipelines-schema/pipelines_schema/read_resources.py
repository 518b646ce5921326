"""Where a step may run and what it may use → values, with every mistake noted."""

from __future__ import annotations

import re
from collections.abc import Collection

from pipelines_schema.fields import Field, Reading, Vocabulary
from pipelines_schema.limits import (
    LABEL_NAME,
    MAX_CPUS,
    MAX_LABEL_CHARACTERS,
    MAX_LABELS,
    MAX_MEMORY_BYTES,
    MAX_USER_ID,
    MEMORY,
    MIN_CPUS,
    MIN_MEMORY_BYTES,
    USER,
)
from pipelines_schema.nodes import Kind, ScalarNode
from pipelines_schema.problem import shown
from pipelines_schema.suggestions import closest
from pipelines_schema.workflow import (
    Network,
    Resources,
)

_RESOURCES = Vocabulary(
    where="`resources`",
    known=("memory", "cpus"),
    synonyms={"cpu": "write `cpus`", "mem": "write `memory`", "ram": "write `memory`"},
)
_MEMORY_UNITS = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}


def read_network(reading: Reading, entry: Field | None) -> Network:
    if entry is None:
        return Network.DEFAULT
    words = [network.value for network in Network]
    word = reading.text(entry, "write `none` or `default`")
    if word is not None and word not in words:
        near = closest(word, words)
        meant = f"did you mean `{near}`?" if near else "write `none` or `default`"
        reading.add(entry.place, f"unknown network {shown(word)}: {meant}")
        return Network.DEFAULT
    return Network(word) if word else Network.DEFAULT


def read_user(reading: Reading, entry: Field | None) -> str | None:
    if entry is None:
        return None
    hint = 'write numbers, such as `"1000"` or `"1000:1000"`'
    text = reading.text(entry, hint)
    if text is None or reading.refuse_expressions(entry.value):
        return None
    if not USER.fullmatch(text) or max(map(int, text.split(":"))) > MAX_USER_ID:
        reading.add(
            entry.place,
            f"{entry.label} must be a user id or `uid:gid`, this is {shown(text)}: {hint}",
        )
        return None
    return text


def read_resources(reading: Reading, entry: Field | None) -> Resources:
    if entry is None:
        return Resources()
    hint = "write the limits, such as `{memory: 2GiB, cpus: 2}`"
    node = reading.mapping(entry, hint)
    if node is None:
        return Resources()
    if not node.entries:
        reading.add(entry.place, f"{entry.label} is empty: {hint}")
    fields = reading.fields(node, _RESOURCES)
    return Resources(
        memory_bytes=read_memory(reading, fields.get("memory")),
        cpus=_cpus(reading, fields.get("cpus")),
    )


def read_memory(reading: Reading, entry: Field | None) -> int | None:
    if entry is None or entry.is_broken:
        return None
    value = entry.value
    if not isinstance(value, ScalarNode) or not re.fullmatch(MEMORY, value.text):
        reading.add(
            entry.place, "`memory` must be a number with its unit: write `512MiB` or `2GiB`"
        )
        return None
    count, unit = value.text[:-3], value.text[-3:]
    size = int(float(count) * _MEMORY_UNITS[unit])
    if not MIN_MEMORY_BYTES <= size <= MAX_MEMORY_BYTES:
        reading.add(entry.place, "`memory` must be from 4MiB to 16TiB")
        return None
    return size


def _cpus(reading: Reading, entry: Field | None) -> float | None:
    if entry is None or entry.is_broken:
        return None
    value = entry.value
    text = value.text if isinstance(value, ScalarNode) else ""
    is_number = isinstance(value, ScalarNode) and value.kind in (Kind.INTEGER, Kind.FLOAT)
    if not is_number or not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,3})?", text):
        reading.add(entry.place, "`cpus` must be a number such as `2` or `0.5`")
        return None
    if not MIN_CPUS <= float(text) <= MAX_CPUS:
        reading.add(entry.place, f"`cpus` must be from {MIN_CPUS} to {MAX_CPUS}")
        return None
    return float(text)


def read_agents(reading: Reading, entry: Field | None, places: Collection[str]) -> dict[str, str]:
    """`places` may stand in the labels' values."""
    if entry is None:
        return {}
    node = reading.mapping(entry, "write the labels an agent must have, such as `{os: linux}`")
    entries = () if node is None else node.entries
    if len(entries) > MAX_LABELS:
        reading.add(
            entry.place,
            f"{entry.label} has {len(entries)} labels: at most {MAX_LABELS} are allowed",
        )
        return {}
    labels: dict[str, str] = {}
    for key, value in entries:
        if len(key.text) > MAX_LABEL_CHARACTERS or not re.fullmatch(LABEL_NAME, key.text):
            reading.add(
                key.place,
                f"the label {shown(key.text)} must begin with a letter or a digit and go on with "
                f"these, `.`, `_`, `-` or `/`, at most {MAX_LABEL_CHARACTERS} characters",
            )
        text = reading.line_of_text(
            Field(key, value), "write the label's value", MAX_LABEL_CHARACTERS, places
        )
        if text is not None:
            labels[key.text] = text
    return labels
