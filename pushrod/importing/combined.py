"""Workflows that wait for each other become one: a workflow of pushrod waits for no other."""

from __future__ import annotations

from collections.abc import Sequence

from pushrod.importing.draft import (
    EVERY_TAG,
    TRUE,
    StepDraft,
    Value,
    WorkflowDraft,
    both,
    either,
    free_name,
    renamed,
)
from pushrod.importing.ledger import Verdict
from pushrod.importing.patterns import matches

_EVENTS = {
    "push": 'event == "push"',
    "tag": 'event == "tag"',
    "pullRequest": 'event == "pullRequest"',
    "schedule": 'event == "schedule"',
    "manual": 'event == "manual"',
}


def combined(drafts: Sequence[WorkflowDraft]) -> list[WorkflowDraft]:
    """The drafts, with those that name others in `after` put into one with these."""
    names = {draft.name for draft in drafts}
    for draft in drafts:
        for one in sorted(set(draft.after) - names):
            why = f"there is no pipeline `{one}` to wait for"
            draft.ledger.mark(draft.place, "depends_on", Verdict.LEFT, why, draft.notes)
    linked = {draft.name for draft in drafts if any(one in names for one in draft.after)}
    linked |= {one for draft in drafts if draft.name in linked for one in draft.after}
    together = [draft for draft in drafts if draft.name in linked]
    if len(together) < 2:
        return list(drafts)
    rest = [draft for draft in drafts if draft.name not in linked]
    return [_one(together), *rest]


def _one(drafts: Sequence[WorkflowDraft]) -> WorkflowDraft:
    first = drafts[0]
    whole = WorkflowDraft(
        name="ci", ledger=first.ledger, place=first.place, skips_alone=first.skips_alone
    )
    last_steps: dict[str, list[str]] = {}
    for event, value in ((event, value) for draft in drafts for event, value in draft.on.items()):
        whole.on[event] = _wider(whole.on[event], value) if event in whole.on else value
    for draft in drafts:
        whole.further.append(draft.ledger)
        whole.notes += [one for one in draft.notes if one not in whole.notes]
        taken = {step.name for step in whole.steps}
        fresh: dict[str, str] = {}
        for step in draft.steps:
            fresh[step.name] = free_name(f"{draft.name}: {step.name}", taken)
            taken.add(fresh[step.name])
        steps = renamed(draft.steps, fresh)
        usual = [step for step in steps if step.run_on != ["failure"]]
        named = {one for step in usual for one in step.depends_on}
        last_steps[draft.name] = [step.name for step in usual if step.name not in named]
        for step in steps:
            step.env = {**draft.env, **step.env} if step.is_script else step.env
            if draft.on != whole.on:
                step.when = both(_when(draft.on), step.when)
        whole.steps += steps
    _chain(drafts, whole.steps, last_steps)
    return whole


def _chain(
    drafts: Sequence[WorkflowDraft], steps: Sequence[StepDraft], last: dict[str, list[str]]
) -> None:
    """The first steps of a workflow wait for the last ones of those that it comes after."""
    for draft in drafts:
        waits = [one for name in draft.after for one in last.get(name, ())]
        own = [step for step in steps if step.name.startswith(f"{draft.name}: ")]
        for step in own:
            if not step.depends_on:
                step.depends_on = list(waits)


def _wider(one: Value, other: Value) -> Value:
    """What starts where either does; filters that differ are left to the steps' conditions."""
    if one == other:
        return one
    return [EVERY_TAG] if isinstance(one, list) else {}


def _when(on: dict[str, Value]) -> str | None:
    """What a workflow's triggers say, as a condition."""
    return either([_one_event(event, value) for event, value in on.items() if event in _EVENTS])


def _one_event(event: str, value: Value) -> str:
    patterns = value.get("branches") if isinstance(value, dict) else value
    variable = "tag" if event == "tag" else "branch"
    if event not in ("push", "tag") or not isinstance(patterns, list) or EVERY_TAG in patterns:
        return _EVENTS[event]
    tests = [matches(variable, str(one)) for one in patterns]
    return both(_EVENTS[event], either(tests)) or TRUE
