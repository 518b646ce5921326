"""What was made last of each thing, while it is as it was."""

from __future__ import annotations

from coordinator.domain.last_made import LastMade


class Making:
    def __init__(self) -> None:
        self.times = 0

    def __call__(self, source: tuple[str, int]) -> list[object]:
        self.times += 1
        return list(source)


def test_of_what_is_as_it_was_nothing_is_made() -> None:
    making = Making()
    last = LastMade(making)
    made = last.of("a", ("a", 1))
    assert last.of("a", ("a", 1)) is made
    assert last.of("b", ("a", 1)) == made
    assert making.times == 2


def test_what_has_changed_is_made_anew() -> None:
    making = Making()
    last = LastMade(making)
    last.of("a", ("a", 1))
    assert last.of("a", ("a", 2)) == ["a", 2]
    assert last.of("a", ("a", 1)) == ["a", 1]
    assert making.times == 3


def test_no_more_are_kept_than_it_may_keep() -> None:
    making = Making()
    last = LastMade(making, most=3)
    for number in range(10):
        assert last.of(str(number), ("a", number)) == ["a", number]
        assert len(last) <= 3
    last.of("9", ("a", 9))
    assert making.times == 10
