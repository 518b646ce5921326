"""What counts of a step with `inputs`: a changed byte of that makes another key, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.domain.lifecycle import BuildState, StepState
from coordinator.domain.model import Artifact, Build, OutputEntry, PullRequestRef, Step
from coordinator.domain.step_definition import StepDefinition
from coordinator.domain.steps.reuse import (
    Circumstances,
    files_digest,
    key_of,
    never_kept,
    never_reused,
    parts_of,
    with_images,
)
from coordinator.domain.steps.reuse_differences import differences
from coordinator.domain.steps.reuse_scopes import readable_from, scope_of
from pipelines_schema import Service
from pipelines_schema import Step as WorkflowStep
from pipelines_schema.git_history import GitHistory
from pipelines_schema.workflow import Network, Resources, Retries, RetryCause

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0$"), min_size=1, max_size=20)
BUILD = Build(
    id="b",
    project_id="p",
    account_id="a",
    workflow_id=None,
    workflow_name="ci",
    number=12,
    state=BuildState.QUEUED,
    event="push",
    version=1,
    commit_hash="1" * 40,
    branch="main",
    created_at=NOW,
    updated_at=NOW,
)
KNOWN = Circumstances(image="sha256:1", secrets={"K": "1"}, values={"V": "1"}, dependencies={})
WRITTEN = WorkflowStep(
    name="unit", image="python", script="pytest", inputs=("src/**",), git=None, env={"A": "1"}
)


def step_of(written: WorkflowStep, files: str | None = "f", **more: Any) -> Step:
    return Step(
        id="s",
        build_id="b",
        project_id="p",
        account_id="a",
        position=0,
        name=written.name,
        state=StepState.BLOCKED,
        definition=StepDefinition(written=written, input_files=files),
        depends_on=(),
        labels=written.agents,
        epoch=0,
        attempt=0,
        lost_count=0,
        holder=None,
        lease_seconds=None,
        **more,
    )


def key(
    written: WorkflowStep = WRITTEN,
    build: Build = BUILD,
    known: Circumstances = KNOWN,
    files: str = "f",
) -> str | None:
    return key_of(parts_of(step_of(written, files), build, known))


Change = Callable[[str], str | None]
COUNTS: Mapping[str, Change] = {
    "name": lambda text: key(replace(WRITTEN, name=f"unit{text}")),
    "script": lambda text: key(replace(WRITTEN, script=f"pytest{text}")),
    "variable": lambda text: key(replace(WRITTEN, env={"A": f"1{text}"})),
    "new variable": lambda text: key(replace(WRITTEN, env={"A": "1", f"B{text}": ""})),
    "shell": lambda text: key(replace(WRITTEN, shell=text)),
    "workdir": lambda text: key(replace(WRITTEN, workdir=text)),
    "user": lambda text: key(replace(WRITTEN, user=text)),
    "network": lambda text: key(replace(WRITTEN, network=Network.NONE)),
    "label": lambda text: key(replace(WRITTEN, agents={"os": text})),
    "outputs": lambda text: key(replace(WRITTEN, output_paths=(text,))),
    "matrix": lambda text: key(replace(WRITTEN, matrix_values={"m": text})),
    "git": lambda text: key(replace(WRITTEN, git=GitHistory(depth=7))),
    "files": lambda text: key(files=f"f{text}"),
    "workflow": lambda text: key(build=replace(BUILD, workflow_name=f"ci{text}")),
    "parameter": lambda text: key(build=replace(BUILD, params={"p": text})),
    "image": lambda text: key(known=replace(KNOWN, image=f"sha256:1{text}")),
    "secret": lambda text: key(known=replace(KNOWN, secrets={"K": f"1{text}"})),
    "new secret": lambda text: key(known=replace(KNOWN, secrets={"K": "1", f"L{text}": ""})),
    "value": lambda text: key(known=replace(KNOWN, values={"V": f"1{text}"})),
    "service": lambda text: key(known=replace(KNOWN, services={"db": f"pg@{text}"})),
    "what a service says": lambda text: key(
        replace(WRITTEN, services=(Service(name="db", image="pg", env={"A": text}),))
    ),
    "dependency": lambda text: key(known=replace(KNOWN, dependencies={"d": text})),
}
DOES_NOT_COUNT: Mapping[str, Change] = {
    "timeout": lambda text: key(replace(WRITTEN, timeout_seconds=len(text))),
    "grace": lambda text: key(replace(WRITTEN, grace_seconds=len(text))),
    "retries": lambda text: key(replace(WRITTEN, retries=Retries(max=3, on=(RetryCause.LOST,)))),
    "resources": lambda text: key(replace(WRITTEN, resources=Resources(cpus=len(text)))),
    "allow failure": lambda text: key(replace(WRITTEN, allow_failure=True)),
    "image's name": lambda text: key(replace(WRITTEN, image=text)),
    "commit": lambda text: key(build=replace(BUILD, commit_hash="2" * 40)),
    "branch": lambda text: key(build=replace(BUILD, branch=text)),
    "number": lambda text: key(build=replace(BUILD, number=len(text) + 100)),
    "message": lambda text: key(build=replace(BUILD, commit_message=text)),
    "patterns of the same files": lambda text: key(replace(WRITTEN, inputs=(text,))),
}


@pytest.mark.parametrize("what", COUNTS)
@given(text=TEXT)
def test_a_changed_byte_of_what_counts_makes_another_key(what: str, text: str) -> None:
    assert COUNTS[what](text) != key()


@pytest.mark.parametrize("what", DOES_NOT_COUNT)
@given(text=TEXT)
def test_a_change_of_nothing_that_counts_makes_no_other_key(what: str, text: str) -> None:
    assert DOES_NOT_COUNT[what](text) == key()


def test_the_commit_counts_where_the_script_sees_it() -> None:
    written = replace(WRITTEN, git=GitHistory())
    assert key(written) != key(written, replace(BUILD, commit_hash="2" * 40))
    written = replace(WRITTEN, env={"COMMIT": "${{ sha }}"})
    assert key(written) != key(written, replace(BUILD, commit_hash="2" * 40))


@given(TEXT, TEXT)
def test_two_names_and_values_are_not_taken_for_one(one: str, other: str) -> None:
    joined = key(replace(WRITTEN, env={one + other: ""}))
    assert key(replace(WRITTEN, env={one: other})) != joined


def test_an_image_that_is_not_known_is_equal_to_none() -> None:
    parts = parts_of(step_of(WRITTEN), BUILD, replace(KNOWN, image=None))
    assert key_of(parts) is None
    assert key_of(with_images(parts, "sha256:1", {})) == key()


def test_a_services_image_that_is_not_known_is_equal_to_none() -> None:
    parts = parts_of(step_of(WRITTEN), BUILD, replace(KNOWN, services={"db": "pg:1"}))
    assert key_of(parts) is None
    assert key_of(with_images(parts, "sha256:1", {"redis:1": "sha256:2"})) is None
    known = replace(KNOWN, services={"db": "pg:1@sha256:2"})
    assert key_of(with_images(parts, "sha256:1", {"pg:1": "sha256:2"})) == key(known=known)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (replace(WRITTEN, inputs=None), "no `inputs`"),
        (replace(WRITTEN, at_most_once=True), "atMostOnce"),
        (replace(WRITTEN, generates="more.yml"), "generates"),
        (replace(WRITTEN, image=None), "no image"),
    ],
)
def test_some_steps_always_run(written: WorkflowStep, said: str) -> None:
    assert said in (never_kept(step_of(written)) or "")


def test_clean_builds_and_retries_take_nothing() -> None:
    assert never_reused(step_of(WRITTEN), BUILD) is None
    assert "--clean" in (never_reused(step_of(WRITTEN), replace(BUILD, clean=True)) or "")
    assert "retry" in (never_reused(step_of(WRITTEN), replace(BUILD, retry_of="x")) or "")
    assert "looked at" in (never_reused(step_of(WRITTEN, None), BUILD) or "")


def test_files_and_links_count_by_what_they_are_and_not_by_their_times() -> None:
    file = Artifact(step_id="s", epoch=1, name="a", size=1, sha256="1", mode=0o644, modified=1)
    link = OutputEntry(step_id="s", epoch=1, name="b", target="a", mode=0o777)
    same = replace(file, step_id="t", epoch=3, modified=2)
    assert files_digest([file], [link]) == files_digest([same], [link])
    assert files_digest([file], [link]) != files_digest([replace(file, mode=0o755)], [link])
    assert files_digest([file], [link]) != files_digest([file], [replace(link, target="c")])


FORK = PullRequestRef(number=7, head="x", base="main", fork=True)


def test_whose_results_are_taken() -> None:
    main, topic = BUILD, replace(BUILD, branch="topic")
    tag, fork = replace(BUILD, branch=None, tag="v1"), replace(BUILD, pull_request=FORK)
    own = replace(BUILD, pull_request=replace(FORK, fork=False))
    sent = replace(BUILD, event="laptop")
    scopes = [scope_of(build, "main") for build in (main, topic, own, tag, fork, sent)]
    assert scopes == ["protected", "others", "others", "tags", "fork/7", "laptop"]
    assert [readable_from(scope) for scope in scopes] == [
        ("protected",),
        ("others", "protected", "laptop"),
        ("others", "protected", "laptop"),
        ("tags",),
        ("fork/7",),
        ("laptop",),
    ]


def test_what_differs_is_told_in_words() -> None:
    now = parts_of(step_of(WRITTEN, "g"), BUILD, replace(KNOWN, image="sha256:2", secrets={}))
    before = parts_of(step_of(WRITTEN), BUILD, KNOWN)
    files = {f"f{number}": "1" for number in range(20)}
    assert differences(now, before, files, {}) == [
        *(f"{name} is new" for name in sorted(files)[:10]),
        "and 10 more files",
        "image digest changed",
        "secret K is gone",
    ]
    assert differences(now, before)[0] == "files named by `inputs` changed"
    assert differences(before, before) == []
