"""The guide's reference of the workflow language."""

from __future__ import annotations

from pipelines_schema.expressions import VARIABLES
from pipelines_schema.read_triggers import ON
from pipelines_schema.read_workflow import WORKFLOW
from pipelines_schema.reference import GUIDE, reference, with_reference
from pipelines_schema.step_keys import STEP


def test_the_guide_holds_the_reference_as_generated() -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    assert with_reference(guide) == guide, "run `python -m pipelines_schema.reference`"


def test_the_reference_names_each_key_that_the_parser_knows() -> None:
    text = reference()
    keys = {*STEP.known, *WORKFLOW.known, *ON.known}
    assert {key for key in keys if f"| `{key}` |" not in text} == set()


def test_the_guide_names_each_variable_of_a_step() -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    assert [name for name in VARIABLES if f"`{name}`" not in guide] == []
