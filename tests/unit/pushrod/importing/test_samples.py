"""Files of other systems: what is made of each, to the letter, is a workflow that pushrod takes."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipelines_schema import parse_workflow
from pipelines_schema.step_keys import STEP
from pushrod.commands.validate import validate
from pushrod.importing import FORMATS
from pushrod.importing.waiting import WAITING
from tests.unit.pushrod.importing.samples import expected, result, samples, told

MIN_SAMPLES = 12


def named(sample: Path) -> str:
    return f"{sample.parent.name}-{sample.stem}"


@pytest.mark.parametrize("sample", samples(), ids=named)
def test_a_sample_becomes_what_stands_beside_it(sample: Path) -> None:
    assert told(result(sample)) == expected(sample).read_text()


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_what_is_made_of_a_format_passes_validate(form: object, tmp_path: Path) -> None:
    files: list[str] = []
    for sample in (one for one in samples() if one.parent.name == getattr(form, "name", "")):
        for path, text in result(sample).workflows.items():
            file = tmp_path / sample.stem / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            files.append(str(file))
    assert len(files) >= MIN_SAMPLES
    checked = CliRunner().invoke(validate, files)
    assert (checked.exit_code, checked.stdout) == (0, "")


def test_each_format_has_a_dozen_samples() -> None:
    counted = Counter(sample.parent.name for sample in samples())
    assert set(counted) == {form.name for form in FORMATS}
    assert min(counted.values()) >= MIN_SAMPLES


def test_no_sample_needs_the_parsers_veto() -> None:
    """What the language refuses is known where the sample's keys are read."""
    assert [
        sample for sample in samples() if "pushrod refuses" in expected(sample).read_text()
    ] == []


def scripts() -> Iterator[tuple[str, str]]:
    for sample in samples():
        for path, text in result(sample).workflows.items():
            workflow = parse_workflow(text.encode(), path).workflow
            assert workflow is not None
            for step in workflow.steps:
                if step.script:
                    yield f"{named(sample)}: {step.name}", step.script


def test_bash_reads_each_script() -> None:
    found = list(scripts())
    assert len(found) > 100
    for name, script in found:
        checked = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True)
        assert (checked.returncode, checked.stderr) == (0, ""), name


def test_what_waits_is_what_the_language_has_not_built() -> None:
    """Whoever builds one of these keys takes it out of `WAITING`, and writes the samples anew."""
    assert set(STEP.not_built) >= WAITING
