"""Pages of lists, as arithmetic."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coordinator.domain.listing import NO_MARK, nearest, offset_of_page, window_of

HUGE = 2**63 - 1


@given(st.integers(0, 40), st.integers(1, 50), st.integers(0, 60))
def test_a_window_holds_the_page_from_whichever_end(total: int, limit: int, offset: int) -> None:
    everything = list(range(total))
    window = window_of(total=total, limit=limit, offset=offset)
    walked = everything[::-1] if window.backwards else everything
    page = walked[window.offset : window.offset + window.count]
    assert (page[::-1] if window.backwards else page) == everything[offset : offset + limit]


@given(st.integers(1, 1000), st.integers(1, 100), st.integers(0, 1000))
def test_no_window_skips_more_than_half_of_the_list(total: int, limit: int, offset: int) -> None:
    assert window_of(total=total, limit=limit, offset=offset).offset <= total / 2


@given(st.integers(1, 60), st.integers(1, 9), st.integers(0, 60), st.sets(st.integers(1, 60)))
def test_from_a_mark_the_page_is_the_same_and_nearer(
    total: int, limit: int, offset: int, places: set[int]
) -> None:
    everything = list(range(total))
    ranks = sorted(rank for rank in places if rank <= total)
    before = window_of(total=total, limit=limit, offset=offset)
    window = nearest(before, total=total, ranks=ranks)
    behind = 0 if window.mark == NO_MARK else ranks[window.mark]
    if window.backwards:
        walked = (everything if window.mark == NO_MARK else everything[:behind])[::-1]
    else:
        walked = everything[behind:]
    page = walked[window.offset : window.offset + window.count]
    assert (page[::-1] if window.backwards else page) == everything[offset : offset + limit]
    assert window.offset <= before.offset
    if window.count:
        first, last = offset, offset + window.count
        skipped = [first - rank for rank in ranks if rank <= first]
        skipped += [rank - last for rank in ranks if rank >= last]
        assert window.offset == min([*skipped, before.offset])


def test_a_page_beyond_the_end_is_empty_however_far() -> None:
    window = window_of(total=3, limit=100, offset=HUGE)
    assert (window.offset, window.count) == (0, 0)


def test_pages_are_counted_from_one() -> None:
    assert [offset_of_page(page, 20) for page in (1, 2, 11)] == [0, 20, 200]
