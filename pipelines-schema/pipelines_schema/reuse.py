"""Steps as they are written → with what they take from templates and defaults, within bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipelines_schema.expressions import OPENING, expressions, substituted
from pipelines_schema.fields import Field, Reading
from pipelines_schema.layers import Layered, completed, laid_over
from pipelines_schema.limits import MAX_EXPANDED_CHARACTERS, MAX_REUSED_NODES, MAX_TEMPLATE_DEPTH
from pipelines_schema.nodes import Kind, ListNode, MapNode, Node, ScalarNode, plain_kind
from pipelines_schema.problem import NotComposed, Place, shown
from pipelines_schema.read_defaults import Defaults
from pipelines_schema.read_step import check_keys
from pipelines_schema.read_templates import (
    NOT_REPLACED_IN,
    USE,
    VARIABLE_PREFIX,
    WITH,
    WORD_PREFIX,
    Template,
    broken,
    check_chains,
    field_of,
    values_for,
    without,
)
from pipelines_schema.suggestions import closest

_SCRIPTS = ("run", "runScript", "build")
_WITHOUT_IMAGE = ("build", "approve")


@dataclass(slots=True)
class Budget:
    """What reuse may make of a workflow: a small file must not become a huge one."""

    reading: Reading
    _nodes: int = 0
    _characters: int = 0
    _known: dict[int, tuple[Node, int, int]] = field(default_factory=dict)
    """Lists and mappings by identity, kept so that no other takes it: most are shared."""

    def spend(self, place: Place, nodes: int, characters: int) -> None:
        """Raises NotComposed, the problem noted, when too much is spent."""
        self._nodes += nodes
        self._characters += characters
        written_out = "once its templates and defaults are written out"
        if self._nodes > MAX_REUSED_NODES:
            self._stop(place, f"more than {MAX_REUSED_NODES:,} values {written_out}: split it")
        if self._characters > MAX_EXPANDED_CHARACTERS:
            self._stop(
                place,
                f"more than {MAX_EXPANDED_CHARACTERS >> 20} MiB of text {written_out}: move long "
                "scripts into files of the repository",
            )

    def spend_on(self, layered: Layered) -> None:
        nodes, characters = self._measure(layered.node)
        self.spend(layered.node.place, nodes, characters + len(layered.before))

    def _stop(self, place: Place, message: str) -> None:
        self.reading.add(place, f"the workflow has {message}")
        raise NotComposed

    def _measure(self, node: Node) -> tuple[int, int]:
        if isinstance(node, ScalarNode):
            return 1, len(node.text)
        if id(node) not in self._known:
            inner: Sequence[Node]
            if isinstance(node, ListNode):
                inner = node.items
            else:
                inner = [one for entry in node.entries for one in entry]
            measured = [self._measure(one) for one in inner]
            self._known[id(node)] = (
                node,
                1 + sum(nodes for nodes, _ in measured),
                sum(characters for _, characters in measured),
            )
        return self._known[id(node)][1:]


@dataclass(slots=True)
class Reuse:
    reading: Reading
    templates: Mapping[str, Template] = field(default_factory=dict)
    defaults: Defaults = field(default_factory=Defaults)
    is_whole: bool = True
    """False: an included file is not known, so nothing is said to be missing."""
    _budget: Budget = field(init=False)
    _bodies: dict[tuple[str, ...], MapNode] = field(default_factory=dict)
    """Templates with values in them, which several steps may give."""

    def __post_init__(self) -> None:
        self._budget = Budget(self.reading)

    def check(self, replaced: Sequence[str]) -> None:
        """Note the templates' own mistakes, whether a step uses them or not."""
        check_chains(self.reading, self.templates)
        for template in self.templates.values():
            unknown = {name: broken(template.body) for name in template.params}
            body = self._body(template, unknown)
            check_keys(self.reading, self._templated(body, (template.name,)), replaced)

    def step(self, node: MapNode) -> Layered:
        """The step over its templates over the defaults. Raises NotComposed."""
        templated = self._templated(node)
        below = self.defaults.below(templated.node)
        known = below.node if self.is_whole else _with_image(below.node)
        layered = Layered(node=known, before=below.before, variables=templated.variables)
        if layered.node is not node or layered.before:
            self._budget.spend_on(layered)
        return layered

    def _templated(self, step: MapNode, through: tuple[str, ...] = ()) -> Layered:
        """With what its templates say; `through` are those that led here."""
        use, given = field_of(step, USE), field_of(step, WITH)
        if use is None:
            return self._without_template(step, given)
        node = without(step, USE, WITH)
        variables: dict[str, Field] = {}
        while use is not None:
            template = self._template(use, through)
            if template is None:
                return Layered(node=_lenient(node), variables=variables)
            values = values_for(self.reading, template, use, given)
            named = {VARIABLE_PREFIX + name.upper(): value for name, value in values.items()}
            is_its_script = not _has_script(node) and _has_script(template.body)
            variables = variables | named if is_its_script else named | variables
            body = self._body(template, {name: one.value for name, one in values.items()})
            node = laid_over(node, without(body, USE, WITH).entries)
            use, given = field_of(body, USE), field_of(body, WITH)
            through = (*through, template.name)
        return Layered(node=node, variables=variables)

    def _without_template(self, step: MapNode, given: Field | None) -> Layered:
        if given is None:
            return Layered(node=step)
        self.reading.add(
            given.key.place,
            "`with` gives a template's parameters their values: write `use`, the template's name, "
            "beside it",
        )
        return Layered(node=without(step, WITH))

    def _template(self, use: Field, through: tuple[str, ...]) -> Template | None:
        """None where there is none, or where the templates' own problems say why."""
        name = self.reading.text(use, "write the name of one of the `templates`")
        if name is None:
            return None
        if OPENING in name:
            self.reading.add(
                use.place, f"`use` names a template: in {shown(name)} nothing is replaced"
            )
            return None
        if name not in self.templates:
            if self.is_whole:
                self.reading.add(use.place, self._unknown(name))
            return None
        if name in through or len(through) == MAX_TEMPLATE_DEPTH:
            return None
        return self.templates[name]

    def _unknown(self, name: str) -> str:
        said = f"there is no template {shown(name)}"
        if self.reading.is_json:
            return f"{said}: only a workflow file has templates; write the step's keys out"
        near = closest(name, self.templates)
        if near is not None:
            return f"{said}: did you mean {shown(near)}?"
        listed = ", ".join(map(shown, list(self.templates)[:10]))
        return f"{said}: there are {listed}" if listed else f"{said}: write it below `templates`"

    def _body(self, template: Template, values: Mapping[str, Node]) -> MapNode:
        known = {
            WORD_PREFIX + name: value
            for name, value in values.items()
            if isinstance(value, ScalarNode)
        }
        key = template.name, *(f"{one.kind.name} {one.text}" for one in known.values())
        if key not in self._bodies:
            entries = (
                (name, value if name.text in NOT_REPLACED_IN else self._filled(value, known))
                for name, value in template.body.entries
            )
            self._bodies[key] = MapNode(tuple(entries), template.body.place)
        return self._bodies[key]

    def _filled(self, node: Node, values: Mapping[str, ScalarNode]) -> Node:
        match node:
            case MapNode(entries=entries):
                filled = ((key, self._filled(value, values)) for key, value in entries)
                return MapNode(tuple(filled), node.place)
            case ListNode(items=items):
                return ListNode(tuple(self._filled(item, values) for item in items), node.place)
            case ScalarNode():
                return self._filled_text(node, values)

    def _filled_text(self, node: ScalarNode, values: Mapping[str, ScalarNode]) -> ScalarNode:
        words = [word for _, word in expressions(node.text) if word.startswith(WORD_PREFIX)]
        if not words:
            return node
        if any(word not in values or values[word].kind is Kind.BROKEN for word in words):
            return broken(node)
        # Before it is made: values hold values, each of which may stand a thousand times.
        self._budget.spend(node.place, 1, sum(len(values[word].text) for word in words))
        text = substituted(node.text, {word: values[word].text for word in words})
        value = values[words[0]]
        if text != value.text:
            return ScalarNode(text, Kind.TEXT, node.place)
        # It is nothing but a value, whose mistakes lie where it is given.
        kind = plain_kind(text)
        kind = Kind.TEXT if kind in _NO_VALUES else kind
        return ScalarNode(text, kind, value.place, value.end_line)


_NO_VALUES = (Kind.NULL, Kind.MERGE)


def _has_script(node: MapNode) -> bool:
    return any(key.text in _SCRIPTS for key, _ in node.entries)


def _with_image(node: MapNode) -> MapNode:
    return node if _needs_no_image(node) else completed(node, ("image",), node.place)


def _lenient(node: MapNode) -> MapNode:
    """Of a step whose template is not there nothing is said to be missing."""
    return node if _needs_no_image(node) else completed(node, ("image", "run"), node.place)


def _needs_no_image(node: MapNode) -> bool:
    return any(key.text in _WITHOUT_IMAGE for key, _ in node.entries)
