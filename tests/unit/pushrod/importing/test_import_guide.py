"""docs/import.md shows what the command really says and writes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from pushrod.commands.import_ import NOT_WHOLE, import_

PAGE = Path(__file__).parents[4] / "docs/import.md"
TRANSCRIPT = re.compile(
    r"^`(\S+)`:\n\n```yaml\n(.*?)```\n\n```console\n\$ pushrod import\n(.*?)```\n\n"
    r"`\.pushrod\.yml`:\n\n```yaml\n(.*?)```\n",
    re.MULTILINE | re.DOTALL,
)
TRANSCRIPTS = TRANSCRIPT.findall(PAGE.read_text())


def test_the_guide_shows_two_systems() -> None:
    assert [path for path, *_ in TRANSCRIPTS] == [".github/workflows/ci.yml", ".gitlab-ci.yml"]


@pytest.mark.parametrize(("path", "source", "said", "workflow"), TRANSCRIPTS)
def test_a_transcript_is_what_happens(
    path: str,
    source: str,
    said: str,
    workflow: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(source)
    monkeypatch.chdir(tmp_path)
    ran = CliRunner().invoke(import_, [])
    assert (ran.exit_code, ran.stderr) == (NOT_WHOLE, said)
    assert (tmp_path / ".pushrod.yml").read_text() == workflow
