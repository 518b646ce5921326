"""A drafted workflow → a text that the language accepts: it is asked, not guessed at.

What another system allows and pushrod refuses (a name, a path, a pattern) is known to the parser
alone. A key that it refuses is taken out, with the parser's own words as the reason.
"""

from __future__ import annotations

from pipelines_schema import parse_workflow
from pipelines_schema.problem import Problem
from pushrod.importing.document import Unreadable
from pushrod.importing.draft import StepDraft, WorkflowDraft
from pushrod.importing.ledger import Verdict
from pushrod.importing.shell_text import failing
from pushrod.importing.writer import Spot, Written, written

_ROUNDS = 40
_REMOVABLE = frozenset({"on", "env", "concurrency", "timeout", "failFast"})


def accepted(draft: WorkflowDraft, path: str, image: str) -> Written:
    """What is written of a draft, once it has no problem left. Changes the draft and its ledger.

    `image` is for steps whose own is refused. Raises Unreadable where nothing helps.
    """
    if not draft.steps:
        why = "there is nothing in it that pushrod could run"
        draft.steps.append(_placeholder(draft, why, image))
    problems: tuple[Problem, ...] = ()
    for _ in range(_ROUNDS):
        out = written(draft)
        problems = parse_workflow(out.text.encode(), path).problems
        if not problems:
            return out
        done: set[tuple[int, str]] = set()
        for problem in problems:
            spot = out.spot(problem.line or 1)
            if spot is not None and (id(spot.step), spot.key) not in done:
                done.add((id(spot.step), spot.key))
                _mend(draft, spot, problem.message, image)
    raise Unreadable(
        Problem(
            file=draft.ledger.file,
            line=draft.place.line,
            column=draft.place.column,
            message=f"no workflow could be made of it: {problems[0].message}",
        )
    )


def _placeholder(draft: WorkflowDraft, why: str, image: str) -> StepDraft:
    draft.ledger.mark(draft.place, "steps", Verdict.LEFT, why, draft.notes)
    return StepDraft(name="nothing", place=draft.place, image=image, script=failing(why))


def _mend(draft: WorkflowDraft, spot: Spot, message: str, image: str) -> None:
    step = spot.step
    why = f"pushrod refuses it: {message}"
    if step is None:
        draft.ledger.mark(draft.place, spot.key, Verdict.LEFT, why, draft.notes)
        if spot.key in _REMOVABLE:
            draft.dropped.add(spot.key)
        elif spot.key == "name":
            draft.name = "imported"
        return
    draft.ledger.mark(step.place, spot.key, Verdict.LEFT, why, step.notes)
    match spot.key:
        case "name":
            _rename(draft, step)
        case "image":
            step.image = image
        case "run" | "build" | "approve":
            step.build = step.approve = None
            step.image = step.image or image
            step.script = failing(f"{spot.key} could not be imported")
        case "when":
            step.when = "false"
        case _:
            step.dropped.add(spot.key)


def _rename(draft: WorkflowDraft, step: StepDraft) -> None:
    name = f"step {draft.steps.index(step) + 1}"
    for other in draft.steps:
        other.depends_on = [name if one == step.name else one for one in other.depends_on]
    step.name = name
