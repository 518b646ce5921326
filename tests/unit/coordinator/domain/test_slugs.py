"""Names as they stand in a URL."""

from __future__ import annotations

import re

import pytest

from coordinator.domain.slugs import MAX_LENGTH, account_slug, free_slug, slug_of


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


def test_no_two_ids_of_accounts_share_a_slug() -> None:
    ids = ["a-c", "a_c", "A-C", "a c", "a-c-", "日本", "account", "x" * 100, "x" * 99, "1", "01"]
    slugs = [account_slug(one) for one in ids]
    assert len(set(slugs)) == len(ids)
    assert [account_slug(one) for one in ("a-c", "account", "1")] == ["a-c", "account", "1"]
    uuid = "3F0C1A52-8c5d-4a5e-9b57-0a1b2c3d4e5f"
    assert account_slug(uuid) == account_slug(uuid.lower()) == uuid.lower()
