"""The jobs of a GitHub workflow: one step each, and one more for each image they build."""

from __future__ import annotations

from dataclasses import replace

from pipelines_schema.nodes import MapNode, ScalarNode
from pipelines_schema.problem import shown
from pushrod.importing.conditions import Untranslatable
from pushrod.importing.draft import NEVER, StepDraft, Value, WorkflowDraft, free_name
from pushrod.importing.expansions import OPENING, pieces
from pushrod.importing.formats.github.job import Job
from pushrod.importing.formats.github.matrix import NO_MACHINE, is_foreign, read_matrix
from pushrod.importing.formats.github.meaning import Scope, meaning
from pushrod.importing.formats.github.services import read_services
from pushrod.importing.formats.github.steps import read_step
from pushrod.importing.images import of_ubuntu
from pushrod.importing.ledger import Keys, Verdict
from pushrod.importing.node_texts import text_of
from pushrod.importing.shell_text import failing
from pushrod.importing.sources import Choices

_CALLED = "pushrod calls no workflow from another: copy its steps, or make them `templates`"
_HOSTED = ("ubuntu-", "linux")
_MACHINE = "a machine of GitHub's becomes a container: its image has git, curl, make, gcc, python3"


def read_jobs(
    keys: Keys,
    draft: WorkflowDraft,
    choices: Choices,
    inputs: frozenset[str],
    env: dict[str, str],
    defaults: tuple[str | None, str | None],
) -> None:
    """Adds a step for each job; `env` is the workflow's that only scripts can have."""
    jobs = keys.map("jobs")
    if jobs is None:
        return
    names: dict[str, str] = {}
    for one in jobs.names:
        names[one] = free_name(_name(jobs, one), set(names.values()))
    ends: dict[str, list[str]] = {}
    for one in jobs.names:
        step = StepDraft(name=names[one], place=jobs.place(one))
        inner = jobs.map(one, step.notes)
        if inner is None:
            continue
        job = Job(step, inner, Scope(steps=names, choices=inputs))
        found = _read_job(job, draft, choices, env, defaults)
        draft.steps += found
        ends[one] = [made.name for made in found]
    _join(draft, names, ends)


def _name(jobs: Keys, one: str) -> str:
    """What GitHub shows, unless it holds expressions."""
    node = jobs.peek(one)
    entries = node.entries if isinstance(node, MapNode) else ()
    shown = next((text_of(value) for key, value in entries if key.text == "name"), None)
    return one if shown is None or OPENING in shown else shown


def _join(draft: WorkflowDraft, names: dict[str, str], ends: dict[str, list[str]]) -> None:
    """What depended on a job depends on all steps that it became, and on none that is not there."""
    by_name = {names[job]: made for job, made in ends.items()}
    for step in draft.steps:
        found: list[str] = []
        for one in step.depends_on:
            made = by_name.get(one, [one] if any(s.name == one for s in draft.steps) else [])
            own = step.name in made
            found += [one] if own else made
        step.depends_on = list(dict.fromkeys(found))


def _read_job(
    job: Job,
    draft: WorkflowDraft,
    choices: Choices,
    env: dict[str, str],
    defaults: tuple[str | None, str | None],
) -> list[StepDraft]:
    keys, step = job.keys, job.step
    if OPENING in (keys.text("name") or ""):
        keys.changed("name", "a step's name holds no expressions: its combinations are told apart")
    for one in keys.texts("needs"):
        if one in job.scope.steps:
            step.depends_on.append(job.scope.steps[one])
        else:
            keys.left("needs", f"there is no job `{one}`")
    if "uses" in keys:
        keys.left("uses", _CALLED)
        for name in ("with", "secrets"):
            keys.left(name, "it belongs to the workflow that is called")
        step.image, step.script = choices.image, failing("a workflow that is called")
        _condition(job)
        return [step]
    strategy = keys.map("strategy")
    if strategy is not None:
        matrix = read_matrix(strategy)
        step.matrix, job.scope.matrix = matrix.value, matrix.names
        strategy.left("max-parallel", "use a `concurrency` group with a `limit`")
        strategy.take("fail-fast")
        if matrix.foreign and "matrix" in strategy and isinstance(strategy.peek("matrix"), MapNode):
            keys.left("runs-on", f"{NO_MACHINE}: the job is left out")
            return _left_out(job, choices.image)
    if not _machine(job, choices):
        return _left_out(job, choices.image)
    _surroundings(job, env)
    inner = read_defaults(keys.map("defaults"), defaults)
    for item in keys.items("steps"):
        if isinstance(item, MapNode):
            read_step(job, keys.ledger.open(item, step.notes), inner)
    _condition(job)
    _outputs(job)
    return _finished(job)


def _left_out(job: Job, image: str) -> list[StepDraft]:
    """A job that can't run here: all its keys are told as left."""
    for name in job.keys.names:
        if name != "runs-on":
            job.keys.left(name, "the whole job is left out")
    job.step.script = failing(f"job {job.step.name}, which needs another machine than Linux")
    job.step.matrix = {}
    job.step.when = NEVER
    job.step.is_left_out = True
    job.step.image = image
    return [job.step]


def _machine(job: Job, choices: Choices) -> bool:
    """Sets image and labels; False where it is no Linux."""
    keys, step = job.keys, job.step
    step.image = choices.image
    node = keys.peek("runs-on")
    labels = keys.texts("runs-on") if not isinstance(node, MapNode) else []
    if isinstance(node, MapNode):
        keys.changed("runs-on", "groups of runners are labels here: write `agents`")
    if any(is_foreign(label) for label in labels):
        keys.left("runs-on", f"{NO_MACHINE}: the job is left out")
        return False
    own = [label for label in labels if label not in ("self-hosted", "linux", "Linux", "X64")]
    if "self-hosted" in labels or any(
        not label.startswith(_HOSTED) and "${{" not in label for label in own
    ):
        step.agents = {label: "true" for label in own if "${{" not in label}
        keys.changed("runs-on", "start an agent with these labels, `--label NAME=true`")
    elif labels:
        if labels[0].endswith("-arm"):
            step.agents = {"arch": "arm64"}
        step.image = of_ubuntu(labels[0]) if choices.image == of_ubuntu("") else choices.image
        keys.changed("runs-on", _MACHINE)
    _container(job)
    return True


def _container(job: Job) -> None:
    keys = job.keys
    if isinstance(keys.peek("container"), ScalarNode):
        job.step.image = job.outside(keys.text("container") or "")
        job.has_container = True
        return
    container = keys.map("container")
    if container is None:
        return
    if image := container.text("image"):
        job.step.image = job.outside(image)
        job.has_container = True
    plain, lines = job.variables(container.variables("env"))
    job.step.env |= plain
    job.exports += lines
    container.changed("credentials", "log the project in once, by `pushrod registry`")
    container.left("options", "a step has `user` and `resources`, and no other options")
    container.left("ports", "nobody reaches a step from outside")
    container.left("volumes", "a step has no folders of its machine; `cacheDirs` are kept")


def _surroundings(job: Job, env: dict[str, str]) -> None:
    """Variables, services, limits and what else the job says beside its steps."""
    keys, step = job.keys, job.step
    plain, lines = job.variables(env)
    own, own_lines = job.variables(keys.variables("env"))
    step.env = {**plain, **step.env, **own}
    job.exports += lines + own_lines
    read_services(job)
    minutes = keys.text("timeout-minutes")
    if minutes is not None and minutes.isdigit():
        step.timeout = f"{int(minutes)}m"
    elif minutes is not None:
        keys.left("timeout-minutes", "a `timeout` is a number")
    node = keys.peek("continue-on-error")
    if isinstance(node, ScalarNode) and "${{" in node.text:
        keys.left("continue-on-error", "`allowFailure` holds for all combinations or none")
    else:
        step.allow_failure = keys.boolean("continue-on-error") or False
    keys.changed("permissions", "pushrod makes no token for a forge: log in by secrets")
    keys.left("environment", "there are no environments yet: put a gate (`approve`) before it")
    _concurrency(job)


def _concurrency(job: Job) -> None:
    keys = job.keys
    if "concurrency" not in keys:
        return
    group: str | None
    if isinstance(keys.peek("concurrency"), MapNode):
        inner = keys.map("concurrency")
        group = inner.text("group") if inner is not None else None
        if inner is not None:
            inner.changed("cancel-in-progress", "steps of a group wait for each other")
    else:
        group = keys.text("concurrency")
    if group:
        job.step.concurrency = job.outside(group)


def _condition(job: Job) -> None:
    text = job.keys.text("if")
    if text is None:
        return
    try:
        found = meaning(text, job.scope)
    except Untranslatable as error:
        job.keys.left("if", f"{error}: the step does not run until `when` says when: {shown(text)}")
        job.step.when = NEVER
        return
    for note in job.scope.notes:
        job.keys.changed("if", note)
    job.scope.notes.clear()
    job.step.when = found.when
    job.step.run_on = list(found.run_on)


def _outputs(job: Job) -> None:
    """Outputs of a job are values that its script writes: they keep their names alone."""
    outputs = job.keys.map("outputs")
    if outputs is None:
        return
    for name, value in ((key.text, value) for key, value in outputs.node.entries):
        outputs.take(name)
        text = value.text if isinstance(value, ScalarNode) else ""
        [(_, expression), *_rest] = list(pieces(text))
        if expression is None or not expression.endswith(f".outputs.{name}"):
            outputs.left(name, f'write `{name}=…` into "$PUSHROD_OUTPUT" in the script')


def _finished(job: Job) -> list[StepDraft]:
    """The script's step, where there is something to run, and the builds behind it."""
    step = job.step
    builds = job.builds
    if not job.commands and builds and job.lost is None:
        notes = step.notes
        first, *others = [_like(step, build, build.name) for build in builds]
        first.name, first.notes = step.name, notes
        return [first, *others]
    if not job.parts and not job.at_end:
        job.note("steps", Verdict.CHANGED, "nothing in it runs a command")
        job.parts.append("true\n")
    step.script = job.script()
    made = [step]
    for number, build in enumerate(builds):
        suffix = "image" if not number else f"image {number + 1}"
        one = _like(step, build, f"{step.name} {suffix}")
        one.depends_on, one.run_on = [step.name], []
        step.output_paths = step.output_paths or ["**"]
        made.append(one)
    return made


def _like(step: StepDraft, build: StepDraft, name: str) -> StepDraft:
    matrix: dict[str, Value] = dict(step.matrix)
    return replace(
        build,
        name=name,
        depends_on=list(step.depends_on),
        matrix=matrix,
        when=step.when,
        run_on=list(step.run_on),
        agents=dict(step.agents),
        timeout=step.timeout,
    )


def read_defaults(
    keys: Keys | None, outer: tuple[str | None, str | None]
) -> tuple[str | None, str | None]:
    run = None if keys is None else keys.map("run")
    if run is None:
        return outer
    return run.text("shell") or outer[0], run.text("working-directory") or outer[1]
