"""One step of a document → `Step`, with every mistake noted."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from pipelines_schema.conditions import Condition, ConditionFault, check
from pipelines_schema.expressions import substituted
from pipelines_schema.fields import Field, Reading, Vocabulary
from pipelines_schema.limits import (
    DEFAULT_TIMEOUT_SECONDS,
    DURATION,
    ENVIRONMENT_NAME,
    LABEL_NAME,
    MAX_CONDITION_CHARACTERS,
    MAX_CPUS,
    MAX_ENVIRONMENT_ENTRY_BYTES,
    MAX_IMAGE_CHARACTERS,
    MAX_LABEL_CHARACTERS,
    MAX_LABELS,
    MAX_MEMORY_BYTES,
    MAX_NAME_CHARACTERS,
    MAX_PATHS,
    MAX_RETRIES,
    MAX_SCRIPT_BYTES,
    MAX_STEP_SECRETS,
    MAX_STEPS,
    MAX_TIMEOUT_SECONDS,
    MEMORY,
    MIN_CPUS,
    MIN_MEMORY_BYTES,
    RESERVED_PREFIX,
)
from pipelines_schema.matrix import Matrix
from pipelines_schema.nodes import Kind, ListNode, MapNode, Node, ScalarNode, described, integer
from pipelines_schema.paths import BadPath, normalised_cache_dir, normalised_output_path
from pipelines_schema.problem import Place, shown
from pipelines_schema.read_matrix import read_matrix
from pipelines_schema.suggestions import closest
from pipelines_schema.workflow import (
    DEFAULT_RUN_ON,
    Ending,
    Network,
    Resources,
    Retries,
    RetryCause,
    Step,
)

STEP = Vocabulary(
    where="a step",
    known=(
        "name",
        "image",
        "imageSlug",
        "run",
        "runScript",
        "dependsOn",
        "env",
        "cacheDirs",
        "outputPaths",
        "timeout",
        "retries",
        "agents",
        "allowFailure",
        "runOn",
        "matrix",
        "when",
        "secrets",
        "network",
        "resources",
    ),
    not_built=(
        "inputs",
        "services",
        "reports",
        "build",
    ),
    synonyms={
        "needs": "write `dependsOn`",
        "depends": "write `dependsOn`",
        "script": "write `run`",
        "command": "write `run`",
        "commands": "write `run: |` with one command on each line",
        "uses": "write a script in `run`",
        "environment": "write `env`",
        "variables": "write `env`",
        "cache": "write `cacheDirs`",
        "artifacts": "write `outputPaths`",
        "outputs": "write `outputPaths`",
        "timeoutSeconds": "write `timeout`, such as `10m`",
        "labels": "write `agents`",
        "tags": "write `agents`",
        "continueOnError": "write `allowFailure`",
        "continue-on-error": "write `allowFailure`",
        "always": "write `runOn: [success, failure]`",
        "memory": "write `resources: {memory: 2GiB}`",
        "cpus": "write `resources: {cpus: 2}`",
        "if": "write `when`",
        "condition": "write `when`",
        "only": "write `when`",
        "on": "`on` belongs to the workflow, beside `steps`",
        "steps": "a step has no steps of its own: give each its `dependsOn`",
    },
)
_RESOURCES = Vocabulary(
    where="`resources`",
    known=("memory", "cpus"),
    synonyms={"cpu": "write `cpus`", "mem": "write `memory`", "ram": "write `memory`"},
)
_MEMORY_UNITS = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}
_RETRIES = Vocabulary(where="`retries`", known=("max", "on"))
_TIMEOUT_HINT = "write a duration such as `90s`, `10m` or `1h30m`"
_RETRIES_HINT = f"write a number from 0 to {MAX_RETRIES}, or `{{max: 2, on: [lost, timeout]}}`"


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenStep:
    """A step as far as it could be read, with the places that the graph's problems need."""

    place: Place
    name: str | None
    dependencies: tuple[tuple[Place, str], ...]
    step: Step


def read_step(
    reading: Reading,
    node: Node,
    number: int,
    replaced: Sequence[str],
    params: Mapping[str, str],
) -> WrittenStep | None:
    """None where the item is no mapping at all.

    `number` counts from 1; `replaced` may stand in `${{ … }}` of every step; `params` are the
    workflow's, each with an example.
    """
    if not isinstance(node, MapNode):
        if not (isinstance(node, ScalarNode) and node.kind is Kind.BROKEN):
            reading.add(
                node.place,
                f"step {number} must be a mapping, this is {described(node)}: begin it with "
                "`- name: …`",
            )
        return None
    fields = reading.fields(node, STEP)
    name = _name(reading, node, fields, number)
    called = f"step {shown(name)}" if name else f"step {number}"
    is_build = any(key.text == "build" for key, _ in node.entries)
    dependencies = _dependencies(reading, fields)
    matrix = read_matrix(reading, fields.get("matrix"), name)
    allowed = (*replaced, *_replaced(fields.get("matrix"), matrix))
    secrets = _secrets(reading, fields)
    return WrittenStep(
        place=fields["name"].place if "name" in fields else node.place,
        name=name,
        dependencies=dependencies,
        step=Step(
            name=name or "",
            image=_image(reading, node, fields, None if is_build else called, allowed),
            script=_script(reading, node, fields, None if is_build else called, allowed) or "",
            depends_on=tuple(dependency for _, dependency in dependencies),
            env=read_environment(reading, fields.get("env"), allowed),
            cache_dirs=_paths(reading, fields.get("cacheDirs"), normalised_cache_dir),
            output_paths=_paths(reading, fields.get("outputPaths"), normalised_output_path),
            timeout_seconds=_timeout(reading, fields.get("timeout")),
            retries=_retries(reading, fields.get("retries")),
            agents=_agents(reading, fields.get("agents")),
            allow_failure=_boolean(reading, fields.get("allowFailure")),
            run_on=_run_on(reading, fields),
            network=_network(reading, fields.get("network")),
            resources=_resources(reading, fields.get("resources")),
            secrets=tuple(secrets),
            secret_places={} if reading.is_json else secrets,
            when=_condition(reading, fields.get("when"), params, _examples(fields, matrix)),
            matrix=matrix,
        ),
    )


def _replaced(entry: Field | None, matrix: Matrix | None) -> tuple[str, ...]:
    """What `${{ … }}` may hold besides in `run`, `image` and `env`."""
    names: Sequence[str] = ()
    if matrix is not None:
        names = matrix.names
    elif entry is not None and isinstance(entry.value, MapNode):
        # A matrix with mistakes: what its keys say is no mistake a second time.
        names = [key.text for key, _ in entry.value.entries]
    return tuple(f"matrix.{name}" for name in names)


def _network(reading: Reading, entry: Field | None) -> Network:
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


def _resources(reading: Reading, entry: Field | None) -> Resources:
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
        memory_bytes=_memory_bytes(reading, fields.get("memory")),
        cpus=_cpus(reading, fields.get("cpus")),
    )


def _memory_bytes(reading: Reading, entry: Field | None) -> int | None:
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


def secret_name_problem(name: str) -> str | None:
    """What is wrong with a secret's name, or None."""
    if not re.fullmatch(ENVIRONMENT_NAME, name) or len(name) > MAX_NAME_CHARACTERS:
        return (
            "must be named by letters, digits and `_`, not begin with a digit, and have at most "
            f"{MAX_NAME_CHARACTERS} characters"
        )
    if name.startswith(RESERVED_PREFIX):
        return f"has the name of a variable of pushrod's own: `{RESERVED_PREFIX}…` is taken"
    return None


def _secrets(reading: Reading, fields: dict[str, Field]) -> dict[str, Place]:
    """The names, each with where it stands."""
    entry = fields.get("secrets")
    if entry is None:
        return {}
    environment = fields["env"].value if "env" in fields else None
    variables = (
        {key.text for key, _ in environment.entries} if isinstance(environment, MapNode) else set()
    )
    found: dict[str, Place] = {}
    hint = "write the names of the project's secrets, such as `[PYPI_TOKEN]`"
    for place, name in reading.texts(entry, hint, MAX_STEP_SECRETS, one_allowed=True):
        fault = secret_name_problem(name)
        if fault is not None:
            reading.add(place, f"the secret {shown(name)} {fault}")
        elif name in found:
            reading.add(place, f"`secrets` names {shown(name)} twice: remove one of them")
        elif name in variables:
            reading.add(
                place, f"{shown(name)} is a secret and a variable of `env`: remove one of them"
            )
        found[name] = place
    return found


def _examples(fields: dict[str, Field], matrix: Matrix | None) -> dict[str, str] | None:
    """A value of each of the matrix's names; None where its mistakes hide them."""
    if matrix is None:
        return {} if "matrix" not in fields else None
    examples = dict.fromkeys(matrix.names, "")
    for combination in reversed(matrix.combinations()):
        examples |= combination
    return examples


def _condition(
    reading: Reading,
    entry: Field | None,
    params: Mapping[str, str],
    matrix: Mapping[str, str] | None,
) -> Condition | None:
    if entry is None:
        return None
    hint = 'write an expression such as `event == "push"`'
    text = reading.text(entry, hint)
    if text is None or reading.refuse_expressions(entry.value):
        return None
    if len(text) > MAX_CONDITION_CHARACTERS:
        reading.add(
            entry.place,
            f"`when` is longer than {MAX_CONDITION_CHARACTERS} characters: put the decision into "
            "the script",
        )
        return None
    if not text.strip():
        reading.add(entry.place, f"`when` is blank: {hint}")
        return None
    try:
        if matrix is not None:
            check(text, params, matrix)
    except ConditionFault as fault:
        reading.add(_place_within(reading, entry, text, fault), f"`when` {fault}")
    return Condition(expression=text, line=entry.place.line, column=entry.place.column)


def _place_within(reading: Reading, entry: Field, text: str, fault: ConditionFault) -> Place:
    """Where in the file the fault is, if the expression stands there on one line as it is."""
    place = entry.place
    if fault.column is None or fault.line != 1 or not 0 < place.line <= len(reading.lines):
        return place
    start = reading.lines[place.line - 1].find(text.strip("\n"), place.column - 1)
    return place if start < 0 else Place(place.line, start + fault.column)


def _name(reading: Reading, node: MapNode, fields: dict[str, Field], number: int) -> str | None:
    if "name" not in fields:
        reading.add(node.place, f"step {number} needs `name`")
        return None
    entry = fields["name"]
    name = reading.line_of_text(entry, "write the step's name", MAX_NAME_CHARACTERS)
    if name is not None and "/" in name:
        reading.add(
            entry.place, f"the step's name {shown(name)} must not hold `/`: write `-` or a space"
        )
    return name


def _one_of(reading: Reading, fields: dict[str, Field], short: str, long: str) -> Field | None:
    """The field under one of its two names; both at once are a problem."""
    if short in fields and long in fields:
        reading.add(
            fields[long].key.place,
            f"`{short}` and `{long}` are the same thing: remove one of them",
        )
    return fields.get(short) or fields.get(long)


def _image(
    reading: Reading,
    node: MapNode,
    fields: dict[str, Field],
    called: str | None,
    allowed: Collection[str],
) -> str | None:
    entry = _one_of(reading, fields, "image", "imageSlug")
    if entry is None:
        if called is not None:
            reading.add(node.place, f"{called} needs `image`: a slug or an image reference")
        return None
    image = reading.line_of_text(
        entry, "write a slug or an image reference", MAX_IMAGE_CHARACTERS, allowed
    )
    plain = None if image is None else substituted(image, dict.fromkeys(allowed, "x"))
    if plain is not None and (" " in plain or not plain.isprintable()):
        reading.add(
            entry.place,
            f"{entry.label} must not hold spaces or invisible characters: "
            "write a slug or an image reference such as `python:3.12`",
        )
    elif plain is not None and not (plain[0].isalnum() or plain[0] == "_"):
        reading.add(
            entry.place,
            f"{entry.label} must begin with a letter or a digit: write a slug "
            "or an image reference such as `python:3.12`",
        )
    return image


def _is_number(node: Node) -> TypeGuard[ScalarNode]:
    return isinstance(node, ScalarNode) and node.kind in (Kind.INTEGER, Kind.FLOAT)


def _script(
    reading: Reading,
    node: MapNode,
    fields: dict[str, Field],
    called: str | None,
    allowed: Collection[str],
) -> str | None:
    entry = _one_of(reading, fields, "run", "runScript")
    if entry is None:
        if called is not None:
            reading.add(node.place, f"{called} needs `run`: the script to run")
        return None
    if not reading.is_json and _is_number(entry.value):
        # `true` without quotes is text like everywhere: it is a command, and a usual one.
        reading.add(
            entry.place,
            f"{entry.label} must be text, this is {described(entry.value)}: write the script in "
            f'quotes, `{entry.name}: "{entry.value.text}"`, or below `{entry.name}: |`',
        )
        return None
    script = reading.text(entry, "write the script as text, below `run: |`, a command on each line")
    if script is None:
        return None
    if not script.strip():
        reading.add(entry.place, f"{entry.label} is blank: write the script to run")
    size = len(script.encode())
    if size > MAX_SCRIPT_BYTES:
        reading.add(
            entry.place,
            f"{entry.label} has {size:,} bytes, more than {MAX_SCRIPT_BYTES // 1024} KiB: move it "
            "into a file of the repository",
        )
    reading.refuse_expressions(entry.value, allowed, in_script=True)
    return script


def _dependencies(reading: Reading, fields: dict[str, Field]) -> tuple[tuple[Place, str], ...]:
    if "dependsOn" not in fields:
        return ()
    found: dict[str, Place] = {}
    hint = "write a list of step names, or remove the key"
    for place, name in reading.texts(fields["dependsOn"], hint, MAX_STEPS, one_allowed=True):
        if name in found:
            reading.add(place, f"`dependsOn` names {shown(name)} twice: remove one of them")
        else:
            found[name] = place
    return tuple((place, name) for name, place in found.items())


def read_environment(
    reading: Reading, entry: Field | None, allowed: Collection[str]
) -> dict[str, str]:
    """The variables of an `env`, as text; numbers and booleans keep the text as written."""
    if entry is None:
        return {}
    node = reading.mapping(entry, "write `NAME: value` for each variable, or remove the key")
    env: dict[str, str] = {}
    for key, value in () if node is None else node.entries:
        text = _environment_value(reading, Field(key, value), allowed)
        if _environment_name_is_good(reading, key) and text is not None:
            env[key.text] = text
    return env


def _environment_name_is_good(reading: Reading, key: ScalarNode) -> bool:
    if not re.fullmatch(ENVIRONMENT_NAME, key.text):
        reading.add(
            key.place,
            f"the variable {shown(key.text)} must be named by letters, digits and `_`, and not "
            "begin with a digit",
        )
        return False
    if key.text.startswith(RESERVED_PREFIX):
        reading.add(
            key.place,
            f"the variable {shown(key.text)} is not yours to set: names that begin with "
            f"`{RESERVED_PREFIX}` are pushrod's own",
        )
        return False
    return True


def _environment_value(reading: Reading, entry: Field, allowed: Collection[str]) -> str | None:
    value = entry.value
    if isinstance(value, ScalarNode) and value.kind is not Kind.NULL:
        if value.kind is Kind.BROKEN or reading.refuse_expressions(value, allowed):
            return None
        if "\0" in value.text:
            reading.add(value.place, f"the variable {entry.label} holds a NUL byte: remove it")
            return None
        if len(f"{entry.name}={value.text}".encode()) > MAX_ENVIRONMENT_ENTRY_BYTES:
            reading.add(
                value.place,
                f"the variable {entry.label} is longer than the "
                f"{(MAX_ENVIRONMENT_ENTRY_BYTES + 1) // 1024} KiB that Linux allows: put the text "
                "into a file of the repository",
            )
            return None
        return value.text
    if entry.is_null:
        reading.add(
            entry.place, f'the variable {entry.label} is empty: write `""` if that is meant'
        )
    else:
        reading.add(
            entry.place, f"the variable {entry.label} must be text, this is {described(value)}"
        )
    return None


def _paths(
    reading: Reading, entry: Field | None, normalised: Callable[[str], str]
) -> tuple[str, ...]:
    if entry is None:
        return ()
    found: dict[str, str] = {}
    for place, text in reading.texts(entry, "write a list of paths, or remove the key", MAX_PATHS):
        try:
            path = normalised(text)
        except BadPath as error:
            reading.add(place, f"the path {shown(text)} of {entry.label} {error}")
            continue
        if path.rstrip("/") in found:
            reading.add(place, f"{entry.label} names {shown(path)} twice: remove one of them")
        found[path.rstrip("/")] = path
    return tuple(found.values())


def _timeout(reading: Reading, entry: Field | None) -> int:
    if entry is None or entry.is_broken:
        return DEFAULT_TIMEOUT_SECONDS
    seconds = _duration_seconds(entry.value)
    if seconds is None:
        if entry.is_null:
            reading.add(entry.place, f"{entry.label} is empty: {_TIMEOUT_HINT}")
        else:
            reading.add(
                entry.place,
                f"{entry.label} is no duration: {_TIMEOUT_HINT}, or a whole number of seconds",
            )
    elif not 1 <= seconds <= MAX_TIMEOUT_SECONDS:
        reading.add(
            entry.place,
            f"{entry.label} must be from 1 second to {MAX_TIMEOUT_SECONDS // 3600} hours",
        )
    return seconds or DEFAULT_TIMEOUT_SECONDS


def _duration_seconds(node: Node) -> int | None:
    """`90s`, `10m`, `1h30m` or whole seconds; None for anything else."""
    if not isinstance(node, ScalarNode):
        return None
    if node.kind is Kind.INTEGER:
        return integer(node)
    if node.kind is not Kind.TEXT or not re.fullmatch(DURATION, node.text):
        return None
    unit_seconds = {"h": 3600, "m": 60, "s": 1}
    parts = re.findall("([0-9]+)([hms])", node.text)
    return sum(int(count) * unit_seconds[unit] for count, unit in parts)


def _retries(reading: Reading, entry: Field | None) -> Retries:
    if entry is None:
        return Retries()
    if isinstance(entry.value, ScalarNode):
        return Retries(max=_retry_count(reading, entry))
    node = reading.mapping(entry, _RETRIES_HINT)
    if node is None:
        return Retries()
    fields = reading.fields(node, _RETRIES)
    if "max" not in fields:
        reading.add(node.place, f"`retries` needs `max`, a number from 0 to {MAX_RETRIES}")
        return Retries()
    return Retries(
        max=_retry_count(reading, fields["max"]), on=_retry_causes(reading, fields.get("on"))
    )


def _retry_count(reading: Reading, entry: Field) -> int:
    count = integer(entry.value) if isinstance(entry.value, ScalarNode) else None
    if count is not None and 0 <= count <= MAX_RETRIES:
        return count
    if not entry.is_broken:
        reading.add(entry.place, f"{entry.label} must be a whole number from 0 to {MAX_RETRIES}")
    return 0


def _retry_causes(reading: Reading, entry: Field | None) -> tuple[RetryCause, ...]:
    if entry is None:
        return tuple(RetryCause)
    chosen = _words(
        reading,
        entry,
        [cause.value for cause in RetryCause],
        unknown="unknown cause {word} in `retries`",
        empty="so nothing would be tried again",
    )
    return tuple(cause for cause in RetryCause if cause.value in chosen)


def _words(
    reading: Reading, entry: Field, words: Sequence[str], *, unknown: str, empty: str
) -> set[str]:
    """One of the words, or a list of them, each once."""
    listed = ", ".join(f"`{word}`" for word in words)
    chosen: set[str] = set()
    hint = f"write a list of {listed}"
    if isinstance(entry.value, ListNode) and not entry.value.items:
        reading.add(entry.place, f"{entry.label} is empty, {empty}: {hint}")
    for place, word in reading.texts(entry, hint, MAX_PATHS, one_allowed=True):
        if word not in words:
            near = closest(word, words)
            meant = f"did you mean `{near}`?" if near else f"write {listed}"
            reading.add(place, f"{unknown.format(word=shown(word))}: {meant}")
        elif word in chosen:
            reading.add(place, f"{entry.label} names {shown(word)} twice: remove one of them")
        chosen.add(word)
    return chosen


def _boolean(reading: Reading, entry: Field | None) -> bool:
    if entry is None or entry.is_broken:
        return False
    if isinstance(entry.value, ScalarNode) and entry.value.kind is Kind.BOOLEAN:
        return entry.value.text.lower() == "true"
    reading.add(entry.place, f"{entry.label} must be `true` or `false`, without quotes")
    return False


def _run_on(reading: Reading, fields: dict[str, Field]) -> tuple[Ending, ...]:
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
    if Ending.FAILURE in chosen and "dependsOn" not in fields:
        reading.add(
            entry.key.place,
            "`runOn` says how the dependencies must have ended, but there is no `dependsOn`: add "
            "it, or remove `runOn`",
        )
    return tuple(ending for ending in Ending if ending.value in chosen) or DEFAULT_RUN_ON


def _agents(reading: Reading, entry: Field | None) -> dict[str, str]:
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
            Field(key, value), "write the label's value", MAX_LABEL_CHARACTERS
        )
        if text is not None:
            labels[key.text] = text
    return labels
