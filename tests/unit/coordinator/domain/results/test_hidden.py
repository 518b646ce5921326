"""Secrets in reports."""

from __future__ import annotations

from coordinator.domain.results.hidden import (
    forms_of,
    hidden_in_summary,
    hidden_in_test,
    without,
)
from coordinator.domain.results.values import Result, TestResult

KEY = forms_of(["s3cret\n"])


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
    hidden = hidden_in_test(test, KEY)
    assert "s3cret" not in repr(hidden)
    assert (hidden.name, hidden.details) == ("a[***]", "***\nmore")


def test_a_secret_is_hidden_in_all_of_a_summary() -> None:
    link = {"tag": "a", "children": ["s3cret"], "href": "https://s3cret.example"}
    assert hidden_in_summary([{"tag": "p", "children": [link, "s3cret"]}, "x"], KEY) == [
        {
            "tag": "p",
            "children": [{"tag": "a", "children": ["***"], "href": "https://***.example"}, "***"],
        },
        "x",
    ]


def test_the_longest_goes_first_and_the_shortest_stay() -> None:
    assert without("abcdef abc ab }", forms_of(["abc", "abcdef", "ab", "}"])) == "*** *** ab }"


def test_each_line_and_each_spelling_of_a_secret_is_hidden() -> None:
    key = "-----BEGIN KEY-----\nMIIabc/def+0\n-----END KEY-----\n"
    shown = f"got 'MIIabc/def+0' and MIIabc%2Fdef%2B0, {key!r}"
    assert "MII" not in without(shown, forms_of([key]))
    assert without('pass\\"word', forms_of(['pass"word'])) == "***"
