"""One GitLab job → one step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

from pipelines_schema.nodes import MapNode, ScalarNode, integer
from pushrod.importing.draft import NEVER, StepDraft, Value, all_of
from pushrod.importing.durations import duration
from pushrod.importing.formats.gitlab.conditions import Names
from pushrod.importing.formats.gitlab.kept import read_artifacts, read_caches
from pushrod.importing.formats.gitlab.rules import Running, read_running
from pushrod.importing.formats.gitlab.variables import THEIRS, VARIABLES, outside
from pushrod.importing.ledger import Keys, Verdict
from pushrod.importing.node_texts import text_of
from pushrod.importing.services import service_name
from pushrod.importing.shell_text import (
    exported,
    failing,
    joined,
    kept_expansions,
    unknown_variables,
    with_ending,
    with_variables,
)
from pushrod.importing.waiting import verdict_of, why_waiting

_CALLS = "pushrod starts no pipeline of another project, and no file's: copy its jobs"
_RETRIES = {
    "always": ["lost", "timeout", "failed"],
    "script_failure": ["failed"],
    "job_execution_timeout": ["timeout"],
    "stuck_or_timeout_failure": ["timeout", "lost"],
    "runner_system_failure": ["lost"],
}
_LEFT = {
    "coverage": "coverage is read from reports, not from the log",
    "release": "pushrod makes no releases: write it as a script with a token of your own",
    "pages": "pushrod publishes no pages: the files are artifacts",
    "id_tokens": "pushrod issues no tokens for others yet (`idTokens`)",
    "hooks": "write the lines into the script",
    "inherit": "all defaults hold",
    "dast_configuration": "it is GitLab's own",
    "identity": "it is GitLab's own",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """What holds for all jobs."""

    names: Names
    variables: dict[str, str]
    image: str
    when: str | None = None
    has_pull_requests: bool = False


def read_job(keys: Keys, step: StepDraft, pipeline: Pipeline) -> Running:
    """Fills the step; its dependencies are the caller's."""
    own = {**pipeline.variables, **_variables(keys)}
    matrix = _parallel(keys, step)
    texts = _Texts(keys, own, matrix)
    names = replace(pipeline.names, variables=own)
    running = read_running(keys, names, pipeline.has_pull_requests)
    step.when = all_of([one for one in (pipeline.when, running.when) if one is not None])
    if running.never:
        step.when = NEVER
    step.run_on = running.run_on
    _image(keys, step, texts, pipeline.image)
    _services(keys, step, texts)
    read_caches(keys, step, texts.filled)
    dotenv = read_artifacts(keys, step, texts.filled)
    _endings(keys, step, running, texts)
    for name, why in _LEFT.items():
        keys.left(name, why)
    tags = keys.texts("tags")
    if tags:
        step.agents = {tag: "true" for tag in tags if "$" not in tag}
        keys.changed("tags", "start an agent with these labels, `--label NAME=true`")
    _environment(keys)
    depth = own.get("GIT_DEPTH", "")
    if depth.isdigit() and depth != "1":
        step.git = {"depth": int(depth)} if int(depth) else "full"
    _script(keys, step, own, matrix, dotenv)
    return running


@dataclass(frozen=True, slots=True)
class _Texts:
    keys: Keys
    own: dict[str, str]
    matrix: frozenset[str]

    def filled(self, key: str, text: str) -> str | None:
        """The text with its variables; None where one is unknown, which is told."""
        found = outside(text, self.own, self.matrix)
        if found is None:
            self.keys.left(key, f"`{text}` holds a variable that is known in scripts alone")
        return found


def _variables(keys: Keys) -> dict[str, str]:
    inner = keys.map("variables")
    return {} if inner is None else variables_of(inner)


def variables_of(inner: Keys) -> dict[str, str]:
    """Texts, or mappings with a `value`."""
    found: dict[str, str] = {}
    for name in inner.names:
        if isinstance(inner.peek(name), MapNode):
            one = inner.map(name)
            if one is not None:
                found[name] = one.text("value") or ""
                one.take("description")
                one.changed("options", "the value is the first one given, in every build")
                if one.boolean("expand") is False:
                    found[name] = found[name].replace("$", "$$")
        else:
            found[name] = inner.text(name) or ""
    return found


def _parallel(keys: Keys, step: StepDraft) -> frozenset[str]:
    """The matrix, and the names in it."""
    node = keys.peek("parallel")
    if isinstance(node, ScalarNode):
        count = integer(node) or 1
        keys.take("parallel")
        if not 2 <= count <= 200:
            keys.left("parallel", "there are between 2 and 200 shards")
            return frozenset()
        step.matrix = {"CI_NODE_INDEX": [str(one + 1) for one in range(count)]}
        step.env["CI_NODE_TOTAL"] = str(count)
        return frozenset({"CI_NODE_INDEX"})
    inner = keys.map("parallel")
    groups = () if inner is None else inner.items("matrix")
    axes: list[dict[str, list[str]]] = []
    for group in groups:
        if isinstance(group, MapNode):
            one = keys.ledger.open(group, keys.notes)
            axes.append({name: one.texts(name) for name in one.names})
    if len(axes) == 1:
        step.matrix = {name: list(values) for name, values in axes[0].items()}
    elif axes:
        step.matrix = {"include": [*_combinations(axes)]}
    return frozenset(name for one in axes for name in one)


def _combinations(axes: list[dict[str, list[str]]]) -> list[Value]:
    found: list[Value] = []
    for one in axes:
        for values in product(*one.values()):
            if len(found) <= 256:
                found.append(dict(zip(one, values, strict=True)))
    return found


def _image(keys: Keys, step: StepDraft, texts: _Texts, default: str) -> None:
    written: str | None
    if isinstance(keys.peek("image"), MapNode):
        inner = keys.map("image")
        written = inner.text("name") if inner is not None else None
        if inner is not None:
            if any(inner.texts("entrypoint")):
                inner.changed("entrypoint", "scripts are run by bash, whatever the image begins")
            inner.take("pull_policy")
            inner.left("docker", "a step has `user`, and no other options of its container")
    else:
        written = keys.text("image")
    if written:
        step.image = texts.filled("image", written) or default
    else:
        step.image = default
        why = "it names no image: this one has git, curl, make, gcc, python3"
        keys.ledger.mark(step.place, "image", Verdict.CHANGED, why, step.notes)


def _services(keys: Keys, step: StepDraft, texts: _Texts) -> None:
    for item in keys.items("services", ScalarNode):
        service: dict[str, Value] = {}
        name = text_of(item) or ""
        alias: str | None = None
        # They get the job's variables, too.
        env = {key: text for key, text in texts.own.items() if "$" not in text}
        if isinstance(item, MapNode):
            inner = keys.ledger.open(item, keys.notes)
            name = inner.text("name") or ""
            alias = (inner.text("alias") or "").replace(",", " ").split(" ")[0] or None
            if command := inner.texts("command"):
                service["command"] = list(command)
            env |= inner.variables("variables")
            inner.left("entrypoint", "a service is begun by `command`")
            inner.take("pull_policy")
        image = texts.filled("services", name) or name
        host = alias or image.rsplit("/", 1)[-1].split(":")[0]
        if env:
            service["env"] = dict(env)
        if "dind" in image:
            service["privileged"] = True
        step.services[service_name(host)] = {"image": image, **service}
    if step.services and verdict_of("services") is Verdict.LEFT:
        keys.left("services", why_waiting("services"))


def _endings(keys: Keys, step: StepDraft, running: Running, texts: _Texts) -> None:
    """Limits, retries, and what a failure means."""
    if text := keys.text("timeout"):
        step.timeout = duration(text)
        if step.timeout is None:
            keys.left("timeout", "it is no duration that can be read")
    if isinstance(keys.peek("retry"), MapNode):
        _retry(keys, step)
    else:
        step.retries = keys.number("retry")
    if isinstance(keys.peek("allow_failure"), MapNode):
        keys.changed("allow_failure", "each failure is allowed, whatever its exit code")
        step.allow_failure = True
    else:
        step.allow_failure = keys.boolean("allow_failure") or running.allow_failure or False
    if group := keys.text("resource_group"):
        step.concurrency = texts.filled("resource_group", group)
    if keys.boolean("interruptible"):
        keys.changed(
            "interruptible", "it is the workflow's `concurrency` that cancels older builds"
        )


def _retry(keys: Keys, step: StepDraft) -> None:
    inner = keys.map("retry")
    if inner is None:
        return
    count = inner.number("max") or 0
    causes: list[str] = []
    for word in inner.texts("when"):
        if word in _RETRIES:
            causes += _RETRIES[word]
        else:
            inner.changed("when", f"there is no cause such as `{word}`")
    causes += [f"exit:{code}" for code in inner.texts("exit_codes")]
    on = list(dict.fromkeys(causes))
    step.retries = {"max": count, "on": on} if on else count


def _environment(keys: Keys) -> None:
    why = "there are no environments yet: put a gate (`approve`) before it, or a `when`"
    keys.left("environment", why)
    if "secrets" in keys:
        keys.left("secrets", "pushrod has secrets of its own: `pushrod secret set`")


def _script(
    keys: Keys,
    step: StepDraft,
    own: dict[str, str],
    matrix: frozenset[str],
    dotenv: list[str],
) -> None:
    if "trigger" in keys:
        keys.left("trigger", _CALLS)
        step.script = failing("a pipeline that is triggered")
        return
    body = joined([*keys.texts("before_script"), *keys.texts("script")])
    ending = joined(keys.texts("after_script"))
    if not body.strip():
        body = failing("a job without `script`")
    for file in dotenv:
        ending_of_file = f'cat "{kept_expansions(file)}" >> "$PUSHROD_OUTPUT"\n'
        body += ending_of_file
    whole = body + ending
    step.env |= {name: text for name, text in own.items() if "$" not in text}
    later = {name: text for name, text in own.items() if "$" in text}
    exports = "".join(exported(name, kept_expansions(text)) for name, text in later.items())
    exports = "".join(exported(n, f"$PUSHROD_MATRIX_{n.upper()}") for n in sorted(matrix)) + exports
    unknown = unknown_variables(whole + exports, THEIRS, [*VARIABLES, *own, *step.env, *matrix])
    if unknown:
        keys.ledger.mark(
            keys.place("script"),
            "script",
            Verdict.LEFT,
            f"nothing here is like {', '.join(unknown)}",
            step.notes,
        )
    known = with_variables(whole + exports, VARIABLES, [*own, *step.env, *matrix])
    step.script = known + exports + with_ending(body, ending)
