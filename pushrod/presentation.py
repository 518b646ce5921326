"""What people and programs get to see: JSON, tables, words with colours, times."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

STATE_COLOURS = {
    "succeeded": "green",
    "failed": "red",
    "cancelled": "yellow",
    "running": "cyan",
    "queued": "blue",
    "held": "magenta",
    "ready": "blue",
}

STEP_WORDS = {
    "BLOCKED": "blocked",
    "READY": "ready",
    "RUNNING": "running",
    "SUCCESS": "succeeded",
    "FAILED": "failed",
    "CANCELLED": "cancelled",
    "SKIPPED": "skipped",
}
FINISHED_STATES = frozenset({"succeeded", "failed", "cancelled"})
FINISHED_STEPS = frozenset({"SUCCESS", "FAILED", "CANCELLED", "SKIPPED"})


def print_json(value: Any) -> None:
    """One JSON document on stdout; ASCII, so that no locale spoils it."""
    click.echo(json.dumps(value, indent=2))


def say(message: str) -> None:
    """A line of progress for people, on stderr, where no program takes it for a result."""
    click.echo(printable(message), err=True)


def printable(text: str) -> str:
    """Text of others for a terminal: nothing in it that moves a cursor or starts a sequence."""
    return "".join(
        character
        if character.isprintable() or character == "\n"
        else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in text
    )


def cell(value: object) -> str:
    """A value as one line of a table."""
    return "" if value is None else printable(" ".join(str(value).split()))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
    """A drawn table on a terminal; elsewhere tab-separated lines, in which nothing is cut."""
    if not rows:
        click.echo(empty, err=True)
        return
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            click.echo("\t".join(map(cell, row)))
        return
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=SIMPLE)
    for row in rows:
        texts = [cell(value) for value in row]
        table.add_row(*(Text(text, style=STATE_COLOURS.get(text, "")) for text in texts))
    Console().print(table)


def coloured(state: str) -> str:
    """The word in its colour (click drops the colour where the output isn't a terminal)."""
    return click.style(state, fg=STATE_COLOURS.get(state))


def age(moment: str | None, now: datetime) -> str:
    """`3 min ago` for an ISO 8601 time; the text itself if it isn't one."""
    if moment is None:
        return ""
    parsed = parse_time(moment)
    return moment if parsed is None else f"{duration_text((now - parsed).total_seconds())} ago"


def duration_between(started: str | None, finished: str | None, now: datetime) -> str:
    """How long something took, or has taken so far; empty if it did not start."""
    start = parse_time(started) if started else None
    if start is None:
        return ""
    end = (parse_time(finished) if finished else None) or now
    return duration_text((end - start).total_seconds())


def duration_text(seconds: float) -> str:
    """`1.4 s`, `3 min 20 s`, `2 h 5 min`, `4 d`; a clock that went backwards counts as 0."""
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 2 * 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d"


def size(count: int) -> str:
    """`3.1 MiB`."""
    amount, unit = float(count), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"


def parse_time(text: str) -> datetime | None:
    """An ISO 8601 time, UTC where it names no zone; None if it isn't one."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def problem_line(problem: Mapping[str, Any]) -> str:
    """`file:line:column: message` of a workflow's problem."""
    places = (problem.get(name) for name in ("file", "line", "column", "path"))
    where = ":".join(str(place) for place in places if place is not None)
    message = printable(str(problem.get("message", "")))
    return f"{printable(where)}: {message}" if where else message


def step_summary(step: Mapping[str, Any]) -> str:
    """`succeeded`, or `failed (exit 3): what the coordinator says`."""
    details = step_details(step)
    return f"{step_word(step)} ({details})" if details else step_word(step)


def step_word(step: Mapping[str, Any]) -> str:
    status = str(step.get("status"))
    return STEP_WORDS.get(status, status.lower())


def step_details(step: Mapping[str, Any]) -> str:
    """What a step waits for, or why it ended as it did; empty if there is nothing to add."""
    if step.get("waitsFor"):
        return str(step["waitsFor"])
    exit_code, reason, message = (step.get(key) for key in ("exitCode", "reason", "message"))
    if step.get("status") == "FAILED" and exit_code is not None:
        reason = f"exit {exit_code}"
    parts = [reason if step.get("status") != "SUCCESS" else None, message]
    return ": ".join(str(part) for part in parts if part)
