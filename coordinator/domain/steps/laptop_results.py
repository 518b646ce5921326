"""Which results somebody may send that ran on a laptop, and what counts of them. Pure."""

from __future__ import annotations

from dataclasses import replace

from coordinator.domain.model import Build, Step
from coordinator.domain.steps.reuse import Circumstances, Parts, never_kept, parts_of
from pipelines_schema.contract_laptop import SentRun, SentStep


def refusal(step: Step) -> str | None:
    """Why no result of the step is taken from a laptop, for people; None if it is."""
    never = never_kept(step)
    if never is not None:
        return never
    if step.written.secrets:
        return "it gets secrets: whether they are the project's is not known elsewhere"
    if step.written.agents:
        return "it names labels of `agents`, which a laptop does not have"
    return None


def parts_of_sent(step: Step, build: Build, run: SentRun, sent: SentStep) -> Parts:
    """Worked out from the step's own words, as those of a step of ours. `build` is the one that
    holds the results, which is of no branch and of no commit."""
    ran_for = replace(build, branch=run.branch, commit_hash=run.commit, params=run.params)
    circumstances = Circumstances(
        image=sent.image,
        secrets={},
        values={},
        dependencies=sent.dependencies,
        services=sent.services,
    )
    return {**parts_of(step, ran_for, circumstances), "values": dict(sent.values)}
