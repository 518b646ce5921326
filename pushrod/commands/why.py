"""`pushrod why`."""

from __future__ import annotations

import click

from pushrod.client import Client, call
from pushrod.connection import ConnectionOptions, connection_options, resolve_connection
from pushrod.presentation import cell, print_json
from pushrod.references import choose_step, find_build_id, split_step
from pushrod.transport import Json


@click.command()
@click.argument("reference", metavar="BUILD/STEP")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@connection_options
def why(options: ConnectionOptions, reference: str, as_json: bool) -> None:
    """Say why a step was run, or which build its result was taken from.

    For steps with `inputs`: what differs from the nearest build in which the step succeeded.
    """
    wanted, step = split_step(reference)
    if step is None:
        raise click.BadParameter("name the step: BUILD/STEP", param_hint="BUILD/STEP")

    async def asked(client: Client) -> Json:
        build = await client.build(await find_build_id(client, wanted))
        return await client.why(str(choose_step(build, step)["id"]))

    found = call(resolve_connection(options), asked)
    if as_json:
        return print_json(found)
    differences = found.get("differences")
    if differences:
        click.echo(f"step {step}: it ran, for it differs from #{found['comparedWith']}:")
        for one in differences:
            click.echo(f"  {cell(one)}")
    else:
        click.echo(f"step {step}: {cell(found['says'])}")
    if "notKept" in found:
        click.echo(f"No later build takes its result: {cell(found['notKept'])}.")
    return None
