"""`pushrod tests`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from pushrod.client import Client, call
from pushrod.connection import ConnectionOptions, connection_options, resolve_connection
from pushrod.errors import CommandError
from pushrod.presentation import cell, duration_text, print_json, print_table, printable
from pushrod.references import find_build_id, find_project, split_step
from pushrod.transport import Json

MOST_SHOWN = 1000
"""Tests of one build."""
FAILED_SHOWN = 20
DETAILS_LINES = 30
"""Of a failed test, from its end."""


@click.command()
@click.argument("reference", metavar="BUILD[/STEP]", required=False)
@click.option("--step", metavar="NAME", help="Only this step's.")
@click.option("--failed", is_flag=True, help="List the failed tests, with what they left.")
@click.option("--new", "newly", is_flag=True, help="List those that did not fail before.")
@click.option("--flaky", is_flag=True, help="List those of different results for equal inputs.")
@click.option(
    "--slowest", type=click.IntRange(1, MOST_SHOWN), metavar="N", help="List the N slowest."
)
@click.option("--history", metavar="NAME", help="How the test of this name ended, build by build.")
@click.option("--project", metavar="PROJECT", help="Whose history (slug, ACCOUNT/SLUG or id).")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@connection_options
def tests(
    options: ConnectionOptions,
    reference: str | None,
    step: str | None,
    failed: bool,
    newly: bool,
    flaky: bool,
    slowest: int | None,
    history: str | None,
    project: str | None,
    as_json: bool,
) -> None:
    """Show what the steps of BUILD have reported: an id, or PROJECT#NUMBER.

    Without options: each step's counts and coverage, and the first failed tests.
    """
    connection = resolve_connection(options)
    if history is not None:
        return _show_history(call(connection, lambda c: _history(c, history, project)), as_json)
    if reference is None:
        raise CommandError("which build? write its id, or project#number such as hello#3")
    build, step_of_reference = split_step(reference)
    only = step or step_of_reference
    query = {
        **({"step": only} if only else {}),
        **({"result": "failed"} if failed else {}),
        **({"newlyFailing": "true"} if newly else {}),
        **({"flaky": "true"} if flaky else {}),
        **({"slowest": "true"} if slowest else {}),
    }
    is_list = failed or newly or flaky or slowest is not None
    if not is_list and not as_json:
        query["result"] = "failed"
    limit = slowest or (MOST_SHOWN if is_list or as_json else FAILED_SHOWN)

    async def read(client: Client) -> tuple[list[Json], list[Json]]:
        build_id = await find_build_id(client, build)
        steps = await client.results(build_id)
        steps = [one for one in steps if only in (None, one.get("step"))]
        return steps, await client.tests(build_id, query, limit=limit) if steps else []

    steps, found = call(connection, read)
    if as_json:
        return print_json({"steps": steps, "tests": found})
    if slowest is not None or (flaky and not failed):
        return _show_table(found)
    return _show_build(steps, found, with_steps=not is_list)


async def _history(client: Client, name: str, project: str | None) -> list[Json]:
    if project is None:
        raise CommandError("whose history? name the project by --project")
    return await client.test_history(str((await find_project(client, project))["id"]), name)


def _show_build(steps: Sequence[Json], failed: Sequence[Json], *, with_steps: bool) -> None:
    if not steps:
        click.echo("no step of this build has reported (`reports` of a step)", err=True)
        return
    for one in steps if with_steps else ():
        for line in _step_lines(one):
            click.echo(line)
    for test in failed:
        click.echo()
        _show_failed(test)
    total = sum((one.get("tests") or {}).get("failed", 0) for one in steps)
    if with_steps and total > len(failed):
        click.echo(f"\n{total - len(failed):,} more failed: see them by --failed")


def _step_lines(one: Json) -> list[str]:
    """What is known of one step."""
    name, lines = cell(one.get("step")), list[str]()
    if counts := one.get("tests"):
        lines.append(f"{name}: {_counts(one, counts)}")
    if coverage := one.get("coverage"):
        lines.append(f"{name}: {_coverage(coverage)}")
    return [*lines, *(f"{name}: {cell(warning)}" for warning in one.get("warnings") or ())]


def _counts(one: Json, counts: Json) -> str:
    failed = f"{counts['failed']:,} of {counts['tests']:,} tests failed"
    new, flaky = one.get("newlyFailing"), one.get("flaky")
    parts = [
        click.style(failed, fg="red") if counts["failed"] else f"{counts['tests']:,} tests passed",
        f"{new:,} newly since #{one['comparedWith']}" if new else "",
        f"{flaky:,} flaky" if flaky else "",
        f"{counts['skipped']:,} skipped" if counts["skipped"] else "",
        duration_text(counts["seconds"]),
    ]
    return ", ".join(filter(None, parts))


def _coverage(coverage: Mapping[str, float]) -> str:
    change, compared = coverage.get("change"), coverage.get("comparedWith")
    against = f", {change:+.2f} against #{compared}" if change is not None else ""
    return f"coverage {coverage['percent']:.2f} % of {coverage['lines']:,} lines{against}"


def _show_failed(test: Json) -> None:
    place = f" ({cell(test['file'])}:{test.get('line', '?')})" if test.get("file") else ""
    marks = "".join(f" [{word}]" for word in _marks(test))
    result = "FAILED" if test["result"] == "failed" else str(test["result"])
    name = cell("::".join(filter(None, (test.get("suite"), test["name"]))))
    click.echo(click.style(f"{result} {cell(test['step'])}: {name}", bold=True) + place + marks)
    text = printable(str(test.get("details") or test.get("message") or ""))
    lines = text.strip("\n").expandtabs().splitlines()
    for line in lines[-DETAILS_LINES:]:
        click.echo(f"    {line}")


def _marks(test: Json) -> list[str]:
    words = (("newlyFailing", "new"), ("flaky", "flaky"))
    return [word for key, word in words if test.get(key)]


def _show_table(found: Sequence[Json]) -> None:
    rows = [
        (
            one["step"],
            one.get("suite"),
            one["name"],
            one["result"],
            f"{one['seconds']:.3f}",
            " ".join(_marks(one)),
        )
        for one in found
    ]
    print_table(("step", "suite", "test", "result", "seconds", ""), rows, empty="no such tests")


def _show_history(found: Sequence[Json], as_json: bool) -> None:
    if as_json:
        return print_json(found)
    rows = [
        (
            f"#{past['buildNumber']}",
            past.get("branch"),
            past["result"],
            f"{past['seconds']:.3f}",
            past["at"],
            series["workflow"],
            series["step"],
            series.get("suite"),
            past.get("message"),
        )
        for series in found
        for past in series["results"]
    ]
    columns = ("build", "branch", "result", "seconds", "at", "workflow", "step", "suite", "message")
    return print_table(columns, rows, empty="no test of this name has been reported")
