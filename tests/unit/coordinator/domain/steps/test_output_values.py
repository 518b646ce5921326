from __future__ import annotations

from coordinator.domain.steps.output_values import HandedOn, values_before


def handed_on(*depends_on: str, **values: str) -> HandedOn:
    return HandedOn(step_id="id", depends_on=depends_on, values=values)


def test_a_step_has_the_values_of_all_before_it_and_of_no_other() -> None:
    build = {
        "a": handed_on(k="1"),
        "b": handed_on("a"),
        "c": handed_on("b", k="2"),
        "beside": handed_on("a", k="3"),
        "after": handed_on("c", k="4"),
    }
    assert values_before(["c"], build) == {"a": {"k": "1"}, "c": {"k": "2"}}
