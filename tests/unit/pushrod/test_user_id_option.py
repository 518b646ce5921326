from __future__ import annotations

import click
import pytest

from pushrod.commands.agent import parse_user_ids


def test_both_ends_of_the_range_are_in_it() -> None:
    assert parse_user_ids("70000-70002") == range(70000, 70003)
    assert parse_user_ids(None) is None


@pytest.mark.parametrize("text", ["", "5", "0-9", "9-5", "-1-5", "a-b", "1-4294967295", "1-2-3"])
def test_what_is_no_range_of_users_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(click.BadParameter, match="must look like 60706-61183"):
        parse_user_ids(text)
