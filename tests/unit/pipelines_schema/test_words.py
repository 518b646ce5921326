"""Suggestions and expressions: what the messages are made of."""

from __future__ import annotations

import pytest

from pipelines_schema import VARIABLES
from pipelines_schema.expressions import expressions, refusal
from pipelines_schema.nodes import Kind, plain_kind
from pipelines_schema.suggestions import closest, edit_distance

KEYS = ("name", "image", "imageSlug", "run", "dependsOn", "cacheDirs", "timeout")


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [("", "", 0), ("a", "", 1), ("", "ab", 2), ("kitten", "sitting", 3), ("lnit", "lint", 1),
     ("dependOn", "dependsOn", 1), ("ca", "abc", 3)],
)  # fmt: skip
def test_the_distance_counts_edits_and_swaps(one: str, other: str, distance: int) -> None:
    assert edit_distance(one, other) == distance


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("dependOn", "dependsOn"),
        ("depends_on", "dependsOn"),
        ("CACHEDIRS", "cacheDirs"),
        ("cache-dirs", "cacheDirs"),
        ("nmae", "name"),
        ("rnu", "run"),
        ("tiemout", "timeout"),
        ("x", None),
        ("", None),
        ("matrix", None),
        ("r" * 101, None),
    ],
)
def test_the_closest_word_is_one_that_a_slip_explains(word: str, meant: str | None) -> None:
    assert closest(word, KEYS) == meant


def test_expressions_are_counted_by_their_openings() -> None:
    assert [*expressions("a ${{ b }} ${{c}}")] == [(0, "b"), (1, "c")]
    assert [*expressions("${{ a ${{ b }} ${{ c }}")] == [(0, "a ${{ b"), (2, "c")]
    assert [*expressions("${{ never closed")] == []
    assert [*expressions("{{ x }} ${x} $ {{ y }}")] == []


@pytest.mark.parametrize(
    ("expression", "advice"),
    [
        ("branch", 'write "$PUSHROD_BRANCH"'),
        ("github.ref_name", 'write "$PUSHROD_BRANCH"'),
        ("SHA", 'write "$PUSHROD_COMMIT"'),
        ("commit.message", 'write "$PUSHROD_COMMIT_MESSAGE"'),
        ("author", 'write "$PUSHROD_COMMIT_AUTHOR"'),
        ("env.Home", 'write "$Home"'),
        ("matrix.python", "there is no `matrix` here"),
        ("secrets.TOKEN", "name it in the step's `secrets`"),
        ("env.a b", "use the environment variables in `run`"),
    ],
)
def test_a_refused_expression_names_the_variable_to_use(expression: str, advice: str) -> None:
    assert f"is not replaced: {advice}" in refusal(expression, in_script=True)


def test_each_variable_is_the_answer_to_some_expression() -> None:
    spoken = {
        variable
        for variable in VARIABLES
        for word in (variable.removeprefix("PUSHROD_"), variable.removeprefix("PUSHROD_COMMIT_"))
        if f'"${variable}"' in refusal(word, in_script=True)
    }
    assert spoken == set(VARIABLES)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", Kind.NULL), ("~", Kind.NULL), ("null", Kind.NULL), ("nUll", Kind.TEXT),
        ("true", Kind.BOOLEAN), ("False", Kind.BOOLEAN), ("yes", Kind.TEXT), ("on", Kind.TEXT),
        ("12", Kind.INTEGER), ("-3", Kind.INTEGER), ("0o17", Kind.INTEGER), ("0xFf", Kind.INTEGER),
        ("017", Kind.INTEGER), ("0b1", Kind.TEXT), ("1_000", Kind.TEXT), ("22:30", Kind.TEXT),
        ("3.10", Kind.FLOAT), ("1e3", Kind.FLOAT), (".5", Kind.FLOAT), ("5.", Kind.FLOAT),
        (".inf", Kind.FLOAT), (".nan", Kind.FLOAT), (".", Kind.TEXT), ("1.2.3", Kind.TEXT),
        ("2024-01-31", Kind.TEXT), ("١٢", Kind.TEXT), ("12\n", Kind.TEXT),
    ],
)  # fmt: skip
def test_plain_scalars_are_what_yaml_1_2_says(text: str, kind: Kind) -> None:
    assert plain_kind(text) is kind
