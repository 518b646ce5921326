"""docs/engines.md: each behaviour on each engine, with tests that pytest finds there."""

from __future__ import annotations

import pytest

from tests.engines import BEHAVIOURS, BUILDKIT, ENGINES, HOST, PAGE, collected, missing, page


def test_the_page_is_as_it_is_written() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python -m tests.engines`"


def test_pytest_finds_each_test_for_its_engine() -> None:
    assert missing(collected()) == []


def test_a_test_of_another_engine_is_missing() -> None:
    named = {t for room in BEHAVIOURS.values() for one in room for t in one.tests.values()}
    some = next(one for room in BEHAVIOURS.values() for one in room if len(one.tests) == 2)
    of_host = [f"{test}[{HOST}-a case]" for test in named]
    assert f"{BUILDKIT}: {some.tests[BUILDKIT]}" in missing(of_host)
    assert f"{HOST}: {some.tests[HOST]}" not in missing(of_host)


@pytest.mark.parametrize("room", BEHAVIOURS)
def test_a_behaviour_without_a_test_on_an_engine_says_what_is_there_instead(room: str) -> None:
    for one in BEHAVIOURS[room]:
        assert one.tests.keys() == ENGINES.keys() or one.unlike, one.what
