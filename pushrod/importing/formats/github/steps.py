"""The steps of a GitHub job."""

from __future__ import annotations

import re

from pipelines_schema.problem import shown
from pushrod.importing.conditions import Untranslatable
from pushrod.importing.formats.github.actions import ACTIONS
from pushrod.importing.formats.github.expressions import (
    Both,
    Expression,
    parsed,
)
from pushrod.importing.formats.github.in_scripts import shell_test
from pushrod.importing.formats.github.job import Job, part, part_at_end
from pushrod.importing.formats.github.meaning import conjuncts, status_of
from pushrod.importing.ledger import Keys, Ledger, Verdict
from pushrod.importing.shell_text import (
    exported,
    inside_double_quotes,
    interpreted,
    subshell,
    warning,
)

_WRITE = "write what it does as commands, or as one of the `templates`"
_SHELLS = {"python": "python3", "perl": "perl", "node": "node"}
_WINDOWS = ("pwsh", "powershell", "cmd")


def read_step(job: Job, keys: Keys, defaults: tuple[str | None, str | None]) -> None:
    """Adds one step to the job; `defaults` are its shell and its working directory."""
    name = keys.text("name")
    keys.take("id")
    keys.left("timeout-minutes", "only the whole step has a `timeout`")
    env = keys.variables("env")
    may_fail = keys.boolean("continue-on-error") or False
    before = (job.keys, dict(job.scope.matrix))
    job.keys = keys
    test, at_end = _condition(job, keys)
    if "run" in keys:
        _run(job, keys, name, env, defaults, may_fail, test, at_end)
    elif "uses" in keys:
        _uses(job, keys, name, test)
    else:
        job.note(name or "step", Verdict.LEFT, "there is neither `run` nor `uses` in it")
    job.keys = before[0]


def _condition(job: Job, keys: Keys) -> tuple[str | None, str | None]:
    """The test of bash, `false` where it can't be told; and after which end of the job."""
    text = keys.text("if")
    if text is None:
        return None, None
    inner = re.sub(r"^\s*\$\{\{(.*)\}\}\s*$", r"\1", text, flags=re.DOTALL)
    try:
        rest: list[Expression] = []
        at_end: str | None = None
        for one in conjuncts(parsed(inner)):
            status = status_of(one)
            if status is None:
                rest.append(one)
            elif status:
                at_end = "failure" if status == ["failure"] else "always"
        whole: Expression | None = None
        for one in rest:
            whole = one if whole is None else Both("&&", whole, one)
        test = None if whole is None else shell_test(whole, job.scope)
    except Untranslatable as error:
        keys.left("if", f"{error}: what it guards does not run")
        return "false", None
    for note in job.scope.notes:
        keys.changed("if", note)
    job.scope.notes.clear()
    return test, at_end


def _run(
    job: Job,
    keys: Keys,
    name: str | None,
    env: dict[str, str],
    defaults: tuple[str | None, str | None],
    may_fail: bool,
    test: str | None,
    at_end: str | None,
) -> None:
    script = keys.text("run") or ""
    shell = (keys.text("shell") or defaults[0] or "bash").split()[0:1]
    folder = keys.text("working-directory") or defaults[1]
    program = shell[0] if shell else "bash"
    if program in _WINDOWS:
        keys.left("shell", f"there is no {program} in the step's image")
        job.parts.append(part(name, warning(f"a script for {program}")))
        job.lost = f"a script for {program}"
        return
    if program in _SHELLS:
        if "${{" in script:
            keys.left("run", f"expressions in a script for {program}: read the variables there")
            script = re.sub(r"\$\{\{.*?\}\}", "", script)
        script = interpreted(script, _SHELLS[program])
    else:
        script = job.in_script(script)
    plain, lines = job.variables(env)
    own = (exported(key, inside_double_quotes(value)) for key, value in plain.items())
    exports = "".join(own) + lines
    job.commands += 1
    job.lost = None
    inner = job.inner(folder) if folder else None
    if at_end is not None:
        keys.changed("if", "it runs when the script ends, however that is")
        whole = subshell(script, exports, inner, may_fail)
        job.at_end.append(part_at_end(whole, at_end == "failure", test))
        return
    job.parts.append(
        part(name, script, exports=exports, folder=inner, test=test, may_fail=may_fail)
    )


def _uses(job: Job, keys: Keys, name: str | None, test: str | None) -> None:
    uses = keys.text("uses") or ""
    action, _, version = uses.partition("@")
    handler = ACTIONS.get(action.lower())
    if handler is None:
        keys.left("uses", f"actions do not run here: {_WRITE}")
        keys.left("with", "it belongs to the action")
        job.lost = f"the action {shown(uses)[1:-1]}"
        job.parts.append(part(name, warning(job.lost)))
        return
    if test is not None:
        keys.changed("if", "what the action is here holds for the whole step")
    given = keys.map("with")
    inner = given if given is not None else _nothing(keys)
    script = handler(job, inner, version)
    if script:
        job.parts.append(part(name, script))
        if "not imported" not in script:
            job.commands += 1


def _nothing(keys: Keys) -> Keys:
    """An empty mapping where there is no `with`."""
    from pipelines_schema.nodes import MapNode

    return Ledger(keys.ledger.file).open(MapNode((), keys.node.place), keys.notes)
