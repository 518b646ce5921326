"""Which outputs a condition asks for."""

from __future__ import annotations

import pytest

from pipelines_schema.cel_outputs import NoOutputName, OutputName, outputs_named, values_named
from pipelines_schema.changed_files import NotWrittenOut, with_changes_answered


@pytest.mark.parametrize(
    ("expression", "named"),
    [
        ("event == 'push'", []),
        ("outputs.plan.deploy == 'yes'", ["plan deploy"]),
        ("""outputs["build-app"].k == 'x' && outputs.a['k.1'] != ''""", ["build-app k", "a k.1"]),
        ("outputs . plan // where\n . k == outputs.plan.k", ["plan k"]),
        ("'outputs.plan.k' == branch", []),
        ("{'outputs': params.outputs}.outputs == env.outputs", []),
        ("outputs.plan.k.startsWith('x')", ["plan k"]),
        ("outputs['test (3.11, a)'].ok == '1'", ["test (3.11, a) ok"]),
    ],
)
def test_outputs_are_found_by_their_names(expression: str, named: list[str]) -> None:
    found = outputs_named(expression)
    assert [f"{one.step} {one.key}" for one in found] == named


@pytest.mark.parametrize(
    "expression",
    [
        "outputs == 1",
        "outputs.plan == 'x'",
        "outputs.plan",
        "outputs.",
        "outputs[branch].k",
        "outputs['a' + 'b'].k",
        "outputs.plan[branch]",
        "outputs.plan.size()",
        "outputs['a\\x62'].k",
        "outputs['plan'",
        "outputs.plan['a b']",
        "outputs(plan).k",
    ],
)
def test_what_is_not_written_out_is_refused_where_it_stands(expression: str) -> None:
    with pytest.raises(NoOutputName) as caught:
        outputs_named(f"tag == '' && {expression}")
    assert caught.value.offset == len("tag == '' && ")


def test_only_what_is_asked_for_is_given_and_what_there_is_not_is_empty() -> None:
    asked = [OutputName("plan", "k"), OutputName("plan", "other"), OutputName("gone", "k")]
    given = values_named(asked, {"plan": {"k": "v", "large": "x" * 1000}, "beside": {"k": "v"}})
    assert given == {"plan": {"k": "v", "other": ""}, "gone": {"k": ""}}


@pytest.mark.parametrize(
    ("expression", "left"),
    [
        ("changed('src/**') && outputs.a.k == ''", "true && outputs.a.k == ''"),
        ('outputs.a.k == "" || !changed( "docs/**" , "!x" )', 'outputs.a.k == "" || !false'),
        ("changed('src/**') || changed('docs/**')", "true || false"),
        ("outputs.changed.k == 'changed(' ", "outputs.changed.k == 'changed(' "),
    ],
)
def test_which_files_differ_is_answered_beforehand(expression: str, left: str) -> None:
    assert with_changes_answered(expression, ["src/a.py"]) == (left, None)


@pytest.mark.parametrize("call", ["changed(branch)", "changed('a' + tag)", "changed()", "changed("])
def test_what_is_asked_then_is_written_out(call: str) -> None:
    with pytest.raises(NotWrittenOut, match="computes what it asks") as caught:
        with_changes_answered(f"tag == '' && {call}", [])
    assert caught.value.offset == len("tag == '' && ")
