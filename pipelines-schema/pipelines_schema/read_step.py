"""One step of a document → `Step`, with every mistake noted."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard

from pipelines_schema.cel_outputs import OUTPUTS, output_word
from pipelines_schema.conditions import (
    Condition,
    ConditionFault,
    check,
    check_words,
    compiled,
    outputs_of,
)
from pipelines_schema.expressions import substituted
from pipelines_schema.fields import Field, Reading, one_of
from pipelines_schema.layers import Layered, completed
from pipelines_schema.limits import (
    MAX_CONDITION_CHARACTERS,
    MAX_NAME_CHARACTERS,
    MAX_SCRIPT_BYTES,
    MAX_STEPS,
)
from pipelines_schema.matrix import EVERY_OTHER, Matrix
from pipelines_schema.nodes import Kind, ListNode, MapNode, Node, ScalarNode, described
from pipelines_schema.placeholders import ENV, PLACE_WORDS, env_words
from pipelines_schema.problem import Place, shown
from pipelines_schema.read_build import read_build
from pipelines_schema.read_caches import read_caches
from pipelines_schema.read_endings import (
    read_at_most_once,
    read_boolean,
    read_grace,
    read_queue_timeout,
    read_retries,
    read_run_on,
    read_timeout,
)
from pipelines_schema.read_environment import read_environment, read_secrets, read_variables
from pipelines_schema.read_gate import APPROVE, read_gate
from pipelines_schema.read_generates import kept_with, read_generates
from pipelines_schema.read_groups import read_step_group
from pipelines_schema.read_image import image_place, read_image
from pipelines_schema.read_inputs import git_beside, read_inputs
from pipelines_schema.read_matrix import matrix_keys, read_matrix, refuse_lacking
from pipelines_schema.read_output_paths import read_output_paths
from pipelines_schema.read_reports import kept_with_reports, read_reports
from pipelines_schema.read_resources import read_agents, read_network, read_resources, read_user
from pipelines_schema.read_script_place import read_shell, read_workdir
from pipelines_schema.read_services import read_services
from pipelines_schema.step_keys import STEP
from pipelines_schema.workflow import Step

_OUTPUTS_IN = ("image", "imageSlug", "build", "agents")
_REPLACED_IN = (
    *("image", "imageSlug", "run", "runScript", "env", "build", "concurrency", "agents"),
    "services",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenStep:
    """A step as far as it could be read, with the places that the graph's problems need."""

    place: Place
    name: str | None
    dependencies: tuple[tuple[Place, str], ...]
    outputs: tuple[tuple[Field, str], ...]
    """Of which steps it names outputs, and in which field."""
    step: Step


def read_step(
    reading: Reading,
    layered: Layered,
    number: int,
    replaced: Sequence[str],
    params: Mapping[str, str],
    of_all: Mapping[str, str] | None,
) -> WrittenStep:
    """`number` counts from 1; `replaced` may stand in `${{ … }}` of every step; `params` are the
    workflow's, each with an example; `of_all` is the environment that it sets for every step,
    None where files that may set more of it are not here.
    """
    node = layered.node
    fields = reading.fields(node, STEP)
    name = _name(reading, node, fields, number)
    called = f"step {shown(name)}" if name else f"step {number}"
    is_script = "build" not in fields and APPROVE not in fields
    dependencies = _dependencies(reading, fields)
    matrix = read_matrix(reading, fields.get("matrix"), name)
    allowed = (*replaced, *_replaced(fields.get("matrix"), matrix))
    retries = read_retries(reading, fields.get("retries"))
    if matrix is not None and "when" not in fields:  # which may leave those without it out
        replaced_in = [fields[key] for key in _REPLACED_IN if key in fields]
        refuse_lacking(reading, [*replaced_in, *layered.variables.values()], matrix)
    own = read_environment(reading, fields.get("env"), allowed)
    places = _places(reading, layered, allowed, of_all, own)
    outputs = _output_words(reading, fields)
    with_outputs = {**places, **dict.fromkeys(outputs, "x")}
    build = read_build(reading, fields, allowed, with_outputs, outputs, matrix)
    secrets = {**read_secrets(reading, fields), **(build.secret_places if build else {})}
    env = {**own, **(read_variables(reading, layered.variables, places) if is_script else {})}
    generates = read_generates(reading, fields.get("generates"))
    reports = read_reports(reading, fields.get("reports"))
    outputs_kept = read_output_paths(reading, fields.get("outputPaths"))
    output_paths = kept_with(outputs_kept.paths, generates)
    network = read_network(reading, fields.get("network"))
    condition = _condition(
        reading,
        fields.get("when"),
        params,
        _examples(fields, matrix),
        None if of_all is None else {**of_all, **env},
    )
    return WrittenStep(
        place=fields["name"].place if "name" in fields else node.place,
        name=name,
        dependencies=dependencies,
        outputs=(
            *outputs.values(),
            *((fields["when"], one.step) for one in (condition.outputs if condition else ())),
        ),
        step=Step(
            name=name or "",
            image=read_image(reading, node, fields, called, with_outputs) if is_script else None,
            image_place=image_place(reading, fields),
            script=(_script(reading, layered, fields, called, allowed) or "") if is_script else "",
            build=build,
            approve=read_gate(reading, fields, name),
            depends_on=tuple(dependency for _, dependency in dependencies),
            env=env,
            cache_dirs=read_caches(reading, fields.get("cacheDirs")),
            output_paths=kept_with_reports(output_paths, reports),
            output_keeps=outputs_kept.keeps,
            generates=generates,
            reports=reports,
            timeout_seconds=read_timeout(reading, fields.get("timeout")),
            queue_timeout_seconds=read_queue_timeout(reading, fields.get("queueTimeout")),
            grace_seconds=read_grace(reading, fields.get("grace")),
            retries=retries,
            at_most_once=read_at_most_once(reading, fields, retries),
            agents=read_agents(reading, fields.get("agents"), with_outputs),
            concurrency=read_step_group(
                reading,
                fields.get("concurrency"),
                params,
                None if of_all is None else {**of_all, **env},
                _replaced(fields.get("matrix"), matrix),
            ),
            allow_failure=read_boolean(reading, fields.get("allowFailure")),
            run_on=read_run_on(reading, fields),
            network=network,
            services=read_services(reading, fields, network, allowed, places),
            user=read_user(reading, fields.get("user")),
            workdir=read_workdir(reading, fields.get("workdir")),
            shell=read_shell(reading, fields.get("shell")),
            resources=read_resources(reading, fields.get("resources")),
            git=git_beside(reading, fields),
            inputs=read_inputs(reading, fields),
            privileged=read_boolean(reading, fields.get("privileged")),
            secrets=tuple(secrets),
            secret_places={} if reading.is_json else secrets,
            when=condition,
            matrix=matrix,
        ),
    )


def check_keys(reading: Reading, layered: Layered, replaced: Sequence[str]) -> None:
    """Note the mistakes of keys that belong to a step of which nothing else is known."""
    keys = {key.text for key, _ in layered.node.entries}
    missing = ["name", "dependsOn"]
    if APPROVE not in keys:
        missing += ["matrix"] if "build" in keys else ["matrix", "image", "run"]
    node = completed(layered.node, missing, layered.node.place)
    of_matrix = () if "matrix" in keys else _words(reading, layered.node, "matrix.")
    checked = Layered(node=node, variables=layered.variables)
    read_step(reading, checked, 0, (*replaced, *of_matrix), {}, None)


def _words(reading: Reading, node: Node, prefix: str) -> Iterator[str]:
    """What stands in each `${{ … }}`, if it begins so."""
    match node:
        case MapNode(entries=entries):
            for _, value in entries:
                yield from _words(reading, value, prefix)
        case ListNode(items=items):
            for item in items:
                yield from _words(reading, item, prefix)
        case ScalarNode():
            words = (word for _, word in reading.expressions(node))
            yield from (word for word in words if word.startswith(prefix))


def _places(
    reading: Reading,
    layered: Layered,
    allowed: Collection[str],
    of_all: Mapping[str, str] | None,
    own: Mapping[str, str],
) -> dict[str, str]:
    """What `${{ … }}` may hold outside scripts, each word with an example."""
    plain = dict.fromkeys((*allowed, *PLACE_WORDS), "x")
    if of_all is None:
        nodes = (layered.node, *(field.value for field in layered.variables.values()))
        words = (word for node in nodes for word in _words(reading, node, ENV))
        return {**dict.fromkeys(words, "x"), **plain}
    env = env_words({**of_all, **own})
    return {**{word: substituted(text, plain) or "x" for word, text in env.items()}, **plain}


def _output_words(reading: Reading, fields: Mapping[str, Field]) -> dict[str, tuple[Field, str]]:
    """What `${{ … }}` may hold of outputs, in the keys where it may: the key and the step of each
    word."""
    entries = [fields[key] for key in _OUTPUTS_IN if key in fields]
    words = [(word, entry) for entry in entries for word in _words(reading, entry.value, OUTPUTS)]
    named = [(word, entry, output_word(word)) for word, entry in words]
    return {word: (entry, name.step) for word, entry, name in named if name is not None}


def _replaced(entry: Field | None, matrix: Matrix | None) -> tuple[str, ...]:
    """What `${{ … }}` may hold of the matrix."""
    names: Sequence[str] = ()
    if matrix is not None:
        names = matrix.names
    elif entry is not None and isinstance(entry.value, MapNode):
        # A matrix with mistakes: what its keys say is no mistake a second time.
        names = matrix_keys(entry.value)
    return tuple(f"matrix.{name}" for name in names)


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
    env: Mapping[str, str] | None,
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
        with reading.watch(entry.place):
            # A matrix with mistakes of its own, or an environment that is not known.
            if matrix is None or (env is None and "env" in compiled(text).variables()):
                check_words(text)
            else:
                check(text, params, matrix, env or {})
            outputs = outputs_of(text)
    except ConditionFault as fault:
        reading.add(_place_within(reading, entry, text, fault), f"`when` {fault}")
        return None
    place = entry.place
    return Condition(
        expression=text, line=place.line, column=place.column, file=place.file, outputs=outputs
    )


def _place_within(reading: Reading, entry: Field, text: str, fault: ConditionFault) -> Place:
    """Where in the file the fault is, if the expression stands there on one line as it is."""
    place = entry.place
    lines = reading.lines_at(place)
    if fault.column is None or fault.line != 1 or not 0 < place.line <= len(lines):
        return place
    start = lines[place.line - 1].find(text.strip("\n"), place.column - 1)
    return place if start < 0 else replace(place, column=start + fault.column)


def _name(reading: Reading, node: MapNode, fields: dict[str, Field], number: int) -> str | None:
    if "name" not in fields:
        reading.add(node.place, f"step {number} needs `name`")
        return None
    entry = fields["name"]
    name = reading.line_of_text(entry, "write the step's name", MAX_NAME_CHARACTERS)
    if name == EVERY_OTHER:
        reading.add(entry.place, "no step is named `*`: in `dependsOn` that is every other step")
    if name in (".", ".."):
        why = "what it leaves is put into a folder of its name"
        reading.add(entry.place, f"no step is named `{name}`: {why}")
    if name is not None and "/" in name:
        reading.add(
            entry.place, f"the step's name {shown(name)} must not hold `/`: write `-` or a space"
        )
    return name


def _is_number(node: Node) -> TypeGuard[ScalarNode]:
    return isinstance(node, ScalarNode) and node.kind in (Kind.INTEGER, Kind.FLOAT)


def _script(
    reading: Reading,
    layered: Layered,
    fields: dict[str, Field],
    called: str,
    allowed: Collection[str],
) -> str | None:
    entry = one_of(reading, fields, "run", "runScript")
    if entry is None:
        reading.add(layered.node.place, f"{called} needs `run`: the script to run")
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
    whole = layered.before + script
    size = len(whole.encode())
    if size > MAX_SCRIPT_BYTES:
        reading.add(
            entry.place,
            f"{entry.label} has {size:,} bytes, more than {MAX_SCRIPT_BYTES // 1024} KiB: move it "
            "into a file of the repository",
        )
    reading.refuse_expressions(entry.value, allowed, in_script=True)
    return whole


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
