"""Names as they stand in a URL."""

from __future__ import annotations

import re

import pytest

from coordinator.domain.slugs import MAX_LENGTH, free_slug, slug_of


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Shop", "shop"),
        ("My  Shop!", "my-shop"),
        ("../x", "x"),
        ("a/b\\c", "a-b-c"),
        ("Grüße aus Köln", "grue-aus-koln"),
        ("--lead and trail--", "lead-and-trail"),
        ("日本", "fallback"),
        ("...", "fallback"),
        ("x\0y\n", "x-y"),
    ],
)
def test_a_slug_is_plain_whatever_the_name(name: str, slug: str) -> None:
    assert slug_of(name, fallback="fallback") == slug


def test_a_slug_is_bounded_and_does_not_end_in_a_dash() -> None:
    slug = slug_of("a" * (MAX_LENGTH - 1) + " b", fallback="x")
    assert slug == "a" * (MAX_LENGTH - 1)


def test_a_taken_slug_gets_the_next_free_number() -> None:
    assert free_slug("shop", set()) == "shop"
    assert free_slug("shop", {"shop"}) == "shop-2"
    assert free_slug("shop", {"shop", "shop-2", "shop-4"}) == "shop-3"


def test_every_slug_fits_into_a_url_path() -> None:
    for code in range(1, 0x3000):
        slug = slug_of(f"a{chr(code)}b", fallback="x")
        assert re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", slug), (code, slug)
