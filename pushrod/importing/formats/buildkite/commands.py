"""What a Buildkite step runs: commands, matrix, and what is kept."""

from __future__ import annotations

import re

from pipelines_schema.nodes import ListNode, MapNode
from pushrod.importing.draft import StepDraft, Value
from pushrod.importing.expansions import OPENING
from pushrod.importing.ledger import Keys, Verdict
from pushrod.importing.node_texts import truth
from pushrod.importing.shell_text import (
    exported,
    failing,
    joined,
    kept_expansions,
    unknown_variables,
    with_variables,
)

_VARIABLES = {
    "BUILDKITE_COMMIT": "$PUSHROD_COMMIT",
    "BUILDKITE_BRANCH": "${PUSHROD_TAG:-$PUSHROD_BRANCH}",
    "BUILDKITE_TAG": "$PUSHROD_TAG",
    "BUILDKITE_MESSAGE": "$PUSHROD_COMMIT_MESSAGE",
    "BUILDKITE_BUILD_AUTHOR": "$PUSHROD_COMMIT_AUTHOR",
    "BUILDKITE_BUILD_CREATOR": "$PUSHROD_COMMIT_AUTHOR",
    "BUILDKITE_BUILD_ID": "$PUSHROD_BUILD_ID",
    "BUILDKITE_BUILD_NUMBER": "$PUSHROD_BUILD_NUMBER",
    "BUILDKITE_BUILD_URL": "$PUSHROD_BUILD_URL",
    "BUILDKITE_JOB_ID": "$PUSHROD_STEP_ID",
    "BUILDKITE_STEP_ID": "$PUSHROD_STEP_ID",
    "BUILDKITE_LABEL": "$PUSHROD_STEP_NAME",
    "BUILDKITE_RETRY_COUNT": "$((PUSHROD_ATTEMPT - 1))",
    "BUILDKITE_PULL_REQUEST": "${PUSHROD_PULL_REQUEST:-false}",
    "BUILDKITE_PULL_REQUEST_BASE_BRANCH": "$PUSHROD_PULL_REQUEST_BASE",
    "BUILDKITE_PIPELINE_SLUG": "$PUSHROD_PROJECT",
    "BUILDKITE_PIPELINE_NAME": "$PUSHROD_WORKFLOW",
    "BUILDKITE_ORGANIZATION_SLUG": "$PUSHROD_ACCOUNT",
    "BUILDKITE_BUILD_CHECKOUT_PATH": "$PUSHROD_WORKSPACE",
    "BUILDKITE_PARALLEL_JOB": "$((${PUSHROD_MATRIX_JOB:-1} - 1))",
    "BUILDKITE": "true",
}
_THEIRS = re.compile(r"\bBUILDKITE_[A-Z][A-Z0-9_]*\b")
_AGENT = re.compile(r"\bbuildkite-agent\s+(\w+(?:\s+\w+)?)")
MATRIX = re.compile(r"\{\{\s*matrix(?:\.([\w-]+))?\s*\}\}")
_ONE = "value"
"""The name of a matrix's values that have none."""


def read_matrix(keys: Keys, step: StepDraft) -> None:
    if (count := keys.number("parallelism")) is not None and count > 1:
        step.matrix = {"job": [str(one + 1) for one in range(min(count, 256))]}
        step.env["BUILDKITE_PARALLEL_JOB_COUNT"] = str(count)
        keys.changed("parallelism", "the shards are combinations of a matrix")
    node = keys.peek("matrix")
    if isinstance(node, ListNode):
        step.matrix = {_ONE: list(keys.texts("matrix"))}
    elif isinstance(node, MapNode) and (matrix := keys.map("matrix")) is not None:
        if isinstance(matrix.peek("setup"), ListNode):
            step.matrix = {_ONE: list(matrix.texts("setup"))}
        elif (setup := matrix.map("setup")) is not None:
            step.matrix = {_plain(one): list(setup.texts(one)) for one in setup.names}
        _adjustments(matrix, step)


def _adjustments(matrix: Keys, step: StepDraft) -> None:
    for item in matrix.items("adjustments"):
        if not isinstance(item, MapNode):
            continue
        one = matrix.ledger.open(item, matrix.notes)
        if isinstance(one.peek("with"), MapNode):
            values = {_plain(key): text for key, text in one.variables("with").items()}
        else:
            values = {_ONE: one.text("with") or ""}
        skip = one.peek("skip")
        kind = "exclude" if skip is not None and truth(skip) is not False else "include"
        one.take("skip")
        one.left("soft_fail", "`allowFailure` holds for all combinations or none")
        known = step.matrix.get(kind)
        entries: list[Value] = list(known) if isinstance(known, list) else []
        step.matrix[kind] = [*entries, dict(values)]


def _plain(name: str) -> str:
    return re.sub(r"\W", "_", name)


def read_kept(keys: Keys, step: StepDraft) -> None:
    for text in keys.texts("artifact_paths"):
        step.output_paths += [one.strip() for one in text.split(";") if one.strip()]
    step.secrets += keys.texts("secrets")
    if isinstance(keys.peek("cache"), MapNode):
        inner = keys.map("cache")
        if inner is not None:
            step.cache_dirs += inner.texts("paths")
            for name in ("name", "size"):
                inner.take(name)
    else:
        step.cache_dirs += keys.texts("cache")


def read_script(keys: Keys, step: StepDraft, env: dict[str, str]) -> None:
    texts = [*keys.texts("command"), *keys.texts("commands")]
    body = joined(texts).replace("$$", "$")
    used = sorted({_plain(found[1] or _ONE) for found in MATRIX.finditer(body)})
    body = MATRIX.sub(lambda found: f"{OPENING} matrix.{_plain(found[1] or _ONE)} }}}}", body)
    if step.image:
        step.image = MATRIX.sub(
            lambda found: f"{OPENING} matrix.{_plain(found[1] or _ONE)} }}}}", step.image
        )
    if used and "include" in step.matrix:
        keys.changed("matrix", "combinations that `adjustments` add have all values, or none")
    for found in sorted(set(_AGENT.findall(body))):
        why = "there is no such program: use `outputPaths`, $PUSHROD_OUTPUT or `generates`"
        keys.at(keys.node, f"buildkite-agent {found}", Verdict.LEFT, why)
    if not body.strip():
        body = failing("a step without a command")
    own = keys.variables("env")
    step.env |= {name: text for name, text in own.items() if "$" not in text}
    later = {**env, **{name: text for name, text in own.items() if "$" in text}}
    exports = "".join(exported(name, kept_expansions(text)) for name, text in later.items())
    whole = exports + body
    unknown = unknown_variables(whole, _THEIRS, [*_VARIABLES, *step.env])
    if unknown:
        why = f"nothing here is like {', '.join(unknown)}"
        keys.at(keys.node, "command", Verdict.LEFT, why)
    step.image = keys.text("image") or step.image
    step.script = with_variables(whole, _VARIABLES, step.env) + whole
