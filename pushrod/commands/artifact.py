"""`pushrod artifact list|download`."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import click

from pushrod.client import ANY_PROJECT, Client, call
from pushrod.connection import ConnectionOptions, connection_options, resolve_connection
from pushrod.downloads import StepOutputs, folder_of, lay, outputs_of, rows_of, save, save_one
from pushrod.errors import CommandError, NotFoundError
from pushrod.presentation import cell, print_json, print_table, say
from pushrod.references import choose_step, find_build_id, split_step, steps_of
from pushrod.transport import Json


@click.group()
def artifact() -> None:
    """List and download what steps have left (their `outputPaths`)."""


@artifact.command("list")
@click.argument("reference", metavar="BUILD[/STEP]")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@connection_options
def list_artifacts(options: ConnectionOptions, reference: str, as_json: bool) -> None:
    """List the files, links and folders that a build's steps, or one step, have left."""

    async def listed(client: Client) -> tuple[Json, list[StepOutputs]]:
        build, steps = await _steps(client, reference)
        return build, [await outputs_of(client, step) for step in steps]

    build, outputs = call(resolve_connection(options), listed)
    rows = rows_of(outputs)
    if as_json:
        return print_json(rows)
    print_table(
        ("step", "name", "size"),
        [
            (cell(row["step"]), cell(row["name"]), row.get("size", _instead_of_size(row)))
            for row in rows
        ],
        empty="no artifacts",
    )
    for line in gone_lines(build, [one.step for one in outputs]):
        say(line)
    return None


def gone_lines(build: Json, steps: list[Json]) -> list[str]:
    """What retention deleted of these steps' artifacts, a line each."""
    lines = [
        f"{cell(step['name'])}: {cell(one['path'])} was deleted on {one['goneAt'][:10]}, as its "
        "keep says"
        for step in steps
        for one in step.get("goneOutputs", ())
    ]
    if gone_at := build.get("artifactsGoneAt"):
        lines.append(f"artifacts were deleted on {gone_at[:10]}, as the limits of retention say")
    return lines


def _instead_of_size(row: Json) -> str:
    return f"-> {cell(row['target'])}" if row["kind"] == "link" else row["kind"]


@artifact.command("download")
@click.argument("reference", metavar="BUILD[/STEP]")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="Where to (default: here).",
)
@click.option(
    "--zip",
    "zip_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write one zip file instead.",
)
@connection_options
def download(
    options: ConnectionOptions,
    reference: str,
    names: tuple[str, ...],
    folder: Path,
    zip_file: Path | None,
) -> None:
    """Download what a build's steps, or one step, have left: each step's into a folder of its name,
    which must be new or empty.

    With NAMEs, as `artifact list` shows them, only these files of the step.
    """
    if names and zip_file is not None:
        raise CommandError("a zip file holds all: leave the NAMEs out, or --zip")

    async def downloaded(client: Client) -> list[Path]:
        build, steps = await _steps(client, reference)
        if zip_file is not None:
            return [await _zip(client, str(build["id"]), split_step(reference)[1], steps, zip_file)]
        if names:
            return await _named(client, build, steps, names, folder)
        return await _all(client, build, steps, folder)

    for path in call(resolve_connection(options), downloaded):
        say(str(path))


async def _steps(client: Client, reference: str) -> tuple[Json, list[Json]]:
    """The build; the step that is named, else all of the build's."""
    build_text, step_text = split_step(reference)
    build = await client.build(await find_build_id(client, build_text))
    return build, [choose_step(build, step_text)] if step_text else steps_of(build)


async def _named(
    client: Client, build: Json, steps: list[Json], names: tuple[str, ...], folder: Path
) -> list[Path]:
    if len(steps) != 1:
        raise CommandError("which step's? write BUILD/STEP before the names")
    outputs = await outputs_of(client, steps[0])
    try:
        return [await save_one(client, outputs, name, folder) for name in names]
    except NotFoundError as error:
        gone = "; ".join([str(error), *gone_lines(build, steps)])
        raise NotFoundError(gone) from error


async def _all(client: Client, build: Json, steps: list[Json], folder: Path) -> list[Path]:
    found = [one for step in steps if (one := await outputs_of(client, step))]
    if not found:
        gone = "; ".join(gone_lines(build, steps))
        raise NotFoundError(gone or "no artifacts: none were kept, or the steps have not ended")
    places = [folder_of(one.step, folder) for one in found]
    for one, place in zip(found, places, strict=True):
        await lay(client, one, place)
    return places


async def _zip(
    client: Client, build_id: str, step: str | None, steps: list[Json], path: Path
) -> Path:
    of_build = f"/api/projects/{ANY_PROJECT}/builds/{quote(build_id, safe='')}/artifacts.zip"
    of_step = f"/api/steps/{quote(str(steps[0]['id']), safe='')}/artifacts.zip" if step else None
    await save(client.download(of_step or of_build), path)
    return path
