"""The `templates` of a workflow: keys of a step, written once and used by several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipelines_schema.dag import describe_cycle
from pipelines_schema.fields import Field, Reading, Vocabulary, line_fault
from pipelines_schema.limits import MAX_NAME_CHARACTERS, MAX_PARAM_CHARACTERS, MAX_TEMPLATE_DEPTH
from pipelines_schema.nodes import Kind, ListNode, MapNode, Node, ScalarNode
from pipelines_schema.problem import shown
from pipelines_schema.read_params import read_param_names
from pipelines_schema.step_keys import STEP
from pipelines_schema.suggestions import closest

PARAMS, USE, WITH = "params", "use", "with"
VARIABLE_PREFIX = "PUSHROD_WITH_"
WORD_PREFIX = "with."
NOT_REPLACED_IN = ("run", "runScript", "when")
"""Keys of a template in which `${{ with.… }}` stays as it is."""

TEMPLATE = Vocabulary(
    where="a template",
    known=(PARAMS, *(key for key in STEP.known if key != "name")),
    not_built=STEP.not_built,
    synonyms={
        **STEP.synonyms,
        "name": "a template is named by its key below `templates`",
        "parameters": "write `params`",
    },
)
PARAM = Vocabulary(
    where="a template's parameter",
    known=("default",),
    synonyms={
        "required": "a parameter without `default` has to be given",
        "type": "a parameter is text: remove it",
        "oneOf": "a template takes any text: remove it",
    },
)
_HINT = "write `name: {…}` for each template, with keys of a step"
_PARAMS_HINT = "write the parameters' names with their `default`, or remove the key"
_PARAM_HINT = "write `{default: …}`, or nothing where a step has to give it"
_WITH_HINT = 'write the values of the template\'s parameters, such as `{version: "3.12"}`'


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    entry: Field
    body: MapNode
    """Its keys of a step; `use` and `with` too."""
    params: Mapping[str, ScalarNode | None]
    """Each with its default; None has to be given."""

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def use(self) -> Field | None:
        return field_of(self.body, USE)


def field_of(node: MapNode, name: str) -> Field | None:
    return next((Field(key, value) for key, value in node.entries if key.text == name), None)


def without(node: MapNode, *names: str) -> MapNode:
    return MapNode(tuple(one for one in node.entries if one[0].text not in names), node.place)


def read_templates(reading: Reading, entries: Iterable[Field]) -> dict[str, Template]:
    """`entries` are the `templates` of the files, a later one winning over its namesake."""
    found: dict[str, Template] = {}
    for entry in entries:
        node = reading.mapping(entry, _HINT)
        for key, value in () if node is None else node.entries:
            template = _template(reading, Field(key, value))
            if template is not None:
                found[key.text] = template
    return found


def _template(reading: Reading, entry: Field) -> Template | None:
    fault = line_fault(entry.name, MAX_NAME_CHARACTERS)
    if fault is not None:
        reading.add(entry.key.place, f"the template's name {entry.label} {fault}")
    node = reading.mapping(entry, "write keys of a step, such as `{image: debian, run: make}`")
    if node is None:
        return None
    if not node.entries:
        reading.add(entry.place, f"the template {entry.label} is empty: write keys of a step")
    fields = reading.fields(node, TEMPLATE)
    written = fields.pop(PARAMS, None)
    params = (
        [] if written is None else read_param_names(reading, written, _PARAMS_HINT, VARIABLE_PREFIX)
    )
    body = MapNode(tuple((one.key, one.value) for one in fields.values()), node.place)
    template = Template(
        entry=entry, body=body, params={one.name: _default(reading, one) for one in params}
    )
    for key, value in body.entries:
        if key.text not in NOT_REPLACED_IN:
            _refuse_unknown_words(reading, value, template)
    return template


def _default(reading: Reading, entry: Field) -> ScalarNode | None:
    if entry.is_null:
        return None
    node = reading.mapping(entry, _PARAM_HINT)
    default = None if node is None else reading.fields(node, PARAM).get("default")
    return None if default is None else read_value(reading, default)


def read_value(reading: Reading, entry: Field) -> ScalarNode:
    """A parameter's value; broken where it has a mistake."""
    text = reading.text(entry, "write the value as text, or remove the key")
    if text is not None and len(text) > MAX_PARAM_CHARACTERS:
        reading.add(
            entry.place, f"{entry.label} is longer than {MAX_PARAM_CHARACTERS:,} characters"
        )
        text = None
    if text is None or not isinstance(entry.value, ScalarNode):
        return broken(entry.value)
    return entry.value


def broken(node: Node) -> ScalarNode:
    """What nothing is asked of."""
    return ScalarNode("", Kind.BROKEN, node.place)


def _refuse_unknown_words(reading: Reading, node: Node, template: Template) -> None:
    match node:
        case MapNode(entries=entries):
            for _, value in entries:
                _refuse_unknown_words(reading, value, template)
        case ListNode(items=items):
            for item in items:
                _refuse_unknown_words(reading, item, template)
        case ScalarNode():
            for place, word in reading.expressions(node):
                name = word.removeprefix(WORD_PREFIX)
                if word.startswith(WORD_PREFIX) and name not in template.params:
                    reading.add(place, _no_such_param(template, name))


def _no_such_param(template: Template, name: str) -> str:
    said = f"the template {shown(template.name)} has no parameter {shown(name)}"
    near = closest(name, template.params)
    if near is not None:
        return f"{said}: did you mean {shown(near)}?"
    listed = ", ".join(map(shown, template.params))
    return f"{said}: it has {listed}" if listed else f"{said}: add it to its `params`"


def values_for(
    reading: Reading, template: Template, use: Field, given: Field | None
) -> dict[str, Field]:
    """The values of its parameters, by name, as a `with` gives them."""
    node = None if given is None else reading.mapping(given, _WITH_HINT)
    values: dict[str, Field] = {}
    for key, value in () if node is None else node.entries:
        if key.text in template.params:
            values[key.text] = Field(key, read_value(reading, Field(key, value)))
        else:
            reading.add(key.place, _no_such_param(template, key.text))
    is_known = given is None or node is not None
    for name, default in template.params.items():
        if name in values:
            continue
        if default is None and is_known:
            reading.add(
                use.place,
                f"the template {shown(template.name)} needs a value for {shown(name)}: write "
                f"`with: {{{name}: …}}`",
            )
        key = ScalarNode(name, Kind.TEXT, use.place)
        values[name] = Field(key, default if default is not None else broken(use.value))
    return values


def check_chains(reading: Reading, templates: Mapping[str, Template]) -> None:
    """Note what uses itself, and what is more than MAX_TEMPLATE_DEPTH deep."""
    told: set[str] = set()
    for template in templates.values():
        chain = chain_of(template, templates)
        if chain[-1] in chain[:-1]:
            cycle = chain[chain.index(chain[-1]) :]
            first = templates[cycle[0]].use
            if told.isdisjoint(cycle) and first is not None:
                reading.add(first.place, _circle(cycle[:-1]))
            told |= set(cycle)
        elif len(chain) == MAX_TEMPLATE_DEPTH + 1 and template.use is not None:
            way = " → ".join(map(shown, chain))
            reading.add(
                template.use.place,
                f"templates are at most {MAX_TEMPLATE_DEPTH} deep, and this is {way}: write one "
                "of them out",
            )


def chain_of(template: Template, templates: Mapping[str, Template]) -> list[str]:
    """The names of all it uses, itself first; where they go round, the last has been there."""
    names = [template.name]
    following: Template | None = template
    while following is not None and (use := following.use) is not None:
        following = templates.get(used_name(use))
        if following is None:
            break
        names.append(following.name)
        if following.name in names[:-1]:
            break
    return names


def used_name(use: Field) -> str:
    return use.value.text if isinstance(use.value, ScalarNode) else ""


def _circle(cycle: Sequence[str]) -> str:
    if len(cycle) == 1:
        return f"the template {shown(cycle[0])} uses itself: remove this"
    way = shown(describe_cycle(cycle), max_characters=2000)
    return f"these templates use one another: {way}; remove one of these `use`"
