"""A drafted workflow → the text of its file, with a comment at each thing that was not carried."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pushrod.importing.draft import StepDraft, Value, WorkflowDraft
from pushrod.importing.ledger import Notes, order_of, said
from pushrod.importing.waiting import WAITING
from pushrod.importing.yaml_text import entry, scalar

_IN_STEP = "    "
_MAY_BE_EMPTY = ("approve", "build")
_HEAD = "# Imported from {file} by `pushrod import`."


@dataclass(frozen=True, slots=True)
class Spot:
    """Which key of which step begins at a line; `step` None: a key of the workflow."""

    line: int
    step: StepDraft | None
    key: str


@dataclass(slots=True)
class Written:
    lines: list[str] = field(default_factory=list)
    spots: list[Spot] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"

    def spot(self, line: int) -> Spot | None:
        """What a line of the file belongs to."""
        before = [spot for spot in self.spots if spot.line <= line]
        return before[-1] if before else None

    def add(self, lines: Sequence[str], step: StepDraft | None = None, key: str = "") -> None:
        if key:
            self.spots.append(Spot(len(self.lines) + 1, step, key))
        self.lines += lines


def written(draft: WorkflowDraft) -> Written:
    """The file of a workflow."""
    out = Written()
    files = dict.fromkeys([draft.ledger.file, *(one.file for one in draft.further)])
    out.add([_HEAD.format(file=_printable(", ".join(files)))])
    out.add(list(_comments(draft.notes, "")))
    out.add(list(entry("name", draft.name, "")), None, "name")
    for key, value in _present(draft.fields()).items():
        out.add(list(entry(key, value, "")), None, key)
    out.add(["", "steps:"], None, "steps")
    for number, step in enumerate(draft.steps):
        if number:
            out.add([""])
        _write_step(out, step)
    return out


def _write_step(out: Written, step: StepDraft) -> None:
    out.add(list(_comments(step.notes, "  ")))
    fields = _present(step.fields())
    for key in sorted(WAITING & fields.keys()):
        out.add(list(_as_comment(key, fields[key])))
    out.add([f"  - name: {scalar(step.name)}"], step, "name")
    for key, value in fields.items():
        if key not in WAITING:
            out.add(list(entry(key, value, _IN_STEP)), step, key)


def _present(fields: Mapping[str, Value | None]) -> dict[str, Value]:
    """Those that say something: `approve: {}` does."""
    return {
        key: value
        for key, value in fields.items()
        if value is not None
        and (isinstance(value, bool | int) or len(value) or key in _MAY_BE_EMPTY)
    }


def _as_comment(key: str, value: Value) -> Iterator[str]:
    yield f"  # To come with `{key}`:"
    for line in entry(key, value, ""):
        yield f"  #   {line}"


def _comments(notes: Notes, indent: str) -> Iterator[str]:
    for finding in sorted(notes, key=lambda one: order_of(one.place)):
        yield f"{indent}# {_printable(said(finding))}"


def _printable(text: str) -> str:
    """One line, in which nothing moves a cursor."""
    return "".join(one if one.isprintable() else " " for one in text)
