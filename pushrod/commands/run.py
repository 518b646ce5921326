"""`pushrod run [WORKFLOW]`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from pushrod.commands.up import ENGINE_HELP, ca_file_option, default_slots
from pushrod.connection import ConnectionOptions, connection_options


def _pairs(words: Sequence[str], hint: str) -> dict[str, str]:
    """`NAME=VALUE` each. Raises click.BadParameter."""
    pairs = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"{word!r} must look like NAME=VALUE", param_hint=hint)
        pairs[name] = value
    return pairs


@click.command()
@click.argument("workflow", required=False)
@click.option("--step", "steps", metavar="NAME", multiple=True, help="This, and what it needs.")
@click.option(
    "--matrix", metavar="NAME=VALUE", multiple=True, help="Combinations with this value alone."
)
@click.option(
    "--param", "params", metavar="NAME=VALUE", multiple=True, help="A parameter, as by hand."
)
@click.option(
    "--secrets-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Lines NAME=VALUE, in a file that nobody else may read.",
)
@click.option(
    "--approve",
    "approved",
    metavar="NAME|all",
    multiple=True,
    help="A step with `approve` that goes on; others are asked for at a terminal.",
)
@click.option(
    "--image",
    "images",
    metavar="NAME=REFERENCE",
    multiple=True,
    help="What a coordinator's name for an image means here.",
)
@click.option("--engine", default="auto", show_default=True, help=ENGINE_HELP)
@click.option("--slots", type=click.IntRange(1, 1000), help="Steps at a time (default: CPUs).")
@ca_file_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Put what steps leave into folders of their names here.",
)
@click.option(
    "--send",
    metavar="PROJECT|URL",
    help="Let branches' builds at a coordinator take the results of steps with `inputs`.",
)
@connection_options
@click.option("--list", "--dry-run", "only_list", is_flag=True, help="Show the steps, run none.")
def run(
    workflow: str | None,
    steps: tuple[str, ...],
    matrix: tuple[str, ...],
    params: tuple[str, ...],
    secrets_file: Path | None,
    approved: tuple[str, ...],
    images: tuple[str, ...],
    engine: str,
    slots: int | None,
    ca_file: Path | None,
    output: Path | None,
    only_list: bool,
    send: str | None,
    options: ConnectionOptions,
) -> None:
    """Run a workflow of the repository that you are in, on this machine, as its files are now.

    WORKFLOW is a workflow's name or its file; not needed where there is one, or a .pushrod.yml. No
    coordinator is needed, no port is opened, and nothing is left behind but caches.

    Exit code: 0 it succeeded, 1 it failed, 2 it could not begin, 130 Ctrl-C.
    """
    import logging

    from pushrod.client import run as run_to_the_end
    from pushrod.local.run import RunOptions, run_here
    from pushrod.serving import log_to_stderr

    if send is not None and only_list:
        raise click.UsageError("--list runs no step: leave --send out")
    log_to_stderr(logging.ERROR)
    chosen = RunOptions(
        folder=Path.cwd(),
        workflow=workflow,
        steps=steps,
        matrix=_pairs(matrix, "--matrix"),
        params=_pairs(params, "--param"),
        secrets_file=secrets_file,
        approved=approved,
        images=_pairs(images, "--image"),
        engine=engine,
        slots=slots or default_slots(),
        ca_file=ca_file,
        output=None if output is None else output.absolute(),
        only_list=only_list,
        send=send,
        connection=options,
    )
    code = run_to_the_end(run_here(chosen))
    if code:
        raise click.exceptions.Exit(code)
