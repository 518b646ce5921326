"""The parameters of builds made by hand."""

from __future__ import annotations

from pipelines_schema import Param, default_params, param_problems

TARGET = Param(name="target", one_of=("staging", "production"))
NOTE = Param(name="note", default="")
WHO = Param(name="who")


def test_the_first_of_one_of_is_a_default_and_free_text_has_none_of_its_own() -> None:
    assert default_params([TARGET, NOTE, WHO]) == {"target": "staging", "note": ""}


def test_only_a_parameter_without_default_must_be_given() -> None:
    assert param_problems([TARGET, NOTE, WHO], {"who": "x"}) == {}
    assert list(param_problems([TARGET, NOTE, WHO], {})) == ["who"]


def test_a_value_outside_one_of_is_refused_however_it_looks() -> None:
    problems = param_problems([TARGET], {"target": "staging; id"})
    assert problems == {
        "target": "`target` must be one of `staging`, `production`, not `staging; id`"
    }


def test_text_that_no_environment_can_hold_is_refused() -> None:
    assert list(param_problems([NOTE], {"note": "a\0b"})) == ["note"]
    assert list(param_problems([NOTE], {"note": "a" * 10_001})) == ["note"]
