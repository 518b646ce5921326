"""One step of a Bitbucket pipeline."""

from __future__ import annotations

import re

from pipelines_schema.nodes import ListNode, MapNode, ScalarNode
from pushrod.importing.draft import StepDraft, Value, WorkflowDraft, gate_before
from pushrod.importing.formats.bitbucket.shared import Common, cache_of, read_clone, read_image
from pushrod.importing.ledger import Keys, Verdict
from pushrod.importing.node_texts import text_of
from pushrod.importing.patterns import changed
from pushrod.importing.services import service_name
from pushrod.importing.shell_text import (
    exported,
    failing,
    joined,
    unknown_variables,
    warning,
    with_ending,
    with_variables,
)
from pushrod.importing.waiting import verdict_of, why_waiting

_VARIABLES = {
    "BITBUCKET_COMMIT": "$PUSHROD_COMMIT",
    "BITBUCKET_BRANCH": "$PUSHROD_BRANCH",
    "BITBUCKET_TAG": "$PUSHROD_TAG",
    "BITBUCKET_BUILD_NUMBER": "$PUSHROD_BUILD_NUMBER",
    "BITBUCKET_PIPELINE_UUID": "$PUSHROD_BUILD_ID",
    "BITBUCKET_STEP_UUID": "$PUSHROD_STEP_ID",
    "BITBUCKET_CLONE_DIR": "$PUSHROD_WORKSPACE",
    "BITBUCKET_PR_ID": "$PUSHROD_PULL_REQUEST",
    "BITBUCKET_PR_DESTINATION_BRANCH": "$PUSHROD_PULL_REQUEST_BASE",
    "BITBUCKET_REPO_SLUG": "$PUSHROD_PROJECT",
    "BITBUCKET_REPO_OWNER": "$PUSHROD_ACCOUNT",
    "BITBUCKET_WORKSPACE": "$PUSHROD_ACCOUNT",
    "BITBUCKET_REPO_FULL_NAME": "$PUSHROD_ACCOUNT/$PUSHROD_PROJECT",
}
_THEIRS = re.compile(r"\bBITBUCKET_[A-Z][A-Z0-9_]*\b")
_FOLDERS = {
    "composer": "~/.composer/cache",
    "dotnetcore": "~/.nuget/packages",
    "gradle": "~/.gradle/caches",
    "ivy2": "~/.ivy2/cache",
    "maven": "~/.m2/repository",
    "node": "node_modules",
    "pip": "~/.cache/pip",
    "sbt": "~/.sbt",
}
"""Of the caches that they know by name."""
_MEMORY = {"2x": "8GiB", "4x": "16GiB", "8x": "32GiB", "16x": "64GiB"}
_LEFT = {
    "oidc": "pushrod issues no tokens for others yet (`idTokens`)",
    "output-variables": 'write `NAME=value` into "$PUSHROD_OUTPUT" in the script',
    "docker": "the engine builds images: write a step with `build`",
}


def read_step(
    outer: Keys, draft: WorkflowDraft, common: Common, before: list[str], when: str | None
) -> list[str]:
    node = outer.peek("step")
    if not isinstance(node, MapNode):
        outer.left("step", "it is no mapping")
        return []
    name = next((text_of(value) for key, value in node.entries if key.text == "name"), None)
    step = StepDraft(name=draft.step_name(name or "step"), place=outer.place("step"))
    keys = outer.map("step", step.notes)
    if keys is None:
        return []
    keys.take("name")
    step.image = read_image(keys, common) or common.image
    step.depends_on = list(before)
    step.git = read_clone(keys) if "clone" in keys else common.git
    minutes = keys.number("max-time")
    step.timeout = f"{minutes}m" if minutes else common.timeout
    step.when = read_condition(keys) or when
    if (size := keys.text("size")) and size in _MEMORY:
        step.resources = {"memory": _MEMORY[size]}
        keys.changed("size", "it is the most the step may have, not what it gets")
    _caches(keys, step, common)
    _services(keys, step, common)
    _artifacts(keys, step)
    _environment(keys, step)
    _script(keys, step, draft)
    draft.steps.append(step)
    if keys.text("trigger") == "manual":
        keys.changed("trigger", "a gate asks before it; the build waits for its answer")
        gate = gate_before(step, draft.step_name(f"approve {step.name}"), f"Run {step.name}?")
        draft.steps.insert(len(draft.steps) - 1, gate)
    return [step.name]


def _environment(keys: Keys, step: StepDraft) -> None:
    keys.left("deployment", "there are no environments yet: put a gate (`approve`) before it")
    for name, why in _LEFT.items():
        keys.left(name, why)
    labels = set(keys.texts("runs-on"))
    if labels & {"windows", "macos"}:
        keys.left("runs-on", "steps run in Linux containers: there is no such machine")
    elif labels:
        own = sorted(labels - {"self.hosted", "linux", "linux.shell"})
        step.agents = dict.fromkeys(own, "true")
        keys.changed("runs-on", "start an agent with these labels, `--label NAME=true`")
    keys.left("runtime", "it belongs to their machines")
    keys.changed("fail-fast", "write `failFast` for the whole workflow")


def _caches(keys: Keys, step: StepDraft, common: Common) -> None:
    for name in keys.texts("caches"):
        defined = cache_of(common, name)
        if defined is not None:
            step.cache_dirs.append(defined)
        elif name in _FOLDERS:
            step.cache_dirs.append({"path": _FOLDERS[name], "scope": "project"})
        elif name == "docker":
            keys.changed("caches", "the engine keeps layers by itself")
        else:
            keys.left("caches", f"there is no cache `{name}`")


def _services(keys: Keys, step: StepDraft, common: Common) -> None:
    for name in keys.texts("services"):
        step.services[service_name(name)] = common.services.get(name) or _service(name)
    if step.services and verdict_of("services") is Verdict.LEFT:
        keys.left("services", why_waiting("services"))


def _service(name: str) -> dict[str, Value]:
    """One that they know by its name."""
    return {"image": "docker:dind", "privileged": True} if name == "docker" else {"image": name}


def _artifacts(keys: Keys, step: StepDraft) -> None:
    if isinstance(keys.peek("artifacts"), MapNode):
        inner = keys.map("artifacts")
        if inner is not None:
            inner.changed("download", "a step has the outputs of all steps that it depends on")
            paths = inner.texts("paths")
            for item in inner.items("upload"):
                if isinstance(item, MapNode):
                    one = keys.ledger.open(item, keys.notes)
                    paths += one.texts("paths")
                    for name in ("name", "type", "ignore-paths", "depth", "capture-on"):
                        one.changed(name, "artifacts are kept by their paths, however it ends")
            step.output_paths += paths
    else:
        step.output_paths += keys.texts("artifacts")


def read_condition(keys: Keys) -> str | None:
    condition = keys.map("condition")
    changes = None if condition is None else condition.map("changesets")
    if changes is None:
        return None
    include = changes.texts("includePaths")
    exclude = changes.texts("excludePaths")
    patterns = [*include, *(f"!{one}" for one in exclude)]
    return changed(patterns) if patterns else None


def _script(keys: Keys, step: StepDraft, draft: WorkflowDraft) -> None:
    body = _commands(keys, "script", step)
    ending = _commands(keys, "after-script", step)
    if "BITBUCKET_EXIT_CODE" in ending:
        ending = 'BITBUCKET_EXIT_CODE="$code"\n' + ending
    whole = body + ending
    known = with_variables(whole, _VARIABLES)
    unknown = unknown_variables(whole, _THEIRS, [*_VARIABLES, "BITBUCKET_EXIT_CODE"])
    if unknown:
        why = f"nothing here is like {', '.join(unknown)}"
        keys.at(keys.node, "script", Verdict.LEFT, why)
    if not body.strip() and step.build is None:
        body = failing("a step without `script`")
    manual = draft.on.get("manual")
    params = manual.get("params") if isinstance(manual, dict) else None
    names = params if isinstance(params, dict) else {}
    own = "".join(exported(one, f"$PUSHROD_PARAM_{one.upper()}") for one in names)
    step.script = known + own + with_ending(body, ending)


def _commands(keys: Keys, name: str, step: StepDraft) -> str:
    """Lines, and pipes among them."""
    lines: list[str] = []
    items = keys.items(name, ScalarNode, ListNode)
    for number, item in enumerate(items):
        if isinstance(item, ScalarNode):
            lines.append(item.text)
        elif isinstance(item, ListNode):
            lines += [text_of(one) or "" for one in item.items]
        elif isinstance(item, MapNode):
            pipe = keys.ledger.open(item, keys.notes)
            called = pipe.text("pipe") or "a pipe"
            pipe.left("pipe", "pushrod runs no pipes: write what it does as commands")
            pipe.left("variables", "they belong to the pipe")
            lines.append(warning(f"the pipe {called}"))
            if number == len(items) - 1 and name == "script":
                lines.append("exit 1")
    return joined(lines)
