"""Secrets in reports."""

from __future__ import annotations

from coordinator.domain.results.hidden import hidden_in_summary, hidden_in_test, without
from coordinator.domain.results.values import Result, TestResult

KEY = "s3cret\n"


def test_a_secret_is_hidden_wherever_a_test_shows_it() -> None:
    test = TestResult(
        suite="s3cret",
        name="a[s3cret]",
        result=Result.FAILED,
        milliseconds=1,
        message="no s3cret",
        details="s3cret\nmore",
        file="s3cret.py",
        line=1,
    )
    hidden = hidden_in_test(test, [KEY])
    assert "s3cret" not in repr(hidden)
    assert (hidden.name, hidden.details) == ("a[***]", "***more")


def test_a_secret_is_hidden_in_all_of_a_summary() -> None:
    link = {"tag": "a", "children": ["s3cret"], "href": "https://s3cret.example"}
    assert hidden_in_summary([{"tag": "p", "children": [link, "s3cret"]}, "x"], [KEY]) == [
        {
            "tag": "p",
            "children": [{"tag": "a", "children": ["***"], "href": "https://***.example"}, "***"],
        },
        "x",
    ]


def test_the_longest_goes_first_and_the_shortest_stay() -> None:
    assert without("abcdef abc ab }", ["abc", "abcdef", "ab", "}"]) == "*** *** ab }"
