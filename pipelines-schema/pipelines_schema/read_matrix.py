"""The `matrix` of a step, with every mistake noted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from pipelines_schema.fields import Field, Reading, line_fault
from pipelines_schema.limits import (
    ENVIRONMENT_NAME,
    MAX_COMBINATIONS,
    MAX_MATRIX_VALUE_CHARACTERS,
    MAX_NAME_CHARACTERS,
)
from pipelines_schema.matrix import Matrix, Value, agrees, has, variable_of
from pipelines_schema.nodes import Kind, ListNode, MapNode, Node, ScalarNode, described
from pipelines_schema.problem import Place, shown
from pipelines_schema.read_endings import read_boolean
from pipelines_schema.suggestions import closest

INCLUDE, EXCLUDE, FAIL_FAST = "include", "exclude", "failFast"
_HINT = 'write the values of each variable, such as `{python: ["3.11", "3.12"]}`'
_LIST_HINT = "write a list of values"


def read_matrix(reading: Reading, entry: Field | None, step_name: str | None) -> Matrix | None:
    """None where there is none, or one with mistakes."""
    if entry is None:
        return None
    node = reading.mapping(entry, _HINT)
    if node is None:
        return None
    fields = {key.text: Field(key, value) for key, value in node.entries}
    before = reading.problems.count
    axes = {
        name: _values(reading, field)
        for name, field in fields.items()
        if name not in (INCLUDE, EXCLUDE, FAIL_FAST) and _name_is_good(reading, field.key, fields)
    }
    include = _combinations(reading, fields.get(INCLUDE))
    exclude = _combinations(reading, fields.get(EXCLUDE))
    matrix = Matrix(
        axes=axes,
        include=tuple(one for _, one in include),
        exclude=tuple(one for _, one in exclude),
        fail_fast=read_boolean(reading, fields.get(FAIL_FAST)),
    )
    if not set(fields) - {FAIL_FAST}:
        reading.add(entry.place, f"{entry.label} is empty: {_HINT}")
    elif reading.problems.count == before:
        _check(reading, entry, matrix, include, exclude, step_name)
    return matrix if reading.problems.count == before else None


def matrix_keys(node: MapNode) -> tuple[str, ...]:
    """The names of a matrix with mistakes, as far as they can be told."""
    names = [key.text for key, _ in node.entries if key.text != FAIL_FAST]
    for key, value in node.entries:
        items = value.items if isinstance(value, ListNode) else (value,)
        if key.text == INCLUDE:
            maps = (item for item in items if isinstance(item, MapNode))
            names += [name.text for item in maps for name, _ in item.entries]
        else:
            objects = (item for item in items if isinstance(item, MapNode))
            names += [f"{key.text}.{name.text}" for item in objects for name, _ in item.entries]
    return tuple(names)


def refuse_lacking(reading: Reading, fields: Sequence[Field], matrix: Matrix) -> None:
    """Note each `${{ matrix.… }}` of a value that only some combinations have."""
    combinations = matrix.combinations()
    lacking = {
        f"matrix.{name}": name
        for name in matrix.names
        if any(name not in one for one in combinations)
    }
    for node in (scalar for field in fields for scalar in _scalars(field.value)):
        for place, expression in reading.expressions(node):
            if expression in lacking:
                name = lacking[expression]
                reading.add(
                    place,
                    f"{shown('${{ ' + expression + ' }}')} is not replaced in every combination: "
                    f"some lack `{name}`: give it to all of them, or write "
                    f'"${variable_of(name)}" in `run`, empty where there is none',
                )


def _scalars(node: Node) -> Iterator[ScalarNode]:
    if isinstance(node, ScalarNode):
        yield node
    inner = node.items if isinstance(node, ListNode) else ()
    values = (value for _, value in node.entries) if isinstance(node, MapNode) else inner
    for value in values:
        yield from _scalars(value)


def _name_is_good(reading: Reading, key: ScalarNode, fields: Mapping[str, Field]) -> bool:
    if not re.fullmatch(ENVIRONMENT_NAME, key.text) or len(key.text) > MAX_NAME_CHARACTERS:
        reading.add(
            key.place,
            f"the variable {shown(key.text)} of `matrix` must be named by letters, digits and "
            f"`_`, not begin with a digit, and have at most {MAX_NAME_CHARACTERS} characters",
        )
        return False
    twin = next(
        (
            other
            for other in fields
            if other.upper() == key.text.upper() and other != key.text and other < key.text
        ),
        None,
    )
    if twin is not None:
        reading.add(
            key.place,
            f"{shown(key.text)} and {shown(twin)} would be the same variable "
            f"{variable_of(key.text)}: rename one of them",
        )
    return True


def _values(reading: Reading, entry: Field) -> tuple[Value, ...]:
    node = reading.list(entry, _LIST_HINT)
    items = () if node is None else node.items
    if node is not None and not items:
        reading.add(entry.place, f"{entry.label} is empty, so nothing would run: {_LIST_HINT}")
    if len(items) > MAX_COMBINATIONS:
        reading.add(
            entry.place,
            f"{entry.label} has {len(items)} items: at most {MAX_COMBINATIONS} are allowed",
        )
        return ()
    found: list[Value] = []
    for item in items:
        value = _value(reading, Field(entry.key, item), f"an item of {entry.label}")
        if value is None:
            continue
        if value in found:
            called = shown(value) if isinstance(value, str) else "an object"
            reading.add(item.place, f"{entry.label} names {called} twice: remove one of them")
        found.append(value)
    return tuple(found)


def _value(reading: Reading, field: Field, label: str) -> Value | None:
    """A text, or an object of texts; None where it is neither, which is noted."""
    node = field.value
    if isinstance(node, MapNode):
        return _object(reading, node, label)
    if not reading.is_text(node):
        if not (isinstance(node, ScalarNode) and node.kind is Kind.BROKEN):
            reading.add(
                node.place,
                f"{label} must be text, or a mapping of names to texts, this is {described(node)}",
            )
        return None
    text = reading.text(field, "write the value")
    if text is None or reading.refuse_expressions(node):
        return None
    _check_value(reading, node.place, field.label, text)
    return text


def _object(reading: Reading, node: MapNode, label: str) -> Mapping[str, str]:
    if not node.entries:
        reading.add(node.place, f"{label} is empty: write `name: value` in it")
    values: dict[str, str] = {}
    for key, value in node.entries:
        field = Field(key, value)
        _name_is_good(reading, key, {})
        text = reading.text(field, "write the value as text, which may be empty")
        if text is not None and not reading.refuse_expressions(value):
            if text:
                _check_value(reading, field.place, field.label, text)
            values[key.text] = text
    return values


def _check_value(reading: Reading, place: Place, label: str, text: str) -> None:
    fault = line_fault(text, MAX_MATRIX_VALUE_CHARACTERS)
    if fault is not None:
        reading.add(place, f"a value of {label} {fault}")


def _combinations(
    reading: Reading, entry: Field | None
) -> tuple[tuple[Place, Mapping[str, Value]], ...]:
    """The mappings of `include` or `exclude`."""
    if entry is None:
        return ()
    hint = 'write a list of combinations, such as `[{python: "3.13", os: linux}]`'
    node = reading.list(entry, hint)
    found = []
    for item in () if node is None else node.items:
        if isinstance(item, MapNode) and item.entries:
            found.append((item.place, _combination(reading, item)))
        elif not (isinstance(item, ScalarNode) and item.kind is Kind.BROKEN):
            what = "empty" if isinstance(item, MapNode) else described(item)
            reading.add(
                item.place,
                f"an item of {entry.label} must be a mapping of names to values, this is {what}",
            )
    return tuple(found)


def _combination(reading: Reading, node: MapNode) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for key, value in node.entries:
        field = Field(key, value)
        _name_is_good(reading, key, {})
        read = _value(reading, field, field.label)
        if read is not None:
            values[key.text] = read
    return values


def _check(
    reading: Reading,
    entry: Field,
    matrix: Matrix,
    include: Sequence[tuple[Place, Mapping[str, Value]]],
    exclude: Sequence[tuple[Place, Mapping[str, Value]]],
    step_name: str | None,
) -> None:
    """What can only be said of the whole matrix."""
    if matrix.most_combinations > MAX_COMBINATIONS:
        reading.add(
            entry.place,
            f"`matrix` has {matrix.most_combinations:,} combinations: at most {MAX_COMBINATIONS} "
            "are allowed",
        )
        return
    before = reading.problems.count
    _check_excluded(reading, matrix, exclude)
    _check_included(reading, matrix, include)
    if not matrix.combinations():
        reading.add(entry.place, "`exclude` leaves nothing of this `matrix`: remove some of it")
    _check_variables(reading, entry, matrix)
    if step_name is None or reading.problems.count > before:
        return
    names: set[str] = set()
    for name, _ in matrix.named(step_name):
        if len(name) > MAX_NAME_CHARACTERS:
            reading.add(
                entry.place,
                f"the name {shown(name)} of a combination is longer than {MAX_NAME_CHARACTERS} "
                "characters: shorten the step's name or the values",
            )
            return
        if name in names:
            reading.add(
                entry.place,
                f"two combinations would both be named {shown(name)}: make their values differ",
            )
            return
        names.add(name)


def _check_excluded(
    reading: Reading, matrix: Matrix, exclude: Sequence[tuple[Place, Mapping[str, Value]]]
) -> None:
    of_axes = Matrix(axes=matrix.axes).of_axes()
    for place, out in exclude:
        unknown = next((name for name in out if name not in matrix.axes), None)
        if unknown is not None:
            near = closest(unknown, matrix.axes)
            meant = f"did you mean `{near}`?" if near else "name variables of this `matrix`"
            reading.add(place, f"`exclude` names {shown(unknown)}, which is none of them: {meant}")
        elif not any(has(one, out) for one in of_axes):
            reading.add(place, "this excludes nothing: no combination has all of these values")


def _check_variables(reading: Reading, entry: Field, matrix: Matrix) -> None:
    variables: dict[str, str] = {}
    for name in matrix.names:
        twin = variables.setdefault(variable_of(name), name)
        if twin != name:
            reading.add(
                entry.place,
                f"{shown(name)} and {shown(twin)} of `matrix` would be the same variable "
                f"{variable_of(name)}: rename one of them",
            )


def _check_included(
    reading: Reading, matrix: Matrix, include: Sequence[tuple[Place, Mapping[str, Value]]]
) -> None:
    originals = matrix.of_axes()
    known: list[Mapping[str, Value]] = []
    for place, one in include:
        agreeing = [original for original in originals if agrees(original, one)]
        if one in known or (agreeing and all(has(original, one) for original in agreeing)):
            reading.add(place, "this combination is in the `matrix` already: remove it")
        known.append(one)
