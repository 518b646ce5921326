"""The bash text of a step; tests/integration/steps/test_coordinator_script.py runs it."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import Any

import pytest

from coordinator.domain.steps.script import bash_script
from pipelines_schema.contract import CacheDir, StepSpec
from pipelines_schema.contract_outputs import ArtifactRef, DependencySpec
from pipelines_schema.contract_sources import SourceSpec

TOKEN = "prs_secret"


@dataclass(frozen=True)
class Nasty:
    text: str = "a'b\"c$(touch /tmp/x)`id`\\ \n; exit 9 # ü\u2028"


def spec(**more: Any) -> StepSpec:
    return StepSpec(
        **{
            "step_id": "11111111-1111-1111-1111-111111111111",
            "epoch": 3,
            "attempt": 2,
            "name": "test",
            "build_id": "b",
            "build_number": 1,
            "project_id": "p",
            "script": "true",
            "timeout_seconds": 60,
            "token": TOKEN,
            **more,
        }
    )


def whole_spec() -> StepSpec:
    nasty = Nasty().text
    artifact = ArtifactRef(name=nasty, size=1, sha256="0" * 64, mode=0o755, url=nasty)
    return spec(
        name=nasty,
        script=nasty,
        env={"NASTY": nasty},
        output_paths=[nasty],
        cache_dirs=[
            CacheDir(path=f"/workspace/{nasty}", id=nasty, replaces=nasty),
            CacheDir(path=nasty, id=nasty),
        ],
        clean=True,
        source=SourceSpec(url=nasty, commit=nasty),
        dependencies=[DependencySpec(step_id="d", name=nasty, artifacts=[artifact])],
    )


@pytest.mark.parametrize("step", [spec(), whole_spec()], ids=["least", "nasty"])
def test_the_text_is_bash(step: StepSpec) -> None:
    text = bash_script(step, "http://ci.example")
    assert text.startswith("#!/usr/bin/env bash\n")
    checked = subprocess.run(["bash", "-n"], input=text.encode(), capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, b"")


def test_the_same_spec_gives_the_same_text() -> None:
    first = bash_script(spec(env={"B": "1", "A": "2"}), "http://ci.example")
    assert bash_script(spec(env={"A": "2", "B": "1"}), "http://ci.example") == first


def test_the_token_stands_in_no_argument_of_a_program() -> None:
    lines = [line for line in bash_script(whole_spec(), "http://x").splitlines() if TOKEN in line]
    [line] = lines
    assert line.startswith("printf "), "printf is part of bash, so no other user sees this"


def test_a_step_without_a_commit_has_no_checkout() -> None:
    assert "git " not in bash_script(spec(), "http://x")
    source = SourceSpec(url="http://x/git/a/b.git", commit="0" * 40)
    assert "git " in bash_script(spec(source=source), "http://x")


def test_a_script_with_a_nul_or_the_closing_word_travels_whole() -> None:
    text = bash_script(spec(script="a\0b\nPUSHROD_SCRIPT\nexit 1\n"), "http://x")
    assert "\0" not in text
    assert text.count("\nPUSHROD_SCRIPT\n") == 1
