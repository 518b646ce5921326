"""When a GitLab job runs: `rules`, `only`, `except` and `when`."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipelines_schema.nodes import MapNode
from pushrod.importing.conditions import Untranslatable
from pushrod.importing.draft import NEVER, TRUE, all_of, either, negated
from pushrod.importing.formats.gitlab.conditions import Names, condition, of_refs
from pushrod.importing.ledger import Keys
from pushrod.importing.node_texts import truth
from pushrod.importing.patterns import changed

_SUCCESS = "on_success"
_RUN_ON = {"always": ["success", "failure"], "on_failure": ["failure"]}
_MANUAL = "a gate asks before the step, whichever rule holds; the build waits for its answer"


@dataclass(slots=True)
class Running:
    """When a job runs, and after which ends of others."""

    when: str | None = None
    run_on: list[str] = field(default_factory=list)
    is_manual: bool = False
    is_optional: bool = False
    """Manual, and the pipeline goes on without it."""
    allow_failure: bool | None = None
    never: bool = False


def read_running(keys: Keys, names: Names, has_pull_requests: bool) -> Running:
    """Of one job's keys."""
    running = Running()
    when = keys.text("when") or _SUCCESS
    _apply(keys, running, when, keys)
    if "rules" in keys:
        _rules(keys, names, running, when)
    elif "only" in keys or "except" in keys:
        _only(keys, names, running)
    elif has_pull_requests:
        running.when = 'event != "pullRequest"'
    allowed = keys.peek("allow_failure")
    said = None if allowed is None else truth(allowed)
    by_rules = "rules" in keys and when != "manual"
    running.is_optional = bool(said or running.allow_failure) or (said is None and not by_rules)
    return running


def _apply(keys: Keys, running: Running, when: str, place: Keys) -> None:
    match when:
        case "manual":
            running.is_manual = True
            place.changed("when", _MANUAL)
        case "delayed":
            place.left("when", "a step doesn't wait for a time")
            place.left("start_in", "a step doesn't wait for a time")
        case "never":
            running.never = True
        case _:
            running.run_on = list(_RUN_ON.get(when, []))


def _rules(keys: Keys, names: Names, running: Running, outer: str) -> None:
    """The first rule that matches decides; none: the job does not run."""
    whole = NEVER
    for item in reversed(keys.items("rules")):
        if not isinstance(item, MapNode):
            continue
        rule = keys.ledger.open(item, keys.notes)
        test = _test(rule, names)
        when = rule.text("when") or outer
        if when == "never":
            whole = all_of([negated(test), whole]) or TRUE
            continue
        _apply(keys, running, when, rule)
        if rule.boolean("allow_failure"):
            running.allow_failure = True
        rule.left("variables", "variables are the same whichever rule matches")
        rule.left("needs", "a step's `dependsOn` is the same whichever rule matches")
        rule.left("interruptible", "it holds for the whole workflow")
        whole = TRUE if test is None else either([test, whole]) or TRUE
    running.when = None if whole == TRUE else whole


def _test(rule: Keys, names: Names) -> str | None:
    """What one rule asks; None where it asks nothing."""
    tests: list[str] = []
    if text := rule.text("if"):
        try:
            tests.append(condition(text, names))
        except Untranslatable as error:
            rule.left("if", f"{error}: the rule never matches")
            tests.append(NEVER)
    for name in ("changes", "exists"):
        if name not in rule:
            continue
        if name == "exists":
            rule.left(name, "whether a file exists is asked in the script: the rule never matches")
            tests.append(NEVER)
        elif paths := _paths(rule, name):
            tests.append(changed(paths))
    return all_of(tests)


def _paths(keys: Keys, name: str) -> list[str]:
    if not isinstance(keys.peek(name), MapNode):
        return keys.texts(name)
    inner = keys.map(name)
    if inner is None:
        return []
    inner.changed("compare_to", "files are compared with the branch's last build")
    return inner.texts("paths")


def _only(keys: Keys, names: Names, running: Running) -> None:
    only = _filter(keys, "only", names) if "only" in keys else of_refs(["branches", "tags"])
    without = _filter(keys, "except", names) if "except" in keys else NEVER
    running.when = all_of([only, negated(without)])


def _filter(keys: Keys, name: str, names: Names) -> str:
    """Each part has to match."""
    try:
        if not isinstance(keys.peek(name), MapNode):
            return of_refs(keys.texts(name))
        inner = keys.map(name)
        tests: list[str] = []
        if inner is not None:
            if refs := inner.texts("refs"):
                tests.append(of_refs(refs))
            elif name == "only":
                tests.append(of_refs(["branches", "tags"]))
            if variables := inner.texts("variables"):
                tests.append(either([condition(one, names) for one in variables]) or TRUE)
            if paths := inner.texts("changes"):
                tests.append(changed(paths))
            if "kubernetes" in inner:
                inner.left("kubernetes", "pushrod knows no clusters")
        if name == "except":
            return (either(tests) or TRUE) if tests else NEVER
        return all_of(tests) or TRUE
    except Untranslatable as error:
        keys.left(name, f"{error}: the step does not run until `when` says when")
        return TRUE if name == "except" else NEVER


def workflow_condition(keys: Keys, names: Names) -> str | None:
    """Of `workflow: rules`, for every step."""
    running = Running()
    if "rules" in keys:
        _rules(keys, names, running, "always")
    return running.when
