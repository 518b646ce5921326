"""What a step's script is told of its build, its project and itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import quote

from coordinator.domain.model import Build, Project, PullRequestRef, Step
from pipelines_schema import can_be_named, substituted
from pipelines_schema.cel_outputs import values_named
from pipelines_schema.expressions import OPENING
from pipelines_schema.fields import line_fault
from pipelines_schema.limits import MAX_IMAGE_CHARACTERS, MAX_LABEL_CHARACTERS
from pipelines_schema.matrix import variable_of
from pipelines_schema.placeholders import env_words, output_words
from pipelines_schema.problem import shown


def build_words(build: Build) -> dict[str, str]:
    """What is replaced in scripts: BUILD_WORDS, and parameters.

    A free text's parameter is here, too: the parser lets no workflow through that names it.
    """
    return {
        **{f"params.{name}": value for name, value in (build.params or {}).items()},
        "build.id": build.id,
        "build.number": str(build.number),
        "sha": build.commit_hash or "",
    }


def place_words(build: Build, env: Mapping[str, str]) -> dict[str, str]:
    """What is replaced outside scripts: also what outsiders write. `env` is the step's, or the
    workflow's for what is none of a step."""
    words = build_words(build)
    return {
        **words,
        **env_words({name: substituted(value, words) for name, value in env.items()}),
        "branch": build.branch or "",
        "tag": build.tag or "",
        "ref": _ref(build) or "",
        "shortSha": (build.commit_hash or "")[:7],
    }


def words_of_step(step: Step, build: Build) -> dict[str, str]:
    """What is replaced in the step outside its script."""
    return {**place_words(build, step.written.env), **step.definition.outputs}


def step_env(step: Step, build: Build) -> dict[str, str]:
    """The variables that the workflow gives the step; those of `with` may name what outsiders
    write."""
    env = step.written.env
    if not any(OPENING in value for value in env.values()):
        return dict(env)
    words = place_words(build, env)
    return {name: substituted(value, words) for name, value in env.items()}


def labelled(step: Step, build: Build) -> Step:
    """With the labels that an agent must have to run it filled in."""
    written = step.written.agents
    if not any(OPENING in value for value in written.values()):
        return step
    words = words_of_step(step, build)
    return replace(
        step, labels={name: substituted(value, words) for name, value in written.items()}
    )


def filled(step: Step, build: Build, outputs: Mapping[str, Mapping[str, str]]) -> Step:
    """With what its words stand for, and the labels that follow from it; `outputs` by the names of
    the build's steps."""
    words = step.written.output_words
    values = values_named(words.values(), outputs)
    meant = {word: values[name.step][name.key] for word, name in words.items()}
    return labelled(replace(step, definition=replace(step.definition, outputs=meant)), build)


def image_fault(step: Step) -> str | None:
    """Why the image that an output names can't be one, for people; None if it can."""
    words = output_words([step.written.image or ""])
    for word in words:
        image = step.definition.outputs[word]
        fault = line_fault(image, MAX_IMAGE_CHARACTERS)
        if fault is None and not can_be_named(image):
            fault = "is no slug, and no reference of an image such as `python:3.12`"
        if fault is not None:
            return f"the image `${{{{ {word} }}}}`, {shown(image)} in this build, {fault}"
    return None


def privilege_fault(step: Step, build: Build, project: Project) -> str | None:
    """Why it may not be privileged, for people; None if it may, or doesn't want to."""
    if not step.written.wants_privileges:
        return None
    if build.of_fork:
        return f"step `{step.name}` is `privileged`, which nothing of a fork ever is"
    if project.trusted:
        return None
    slug = f"{project.account_slug}/{project.slug}"
    return (
        f"step `{step.name}` is `privileged`, which only a trusted project's may be: an "
        f"administrator trusts it by `pushrod project trust {slug}`"
    )


def label_fault(step: Step) -> str | None:
    """Why no agent can have the step's labels, for people; None if one can."""
    for name, value in step.labels.items():
        fault = line_fault(value, MAX_LABEL_CHARACTERS)
        if fault is not None:
            return (
                f"step `{step.name}`: the label `{name}` of `agents`, {shown(value)} in this "
                f"build, {fault}"
            )
    return None


def artifact_url(base: str, step_id: str, name: str) -> str:
    return f"{base}/api/steps/{step_id}/artifacts/{quote(name)}"


def _ref(build: Build) -> str | None:
    return ref_of(build.pull_request, build.tag, build.branch)


def ref_of(pull: PullRequestRef | None, tag: str | None, branch: str | None) -> str | None:
    """The full name of what a build was made for; None where only its commit is known."""
    if pull is not None:
        return f"refs/pull/{pull.number}/head"
    if tag:
        return f"refs/tags/{tag}"
    return f"refs/heads/{branch}" if branch else None


def step_variables(step: Step, build: Build, project: str, base: str) -> dict[str, str]:
    account, _, slug = project.partition("/")
    values = {
        "CI": "true",
        "PUSHROD_ACCOUNT": account,
        "PUSHROD_PROJECT": slug,
        "PUSHROD_WORKFLOW": build.workflow_name,
        "PUSHROD_BUILD_ID": build.id,
        "PUSHROD_BUILD_NUMBER": str(build.number),
        "PUSHROD_BUILD_URL": f"{base}/builds/{build.id}",
        "PUSHROD_URL": base,
        "PUSHROD_EVENT": build.event,
        "PUSHROD_STEP_ID": step.id,
        "PUSHROD_STEP_NAME": step.name,
        "PUSHROD_ATTEMPT": str(step.attempt),
        "PUSHROD_COMMIT": build.commit_hash,
        "PUSHROD_BRANCH": build.branch,
        "PUSHROD_TAG": build.tag,
        "PUSHROD_REF": _ref(build),
        "PUSHROD_COMMIT_MESSAGE": build.commit_message,
        "PUSHROD_COMMIT_AUTHOR": build.commit_author,
    }
    if build.clean:
        values["PUSHROD_CLEAN_BUILD"] = "true"
    if build.module is not None:
        values["PUSHROD_MODULE"] = build.module.name
        values["PUSHROD_MODULE_PATH"] = build.module.path
        values["PUSHROD_BUILD_TARGET"] = build.module.target
    if build.pull_request is not None:
        values["PUSHROD_PULL_REQUEST"] = str(build.pull_request.number)
        values["PUSHROD_PULL_REQUEST_BASE"] = build.pull_request.base
    if (upstream := build.upstream) is not None:
        values["PUSHROD_UPSTREAM_PROJECT"] = upstream.project
        values["PUSHROD_UPSTREAM_WORKFLOW"] = upstream.workflow
        values["PUSHROD_UPSTREAM_BUILD_ID"] = upstream.build_id
        values["PUSHROD_UPSTREAM_BUILD_NUMBER"] = str(upstream.build_number)
        values["PUSHROD_UPSTREAM_COMMIT"] = upstream.commit
        values["PUSHROD_UPSTREAM_BRANCH"] = upstream.branch
        values["PUSHROD_UPSTREAM_TAG"] = upstream.tag
    for name, value in (build.params or {}).items():
        values[f"PUSHROD_PARAM_{name.upper()}"] = value
    for name, value in step.written.matrix_values.items():
        values[variable_of(name)] = value
    return {name: value.replace("\0", "") for name, value in values.items() if value is not None}
