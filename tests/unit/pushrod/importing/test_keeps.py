from __future__ import annotations

import pytest

from pushrod.importing.keeps import kept_for


@pytest.mark.parametrize(
    ("text", "keep"),
    [
        ("1 week", "7d"),
        ("30 days", "30d"),
        ("3 mins 4 sec", "3m4s"),
        ("2h20min", "2h20m"),
        ("6 mos 1 day", "181d"),
        ("47 yrs 6 mos and 4d", "17339d"),
        ("3600", "1h"),
        ("42", None),
        ("never", None),
        ("$EXPIRY", None),
        ("", None),
        ("200 yrs", None),
    ],
)
def test_what_others_write_for_how_long_artifacts_stay(text: str, keep: str | None) -> None:
    assert kept_for(text) == keep
