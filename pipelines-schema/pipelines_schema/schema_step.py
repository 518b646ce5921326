"""The part of the workflow's JSON Schema that describes a step."""

from __future__ import annotations

from typing import Any

from pipelines_schema import limits
from pipelines_schema import schema_endings as endings
from pipelines_schema.layers import TWINS
from pipelines_schema.read_build import NOT_BESIDE_BUILD
from pipelines_schema.schema_build import build
from pipelines_schema.schema_caches import cache_dirs
from pipelines_schema.schema_gate import NOTHING_BESIDE_GATE, gate
from pipelines_schema.schema_groups import step_concurrency
from pipelines_schema.schema_output_paths import output_paths
from pipelines_schema.schema_reports import reports
from pipelines_schema.schema_services import privileged, services
from pipelines_schema.schema_shapes import (
    PARAM_NAME,
    PARAM_VALUE,
    TEXT_TYPES,
    described,
    object_of,
    script,
    secrets,
    text,
)
from pipelines_schema.workflow import Network

_NO_SPACES = r"^(?:[^\s$]|\$(?!\{\{)|\$\{\{[^}]*\}\})*$"
"""But in `${{ … }}`."""


TWINS_APART = [{"not": {"required": list(twins)}} for twins in TWINS]
NOTHING_UNFIT = {"not": {"anyOf": [{"required": [key]} for key in NOT_BESIDE_BUILD]}}


def step_definitions() -> dict[str, Any]:
    """`step`, and what it refers to."""
    return {
        "step": _step(),
        "build": build(),
        "approve": gate(),
        "resources": _resources(),
        "timeout": endings.timeout(),
        "retries": endings.retries(),
        "paths": {
            "type": "array",
            "maxItems": limits.MAX_PATHS,
            "items": {"type": TEXT_TYPES, "minLength": 1},
        },
        "outputPaths": output_paths(),
        "retryCause": {"type": "string", "pattern": f"^(?:{limits.RETRY_WORD})$"},
    }


def _step() -> dict[str, Any]:
    image = (
        "Image the step runs in: the slug of a registered image, or an image reference such as "
        "`python:3.12`. It may hold `${{ … }}`; `branch`, `tag` and `ref` only after its last `:`."
    )
    meaning = (
        "Script of the step, for bash unless `shell` says otherwise. It runs in `/workspace`, "
        "which holds the source at the commit with the outputs of the steps it depends on laid "
        "over it."
    )
    step = object_of(
        {
            "name": text(
                "Name of the step, unique in the workflow.",
                limits.MAX_NAME_CHARACTERS,
                pattern="^(?!(?:\\*|\\.\\.?)$)[^/]*$",
            ),
            "image": text(image, limits.MAX_IMAGE_CHARACTERS, pattern=_NO_SPACES),
            "imageSlug": text(
                "The same as `image`.", limits.MAX_IMAGE_CHARACTERS, pattern=_NO_SPACES
            ),
            "run": script(meaning),
            "runScript": script("The same as `run`."),
            "use": text(
                "Name of a template, whose keys the step has that it does not say itself.",
                limits.MAX_NAME_CHARACTERS,
            ),
            "with": {
                "description": "Values of the template's parameters; the script finds them as "
                "`PUSHROD_WITH_<NAME>`.",
                "type": "object",
                "propertyNames": PARAM_NAME,
                "additionalProperties": PARAM_VALUE,
            },
            "build": {"$ref": "#/$defs/build"},
            "approve": {"$ref": "#/$defs/approve"},
            "dependsOn": _depends_on(),
            "env": described(
                "env", "Environment variables of this step; they win over the workflow's."
            ),
            "cacheDirs": cache_dirs(),
            "outputPaths": {"$ref": "#/$defs/outputPaths"},
            "generates": {
                "description": "A file that the script writes, with `steps` and `templates`: once "
                "the step has succeeded, these steps are added to the build. What depends on the "
                "step waits for them, too. It is one of the step's artifacts.",
                "type": TEXT_TYPES,
                "minLength": 1,
                "pattern": "^[^*?[]*[^*?[/]$",
            },
            "reports": reports(),
            "timeout": {"$ref": "#/$defs/timeout"},
            "queueTimeout": endings.queue_timeout(),
            "grace": endings.grace(),
            "retries": {"$ref": "#/$defs/retries"},
            "atMostOnce": {
                "description": "Once an agent has taken the step, it is never handed out again, "
                "whatever becomes of the agent: for what must not happen twice, such as a "
                "deployment. It fails where its end is never known. `false` if left out.",
                "type": "boolean",
            },
            "agents": _agents(),
            "concurrency": step_concurrency(),
            "allowFailure": {
                "description": "Whether the build goes on, and can succeed, when the step fails. "
                "`false` if left out.",
                "type": "boolean",
            },
            "runOn": endings.run_on(),
            "matrix": _matrix(),
            "network": {
                "description": "`none`: the step has no network but its own loopback.",
                "enum": [network.value for network in Network],
            },
            "user": _user(),
            "privileged": privileged("The step"),
            "services": services(
                text("", limits.MAX_IMAGE_CHARACTERS, pattern=_NO_SPACES), _user()
            ),
            "workdir": {
                "description": "Folder of the workspace that the script begins in. The workspace "
                "itself if left out. Other paths of the step begin at the workspace all the same.",
                "type": TEXT_TYPES,
                "minLength": 1,
            },
            "shell": text(
                "What runs the script: `bash` (`-e -o pipefail`, if left out), `sh` (`-e`), "
                "`python`, or a program, also with arguments, that takes a script's path.",
                limits.MAX_NAME_CHARACTERS,
                pattern=f"^{limits.SHELL}$",
            ),
            "resources": {"$ref": "#/$defs/resources"},
            "git": _git(),
            "inputs": {
                "description": "The commit's files that the step needs, as paths and patterns: "
                "the workspace holds no others. Where these, and all else that counts, are as "
                "they were when the step succeeded before, it is not run again: it succeeds with "
                "what it left then.",
                "anyOf": [
                    {"$ref": "#/$defs/paths"},
                    {"type": TEXT_TYPES, "minLength": 1},
                ],
            },
            "secrets": secrets(
                "Secrets of the project (`pushrod secret set`) that the step gets: as environment "
                "variables, and as files below `$PUSHROD_SECRETS`. Logs show them as `***`."
            ),
            "when": text(
                "The step is skipped where this is false: an expression in CEL over `event`, "
                "`branch`, `tag`, `ref`, `message`, `author`, `labels` (a list), `draft` (a "
                "boolean), `params`, `matrix`, `env`, `outputs` (of steps that it depends on) and "
                '`changed("src/**")`, such as `event == "push" && outputs.plan.deploy == "yes"`.',
                limits.MAX_CONDITION_CHARACTERS,
            ),
        },
        required=["name"],
    )
    working = ("run", "runScript", "use", "approve")
    step["if"] = {"required": ["build"]}
    step["then"] = NOTHING_UNFIT
    step["else"] = {"anyOf": [{"required": [key]} for key in working]}
    step["allOf"] = [*TWINS_APART, NOTHING_BESIDE_GATE]
    step["dependentRequired"] = {"with": ["use"]}
    return step


def _user() -> dict[str, Any]:
    return {
        "description": "The numbers of the user, and of its group, that the script runs as "
        "in its container. The image's own user if left out.",
        "anyOf": [
            {"type": "string", "pattern": f"^{limits.USER.pattern}$"},
            {"type": "integer", "minimum": 0, "maximum": limits.MAX_USER_ID},
        ],
    }


def _git() -> dict[str, Any]:
    depth = {
        "description": "How many commits of each line of ancestors. 1 if left out.",
        "type": "integer",
        "minimum": 1,
        "maximum": limits.MAX_GIT_DEPTH,
    }
    tags = {
        "description": "Whether the tags of all commits that are there come along, instead of "
        "those of the step's own commit. `false` if left out.",
        "type": "boolean",
    }
    return {
        "description": "How much of the repository is in the workspace's `.git`. `true` if left "
        "out: the commit and its tags; `full`: the whole history, tags and branches; `false`: no "
        "`.git`.",
        "anyOf": [
            {"type": "boolean"},
            {"const": "full"},
            {**object_of({"depth": depth, "tags": tags}), "minProperties": 1},
        ],
    }


def _depends_on() -> dict[str, Any]:
    name = {"type": TEXT_TYPES}
    return {
        "description": "Steps that must succeed before this one starts: names, `test (3.12)` for "
        "one combination of a matrix, `*` for every other step.",
        "anyOf": [
            {"type": "array", "maxItems": limits.MAX_STEPS, "uniqueItems": True, "items": name},
            name,
        ],
    }


def _resources() -> dict[str, Any]:
    limits_of = {
        "memory": {
            "description": "The most memory: a number with `KiB`, `MiB`, `GiB` or `TiB`.",
            "type": "string",
            "pattern": f"^{limits.MEMORY}$",
        },
        "cpus": {
            "description": "The most processor time, in processors: `2`, `0.5`.",
            "type": "number",
            "minimum": limits.MIN_CPUS,
            "maximum": limits.MAX_CPUS,
        },
    }
    return {
        "description": "The most the step may use. An engine that can't enforce a limit says so "
        "in the step's message.",
        **object_of(limits_of),
        "minProperties": 1,
    }


def _matrix() -> dict[str, Any]:
    name = {
        "pattern": f"^{limits.ENVIRONMENT_NAME}$",
        "maxLength": limits.MAX_NAME_CHARACTERS,
    }
    value = {
        "type": TEXT_TYPES,
        "minLength": 1,
        "maxLength": limits.MAX_MATRIX_VALUE_CHARACTERS,
    }
    value_or_object = {
        "anyOf": [
            value,
            {
                "type": "object",
                "minProperties": 1,
                "propertyNames": name,
                "additionalProperties": {
                    "type": TEXT_TYPES,
                    "maxLength": limits.MAX_MATRIX_VALUE_CHARACTERS,
                },
            },
        ]
    }
    combinations = {
        "type": "array",
        "items": {
            "type": "object",
            "minProperties": 1,
            "propertyNames": name,
            "additionalProperties": value_or_object,
        },
    }
    return {
        "description": "Runs the step once for each combination of values, at most "
        f'{limits.MAX_COMBINATIONS}: `{{python: ["3.11", "3.12"], os: [a, b]}}`. `exclude` '
        "leaves combinations out, `include` adds values to those that agree, and else "
        "combinations. A value is text as written, or a mapping of texts. "
        "`failFast: true`: the first combination that fails ends the others.",
        "type": "object",
        "minProperties": 1,
        "propertyNames": name,
        "properties": {
            "include": combinations,
            "exclude": combinations,
            "failFast": {"type": "boolean"},
        },
        "additionalProperties": {
            "type": "array",
            "minItems": 1,
            "maxItems": limits.MAX_COMBINATIONS,
            "uniqueItems": True,
            "items": value_or_object,
        },
    }


def _agents() -> dict[str, Any]:
    return {
        "description": "Labels that an agent must have to run the step, such as `{os: linux}`. "
        "Their values may hold `${{ matrix.<name> }}`, `${{ branch }}` and the like.",
        "type": "object",
        "maxProperties": limits.MAX_LABELS,
        "propertyNames": {
            "pattern": f"^{limits.LABEL_NAME}$",
            "maxLength": limits.MAX_LABEL_CHARACTERS,
        },
        "additionalProperties": {
            "type": TEXT_TYPES,
            "minLength": 1,
            "maxLength": limits.MAX_LABEL_CHARACTERS,
        },
    }
