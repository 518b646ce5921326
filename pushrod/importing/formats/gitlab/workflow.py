"""A GitLab pipeline as a whole."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pipelines_schema.nodes import MapNode, Node, ScalarNode
from pushrod.importing.draft import EVERY_TAG, StepDraft, WorkflowDraft, gate_before
from pushrod.importing.formats.gitlab.composed import Composed, composed
from pushrod.importing.formats.gitlab.conditions import Names
from pushrod.importing.formats.gitlab.jobs import Pipeline, read_job, variables_of
from pushrod.importing.formats.gitlab.rules import workflow_condition
from pushrod.importing.ledger import Keys, Ledger, Verdict
from pushrod.importing.node_texts import text_of, truth
from pushrod.importing.sources import Choices, ReadFile, Source

_SCHEDULES = "its times stand in GitLab's settings: write `on.schedule`"
_STAGES = ("build", "test", "deploy")
_GLOBAL = ("image", "services", "cache", "before_script", "after_script")
_INHERITED = (
    *_GLOBAL,
    *("artifacts", "hooks", "id_tokens", "interruptible", "retry", "tags", "timeout"),
)
_NO_JOBS = frozenset(
    {*_GLOBAL, *("default", "include", "stages", "variables", "workflow", "spec", "pages:options")}
)


@dataclass(frozen=True, slots=True)
class GitLab:
    name: str = "gitlab"
    title: str = "GitLab CI"
    has_history: bool = True
    patterns: Sequence[str] = (".gitlab-ci.yml", ".gitlab-ci.yaml")

    def drafts(
        self, sources: Sequence[Source], choices: Choices, read: ReadFile
    ) -> list[WorkflowDraft]:
        return [_pipeline(source, choices, read) for source in sources]


def _pipeline(source: Source, choices: Choices, read: ReadFile) -> WorkflowDraft:
    document = source.documents[-1]
    draft = WorkflowDraft(name="ci", ledger=source.ledger, place=document.place, skips_alone=True)
    for header in source.documents[:-1]:
        source.ledger.open(header, draft.notes).left("spec", "a pipeline takes no inputs here")
    own = source.ledger.open(document, draft.notes)
    whole = composed(document, own, read, draft.notes)
    # One mapping of all there is, so that an included file's keys count as this one's.
    keys = source.ledger.open(MapNode(tuple(whole.entries.values()), document.place), draft.notes)
    _Reading(draft, whole, keys, choices).read()
    return draft


@dataclass(slots=True)
class _Reading:
    draft: WorkflowDraft
    whole: Composed
    keys: Keys
    choices: Choices

    def read(self) -> None:
        keys, draft = self.keys, self.draft
        found_words = _words(keys.node)
        words = found_words.keys()
        for word in ("schedule", "schedules"):
            if word in words:
                keys.at(found_words[word], word, Verdict.CHANGED, _SCHEDULES)
        draft.on = {"push": {}, "tag": [EVERY_TAG]}
        if words & {"merge_request_event", "merge_requests"} or any(
            word.startswith("CI_MERGE_REQUEST_") for word in words
        ):
            draft.on["pullRequest"] = {}
        if words & {"web", "api", "triggers", "trigger"}:
            draft.on["manual"] = {}
        variables = keys.map("variables")
        found = {} if variables is None else variables_of(variables)
        # Variables stand in the steps: some need others, and what a step says wins.
        names = Names(variables=found, default_branch=self.choices.default_branch)
        pipeline = Pipeline(
            names=names,
            variables=found,
            image=self.choices.image,
            when=self._workflow(names),
            has_pull_requests="pullRequest" in draft.on,
        )
        self._jobs(pipeline)

    def _workflow(self, names: Names) -> str | None:
        workflow = self.keys.map("workflow")
        if workflow is None:
            return None
        if name := workflow.text("name"):
            self.draft.name = name if "$" not in name else "ci"
        cancel = workflow.map("auto_cancel")
        if cancel is not None:
            if cancel.text("on_new_commit") not in (None, "none"):
                self._cancels()
            if cancel.text("on_job_failure") == "all":
                self.draft.fail_fast = True
        return workflow_condition(workflow, names)

    def _cancels(self) -> None:
        self.draft.concurrency = {"group": "ci-${{ ref }}", "cancelRunning": True}

    def _jobs(self, pipeline: Pipeline) -> None:
        defaults = self._defaults()
        stages = self.keys.texts("stages") or list(_STAGES)
        stages = [".pre", *(one for one in stages if not one.startswith(".")), ".post"]
        stage_of: dict[str, str] = {}
        needs: dict[str, list[str] | None] = {}
        gates: list[tuple[StepDraft, str]] = []
        optional: set[str] = set()
        for name in self.keys.names:
            if name in _NO_JOBS or not isinstance(self.keys.peek(name), MapNode):
                continue
            if name.startswith("."):
                continue
            step = StepDraft(name=self.draft.step_name(name), place=self.keys.place(name))
            job = self._job(name, step, defaults)
            if job is None:
                continue
            job.take("extends")
            stage_of[step.name] = job.text("stage") or "test"
            needs[step.name] = _needs(job)
            running = read_job(job, step, pipeline)
            if running.is_manual:
                gates.append((step, f"Run {name}?"))
                if running.is_optional:
                    optional.add(step.name)
            interruptible = job.peek("interruptible")
            if interruptible is not None and truth(interruptible):
                self._cancels()
            self.draft.steps.append(step)
        self._tell_unused()
        _order(self.draft.steps, stages, stage_of, needs, optional, self.keys.ledger)
        for step, message in gates:
            place = self.draft.steps.index(step)
            gate = gate_before(step, self.draft.step_name(f"approve {step.name}"), message)
            self.draft.steps.insert(place, gate)

    def _tell_unused(self) -> None:
        """The keys of a hidden job count where jobs extend it, or take them by anchors."""
        for name in self.keys.names:
            node = self.keys.peek(name)
            if name.startswith(".") and not self.keys.ledger.is_used(node):
                self.keys.left(name, "no job uses it")
            elif name.startswith("."):
                self.keys.map(name)

    def _job(self, name: str, step: StepDraft, defaults: MapNode) -> Keys | None:
        self.keys.map(name, step.notes)
        node = self.whole.job(name)
        if node is None:
            return None
        own = {key.text for key, _ in node.entries}
        inherited = tuple(one for one in defaults.entries if one[0].text not in own)
        return self.keys.ledger.open(MapNode((*node.entries, *inherited), node.place), step.notes)

    def _defaults(self) -> MapNode:
        """What jobs have that say nothing else: `default`, and its older form at the top."""
        default = self.whole.job("default")
        self.keys.map("default")
        entries = list(default.entries) if default is not None else []
        known = {key.text for key, _ in entries}
        top = [one for one in self.whole.entries.values() if one[0].text in _GLOBAL]
        entries += [one for one in top if one[0].text not in known]
        return MapNode(
            tuple(one for one in entries if one[0].text in _INHERITED), self.keys.node.place
        )


def _needs(job: Keys) -> list[str] | None:
    """The jobs; None where the stages say."""
    job.changed("dependencies", "a step has the outputs of all steps that it depends on")
    if "needs" not in job:
        return None
    found: list[str] = []
    for item in job.items("needs", ScalarNode):
        if isinstance(item, ScalarNode):
            found.append(item.text)
        elif isinstance(item, MapNode):
            inner = job.ledger.open(item, job.notes)
            if "pipeline" in inner or "project" in inner:
                for name in inner.names:
                    inner.left(name, "pushrod takes no outputs from other pipelines")
            elif job_name := inner.text("job"):
                found.append(job_name)
                inner.take("artifacts")
                inner.take("optional")
                inner.changed("parallel", "it waits for all combinations")
    return found


def _order(
    steps: Sequence[StepDraft],
    stages: Sequence[str],
    stage_of: dict[str, str],
    needs: dict[str, list[str] | None],
    optional: Collection[str],
    ledger: Ledger,
) -> None:
    """By `needs`, else behind the stage before; with the outputs of all stages before. Nobody
    waits for jobs that somebody may start."""
    rank = {stage: number for number, stage in enumerate(stages)}
    ranks = {step.name: rank.get(stage_of[step.name], 0) for step in steps}
    for step in steps:
        own = needs[step.name]
        if own is not None:
            for one in sorted(set(own) - ranks.keys()):
                why = f"there is no job `{one}`"
                ledger.mark(step.place, "needs", Verdict.LEFT, why, step.notes)
            step.depends_on = [one for one in dict.fromkeys(own) if one in ranks]
            continue
        before = [one for one in steps if ranks[one.name] < ranks[step.name]]
        earlier = [one for one in before if one.name not in optional]
        last = max((ranks[one.name] for one in earlier), default=-1)
        step.depends_on = [
            one.name for one in earlier if ranks[one.name] == last or one.output_paths
        ]


def _words(node: Node) -> dict[str, Node]:
    """All words of the file, each with a place: they tell which events it knows."""
    found: dict[str, Node] = {}
    pending = [node]
    seen: set[int] = set()
    while pending:
        one = pending.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, ScalarNode):
            found |= dict.fromkeys(re.findall(r"\w+", one.text), one)
        elif isinstance(one, MapNode):
            if any(k.text == "when" and text_of(v) == "never" for k, v in one.entries):
                continue  # a rule for what is left out
            pending += [value for pair in one.entries for value in pair]
        else:
            pending += one.items
    return found
