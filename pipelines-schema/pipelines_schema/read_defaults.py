"""The `defaults` of a workflow: what each of its steps says that says nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipelines_schema.fields import Field, Reading, Vocabulary
from pipelines_schema.layers import Entry, Layered, laid_over, without_a_place
from pipelines_schema.limits import MAX_PATHS, MAX_SCRIPT_BYTES
from pipelines_schema.nodes import ListNode, MapNode
from pipelines_schema.problem import Place
from pipelines_schema.read_step import check_keys
from pipelines_schema.step_keys import STEP

BEFORE = "before"
_OF_ONE_STEP = {
    "name": "each step has its own name",
    "run": "a script belongs to a step; lines to run before each script are `before`",
    "runScript": "a script belongs to a step; lines to run before each script are `before`",
    "use": "a template is used by a step",
    "with": "a template is used by a step",
    "build": "an image's build belongs to a step",
    "approve": "an approval is a step of its own",
    "dependsOn": "each step says itself what it depends on",
    "generates": "a step that generates others says so itself",
    "matrix": "a matrix belongs to a step",
}
DEFAULTS = Vocabulary(
    where="`defaults`",
    known=(*(key for key in STEP.known if key not in _OF_ONE_STEP), BEFORE),
    not_built=STEP.not_built,
    synonyms={
        **STEP.synonyms,
        **_OF_ONE_STEP,
        "before_script": "write `before`",
        "beforeScript": "write `before`",
    },
)
_HINT = "write keys of a step, such as `{image: debian, timeout: 20m}`"
_BEFORE_HINT = "write lines to run before each script, as text or as a list"


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    entries: Sequence[Entry] = ()
    before: str = ""

    def below(self, step: MapNode) -> Layered:
        """The step's keys over these."""
        if not self.entries and not self.before:
            return Layered(node=step)
        node = laid_over(step, self.entries, without_a_place(step))
        return Layered(node=node, before=self.before)


def read_defaults(reading: Reading, entries: Iterable[Field], replaced: Sequence[str]) -> Defaults:
    """`entries` are the `defaults` of the files, a later one winning.

    Their mistakes are noted whether a step uses them or not.
    """
    below = MapNode((), Place(1, 1))
    before = ""
    for entry in entries:
        node = reading.mapping(entry, _HINT)
        if node is None:
            continue
        if not node.entries:
            reading.add(entry.place, f"{entry.label} is empty: {_HINT}, or remove the key")
        fields = reading.fields(node, DEFAULTS)
        if BEFORE in fields:
            before = _before(reading, fields.pop(BEFORE), replaced)
        own = MapNode(tuple((one.key, one.value) for one in fields.values()), node.place)
        check_keys(reading, Layered(node=own), replaced)
        below = laid_over(own, below.entries)
    return Defaults(entries=below.entries, before=before)


def _before(reading: Reading, entry: Field, replaced: Sequence[str]) -> str:
    if isinstance(entry.value, ListNode):
        items = [Field(entry.key, item) for item in entry.value.items]
    else:
        items = [entry]
    if len(items) > MAX_PATHS or not items:
        reading.add(
            entry.place,
            f"{entry.label} has {len(items)} items: write 1 to {MAX_PATHS}, or one text of "
            "several lines",
        )
        return ""
    lines = []
    for item in items:
        text = reading.text(item, _BEFORE_HINT)
        if text is not None and not text.strip():
            reading.add(item.place, f"{entry.label} is blank: {_BEFORE_HINT}, or remove it")
        elif text is not None and not reading.refuse_expressions(
            item.value, replaced, in_script=True
        ):
            lines.append(text.rstrip("\n") + "\n")
    if sum(len(line.encode()) for line in lines) > MAX_SCRIPT_BYTES:
        reading.add(
            entry.place,
            f"{entry.label} has more than {MAX_SCRIPT_BYTES // 1024} KiB: move it into a file of "
            "the repository",
        )
    return "".join(lines)
