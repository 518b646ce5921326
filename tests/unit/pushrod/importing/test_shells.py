"""By which shell imported scripts run: in images without bash by sh, where it can run them."""

from __future__ import annotations

import subprocess

import pytest

from pipelines_schema import Workflow, parse_workflow
from pushrod.importing import FORMATS, imported
from tests.unit.pushrod.importing.samples import CHOICES, result, samples

GITLAB = next(form for form in FORMATS if form.name == "gitlab")


def steps_of(image: str, script: str) -> tuple[Workflow, str]:
    text = f"image: {image}\ntest:\n  script:\n    - |\n      {script}\n"
    done = imported(GITLAB, {".gitlab-ci.yml": text.encode()}, CHOICES, lambda name: None)
    [workflow] = done.workflows.values()
    parsed = parse_workflow(workflow.encode(), "w.yml").workflow
    assert parsed is not None
    return parsed, workflow


@pytest.mark.parametrize(
    "image",
    ["alpine", "alpine:3.20", "busybox", "node:22-alpine", "docker:27", "x.example/alpine"],
)
@pytest.mark.parametrize(
    "script",
    [
        "make",
        "for one in a b; do echo $one; done",
        'if [ "$A" = b ]; then echo "${A%.*} ${A:-x}"; fi',
        "run() { local a=1; }; run",
        "trap 'rm -f x' EXIT INT",
        "cat <<END\nEND",
        "echo $(( 1 + 2 )) `date`",
    ],
)
def test_sh_runs_what_it_can_run(image: str, script: str) -> None:
    workflow, text = steps_of(image, script.replace("\n", "\n      "))
    assert workflow.steps[0].shell == "sh"
    assert "this image has no bash: its script runs by `sh`" in text


@pytest.mark.parametrize(
    "script",
    [
        "[[ $A == b* ]] && make",
        "set -euo pipefail",
        "source ./env",
        "names=(a b)",
        "names+=(c)",
        "echo ${names[0]} ${#names[@]}",
        "echo ${A//x/y} ${A^^}",
        "echo ${A/x/y}",
        "echo ${A:1:2}",
        "echo ${!A}",
        "diff <(a) <(b)",
        "grep x <<< $A",
        "make &> log",
        "echo $'a\\tb'",
        "shopt -s globstar",
        "function run { make; }",
        "trap 'echo $?' ERR",
        "bash ./test",
    ],
)
def test_a_script_in_bashs_own_words_is_told(script: str) -> None:
    workflow, text = steps_of("alpine", script)
    assert workflow.steps[0].shell is None
    assert "may have no bash, which its script asks for" in text


def test_an_image_without_any_shell_is_told() -> None:
    workflow, text = steps_of("gcr.example/distroless/base", "make")
    assert workflow.steps[0].shell is None
    assert "this image has no shell" in text
    assert steps_of("debian:12", "make")[0].steps[0].shell is None


def test_what_is_imported_for_sh_is_what_sh_reads() -> None:
    scripts = [
        step.script
        for sample in samples()
        for text in result(sample).workflows.values()
        if (workflow := parse_workflow(text.encode(), "w.yml").workflow) is not None
        for step in workflow.steps
        if step.shell == "sh"
    ]
    assert len(scripts) > 50
    for script in scripts:
        done = subprocess.run(["sh", "-n"], input=script, text=True, capture_output=True)
        assert done.returncode == 0, (done.stderr, script)
