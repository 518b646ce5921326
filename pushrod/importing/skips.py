"""A step that is skipped takes with it what depends on it; with most other systems it doesn't.

Where something else comes behind a step with a condition, its script asks the condition instead:
it then succeeds having done nothing, and the others go on.
"""

from __future__ import annotations

from pushrod.importing.bash_conditions import NotInBash, bash_test
from pushrod.importing.draft import NEVER, StepDraft, WorkflowDraft
from pushrod.importing.ledger import Verdict


def keep_what_follows(draft: WorkflowDraft) -> None:
    """Changes the steps of a draft whose system leaves out a step alone."""
    by_name = {step.name: step for step in draft.steps}
    for step in draft.steps:
        _without_never(step, by_name, draft.skips_alone)
    if not draft.skips_alone:
        return
    for step in draft.steps:
        behind = [one for one in draft.steps if step.name in one.depends_on and one.when != NEVER]
        if step.when in (None, NEVER) or all(_asks_too(one, step.when or "") for one in behind):
            continue
        _ask_in_script(draft, step, behind)


def _without_never(step: StepDraft, by_name: dict[str, StepDraft], alone: bool) -> None:
    """Nothing waits for what never runs, but for what that waited for."""
    if step.when == NEVER or not step.depends_on:
        return
    found: dict[str, None] = {}
    pending = list(step.depends_on)
    seen: set[str] = set()
    while pending:
        name = pending.pop(0)
        other = by_name.get(name)
        if name in seen or other is None:
            continue
        seen.add(name)
        if other.when == NEVER and (alone or other.is_left_out):
            pending = [*other.depends_on, *pending]
        else:
            found[name] = None
    step.depends_on = list(found)


def _asks_too(step: StepDraft, condition: str) -> bool:
    """Whether a step never runs where the condition is false."""
    own = step.when or ""
    parts = (condition, f"({condition})")
    return own == condition or any(
        own.startswith(f"{part} && ") or f" && {part}" in own for part in parts
    )


def _ask_in_script(draft: WorkflowDraft, step: StepDraft, behind: list[StepDraft]) -> None:
    try:
        if not step.is_script or step.shell is not None:
            raise NotInBash("there is no script")
        test = bash_test(step.when or "")
    except NotInBash:
        for one in behind:
            if not _asks_too(one, step.when or ""):
                _wait_before(draft, one, step)
        return
    test = f"{{ {test}; }}" if test.startswith("!") else test
    guard = f"if ! {test}; then\necho 'nothing to do in this build'\nexit 0\nfi\n"
    step.script = guard + step.script
    step.when = None


def _wait_before(draft: WorkflowDraft, behind: StepDraft, step: StepDraft) -> None:
    """What comes behind a step that no script can leave out waits for what that waited for; but
    what a gate guards stays behind it."""
    if step.approve is not None and "failure" not in behind.run_on:
        why = f"it is skipped where the condition of `{step.name}` is false"
        draft.ledger.mark(behind.place, "dependsOn", Verdict.CHANGED, why, behind.notes)
        return
    if "failure" in behind.run_on:
        # It looks at how all of them ended.
        behind.depends_on = list(dict.fromkeys([*step.depends_on, *behind.depends_on]))
        return
    found = [
        name
        for one in behind.depends_on
        for name in (step.depends_on if one == step.name else [one])
    ]
    behind.depends_on = list(dict.fromkeys(found))
    why = f"it no longer waits for `{step.name}`, which is not in every build"
    draft.ledger.mark(behind.place, "dependsOn", Verdict.CHANGED, why, behind.notes)
