"""`${{ … }}` in a workflow: what is replaced, and what is refused with the variable to use instead.

What outsiders write (a branch's name, a commit's message) would become part of the script if it
were put there as text; as an environment variable it stays data. So only values that the workflow
itself spells out are replaced, and the build's own id, number and sha.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from pipelines_schema.cel_outputs import OUTPUTS, output_word
from pipelines_schema.problem import shown
from pipelines_schema.step_outputs import output_variable
from pipelines_schema.suggestions import closest

OPENING = "${{"
_CLOSING = "}}"

BUILD_WORDS = ("build.id", "build.number", "sha")
"""Replaced wherever anything is: none of them can hold a character that bash would read."""

VARIABLES = (
    "PUSHROD_BRANCH",
    "PUSHROD_COMMIT",
    "PUSHROD_COMMIT_MESSAGE",
    "PUSHROD_COMMIT_AUTHOR",
    "PUSHROD_BUILD_ID",
    "PUSHROD_BUILD_NUMBER",
    "PUSHROD_TAG",
    "PUSHROD_REF",
    "PUSHROD_PULL_REQUEST",
    "PUSHROD_PULL_REQUEST_BASE",
    "PUSHROD_EVENT",
    "PUSHROD_STEP_NAME",
    "PUSHROD_STEP_ID",
    "PUSHROD_ATTEMPT",
    "PUSHROD_PROJECT",
    "PUSHROD_ACCOUNT",
    "PUSHROD_WORKFLOW",
    "PUSHROD_URL",
    "PUSHROD_BUILD_URL",
    "PUSHROD_MODULE",
    "PUSHROD_MODULE_PATH",
    "PUSHROD_BUILD_TARGET",
    "PUSHROD_CLEAN_BUILD",
    "PUSHROD_UPSTREAM_PROJECT",
    "PUSHROD_UPSTREAM_WORKFLOW",
    "PUSHROD_UPSTREAM_BUILD_ID",
    "PUSHROD_UPSTREAM_BUILD_NUMBER",
    "PUSHROD_UPSTREAM_COMMIT",
    "PUSHROD_UPSTREAM_BRANCH",
    "PUSHROD_UPSTREAM_TAG",
)
"""What every step finds in its environment."""

# The words people bring along, ours and other systems', in small letters.
_WORDS = {
    "PUSHROD_BRANCH": "branch ref_name head_ref github.ref_name github.head_ref git.branch",
    "PUSHROD_COMMIT": "commit sha github.sha commit.sha git.sha git.commit",
    "PUSHROD_COMMIT_MESSAGE": (
        "message commit.message commit_message github.event.head_commit.message"
    ),
    "PUSHROD_COMMIT_AUTHOR": "author actor commit.author commit_author github.actor",
    "PUSHROD_BUILD_ID": "build build.id build_id run_id github.run_id",
    "PUSHROD_BUILD_NUMBER": "number build.number build_number run_number github.run_number",
    "PUSHROD_REF": "ref github.ref git.ref",
    "PUSHROD_TAG": "tag git.tag",
    "PUSHROD_PULL_REQUEST": "pull_request pull_request.number github.event.number",
    "PUSHROD_PULL_REQUEST_BASE": "pull_request_base base_ref github.base_ref",
    "PUSHROD_EVENT": "event event_name github.event_name",
    "PUSHROD_MODULE": "module module.name module_name",
    "PUSHROD_MODULE_PATH": "module.path module_path",
    "PUSHROD_BUILD_TARGET": "target module.target build_target build.target",
    "PUSHROD_CLEAN_BUILD": "clean clean_build build.clean",
    "PUSHROD_STEP_NAME": "step step.name step_name github.job",
    "PUSHROD_STEP_ID": "step.id step_id",
    "PUSHROD_ATTEMPT": "attempt run_attempt github.run_attempt",
    "PUSHROD_PROJECT": "project project.name repository github.repository",
    "PUSHROD_ACCOUNT": "account owner github.repository_owner",
    "PUSHROD_WORKFLOW": "workflow workflow.name github.workflow",
    "PUSHROD_URL": "url server_url github.server_url",
    "PUSHROD_BUILD_URL": "build.url build_url run_url",
    "PUSHROD_UPSTREAM_PROJECT": "upstream.project upstream_project",
    "PUSHROD_UPSTREAM_WORKFLOW": "upstream.workflow upstream_workflow",
    "PUSHROD_UPSTREAM_BUILD_ID": "upstream.build_id upstream_build_id github.event.workflow_run.id",
    "PUSHROD_UPSTREAM_BUILD_NUMBER": "upstream.build_number upstream_build_number",
    "PUSHROD_UPSTREAM_COMMIT": (
        "upstream.commit upstream_commit github.event.workflow_run.head_sha"
    ),
    "PUSHROD_UPSTREAM_BRANCH": (
        "upstream.branch upstream_branch github.event.workflow_run.head_branch"
    ),
    "PUSHROD_UPSTREAM_TAG": "upstream.tag upstream_tag",
}
_VARIABLE_OF = {word: variable for variable, words in _WORDS.items() for word in words.split()}
_NOT_BUILT = {
    "inputs": "`inputs`",
}


def expressions(text: str) -> Iterator[tuple[int, str]]:
    """Each `${{ … }}` of a text: which `${{` it is, counted from 0, and what stands inside."""
    position = text.find(OPENING)
    count = 0
    while position >= 0:
        end = text.find(_CLOSING, position)
        if end < 0:
            return
        inside = text[position + len(OPENING) : end]
        yield count, inside.strip()
        count += 1 + inside.count(OPENING)
        position = text.find(OPENING, end)


def substituted(text: str, values: Mapping[str, str]) -> str:
    """The text with the expressions that have a value here replaced; others stay as they are."""
    parts: list[str] = []
    done = 0
    start = text.find(OPENING)
    while start >= 0:
        end = text.find(_CLOSING, start)
        if end < 0:
            break
        value = values.get(text[start + len(OPENING) : end].strip())
        if value is not None:
            parts += [text[done:start], value]
            done = end + len(_CLOSING)
        start = text.find(OPENING, end)
    return "".join([*parts, text[done:]])


def refusal(
    expression: str, in_script: bool, allowed: Collection[str] = (), instead: str | None = None
) -> str:
    """Why an expression is refused, and what to write instead."""
    written = f"{shown('${{ ' + expression + ' }}')} is not replaced"
    word = expression.casefold()
    head, _, rest = word.partition(".")
    if head == "matrix":
        return f"{written}: {_instead_of_matrix(expression, allowed)}"
    if expression in BUILD_WORDS:
        return f"{written} here, only in `run`, `image`, `env` and `build`"
    if head.startswith(OUTPUTS) and instead is None:
        return f"{written}: {_instead_of_output(expression, in_script)}"
    meant = _meant(expression, allowed)
    if meant is not None:
        return f"{written}: {meant}"
    if instead is not None:
        return f"{written}: {instead}"
    if head == "params" and rest.isidentifier():
        variable = f"PUSHROD_PARAM_{rest.upper()}"
        return f"{written}: only a parameter with `oneOf` is; {_instead(variable, in_script)}"
    if head == "with" and rest.isidentifier():
        return f"{written}: {_instead(f'PUSHROD_WITH_{rest.upper()}', in_script)}"
    if head == "secrets" and rest.isidentifier():
        name = expression.partition(".")[2]
        return f"{written}: name it in the step's `secrets`; {_instead(name, in_script)}"
    if word in _VARIABLE_OF:
        return f"{written}: {_instead(_VARIABLE_OF[word], in_script)}"
    if head in _NOT_BUILT:
        return f"{written}: {_NOT_BUILT[head]} is not supported yet"
    if head in ("env", "vars") and rest.isidentifier():
        name = expression.partition(".")[2]
        return f"{written}: {_instead(name, in_script)}"
    known = ", ".join(VARIABLES[:6])
    return f"{written}: use the environment variables in `run` ({known}, …)"


def _meant(expression: str, allowed: Collection[str]) -> str | None:
    """Which of the allowed words it is another spelling of, or a slip."""
    named = {_VARIABLE_OF.get(word): word for word in reversed(list(allowed))}
    same = named.get(_VARIABLE_OF.get(expression.casefold(), ""))
    if same is not None:
        return f"write `${{{{ {same} }}}}`"
    near = closest(expression, allowed)
    return f"did you mean `{near}`?" if near else None


def _instead_of_matrix(expression: str, allowed: Collection[str]) -> str:
    known = [word for word in allowed if word.startswith("matrix.")]
    if not known:
        return "there is no `matrix` here"
    near = closest(expression, known)
    listed = ", ".join(f"`{word}`" for word in known)
    return f"did you mean `{near}`?" if near else f"this step has {listed}"


def _instead_of_output(expression: str, in_script: bool) -> str:
    name = output_word(expression)
    if name is None:
        return 'write `outputs.step.key`, or `outputs["build-app"]["image.tag"]` for other names'
    return _instead(output_variable(name.step, name.key), in_script)


def _instead(variable: str, in_script: bool) -> str:
    if in_script:
        return f'write "${variable}"'
    return f"the script finds it as the environment variable {variable}"
