"""How long a fetch of the source is tried, by what git says of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agent import source_mirror
from agent.source_mirror import MAX_OTHER_FAILURES, bring_commits
from agent.source_trees import SourceError, Wanted
from pipelines_schema.contract_sources import SourceSpec

COMMIT = "1e9278dc1691705fe03600a400e4934cd33dba8e"
AWAY = [
    "fatal: unable to access 'http://c/app.git/': Empty reply from server",
    "fatal: unable to access 'http://c/app.git/': The requested URL returned error: 503",
    "error: RPC failed; curl 18 transfer closed with outstanding read data remaining\n"
    "fatal: error processing acks: 4",
    "error: RPC failed; curl 28 Operation too slow. Less than 100 bytes/sec transferred",
]
BROKEN = "fatal: early EOF"
GONE = f"fatal: remote error: upload-pack: not our ref {COMMIT}"


@pytest.fixture
def fetch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Fetch, where git says these things one after the other, and then has it."""

    async def fetch(*says: str) -> int:
        left, tries = list(says), 0

        async def once(*_: object) -> str | None:
            nonlocal tries
            tries += 1
            return left.pop(0) if left else None

        def missing(_: Path, commits: Sequence[str]) -> list[str]:
            return list(commits) if tries <= len(says) else []

        async def no_pause(_: int) -> None: ...

        monkeypatch.setattr(source_mirror, "_fetch", once)
        monkeypatch.setattr(source_mirror, "_missing", missing)
        monkeypatch.setattr(source_mirror, "pause_after", no_pause)
        source = SourceSpec(url="http://c/app.git", commit=COMMIT)
        await bring_commits(
            tmp_path / "mirror", Wanted(source=source, token="token", parts=None), [COMMIT]
        )
        return tries

    return fetch


async def test_a_coordinator_that_is_away_is_asked_again_however_often(fetch: Any) -> None:
    assert await fetch(*AWAY * 5) == 5 * len(AWAY) + 1


async def test_a_fault_after_many_of_those_is_its_first(fetch: Any) -> None:
    says = [*AWAY * 3, BROKEN, *AWAY * 3, BROKEN]
    assert await fetch(*says) == len(says) + 1


async def test_a_fault_that_repeats_ends_it(fetch: Any) -> None:
    with pytest.raises(SourceError, match="early EOF"):
        await fetch(*[BROKEN] * MAX_OTHER_FAILURES)


async def test_what_no_try_changes_ends_it_at_once(fetch: Any) -> None:
    with pytest.raises(SourceError, match="not our ref"):
        await fetch(GONE)
