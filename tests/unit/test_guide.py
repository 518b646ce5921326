"""The guide: its links lead somewhere, and the commands in it are commands that there are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from pushrod.cli import pushrod

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
PROGRAM = re.compile(r"^(?:\w+=\S+ )*(?:/opt/pushrod/bin/)?pushrod ")


def commands(page: Path) -> list[str]:
    """The lines of its code blocks that call pushrod."""
    lines = "\n".join(BLOCK.findall(page.read_text())).splitlines()
    return [line for line in lines if PROGRAM.match(line)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_link_leads_to_a_file(page: Path) -> None:
    missing = [to for to in LINK.findall(page.read_text()) if not (page.parent / to).exists()]
    assert missing == []


@pytest.mark.parametrize(
    "line", [pytest.param(line, id=line[:60]) for page in PAGES for line in commands(page)]
)
def test_each_command_and_its_options_exist(line: str) -> None:
    words = shlex.split(PROGRAM.sub("", line), comments=True)
    words = words[: next((i for i, word in enumerate(words) if word in (">", "|", "&")), None)]
    # Parsed as written, but not run: --help comes first.
    ran = CliRunner().invoke(pushrod, [*words, "--help"])
    assert (ran.exit_code, ran.output[:6]) == (0, "Usage:"), ran.output


def test_the_guide_has_commands_to_look_at() -> None:
    assert sum(len(commands(page)) for page in PAGES) > 30
