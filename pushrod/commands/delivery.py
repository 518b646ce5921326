"""`pushrod delivery list|redeliver`."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from pushrod.client import Client, call
from pushrod.connection import ConnectionOptions, connection_options, resolve_connection
from pushrod.presentation import age, print_json, print_table, say
from pushrod.references import find_project
from pushrod.transport import Json


@click.group()
def delivery() -> None:
    """List the webhooks that came in, and process one again."""


@delivery.command("list")
@click.argument("project")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True)
@click.option("--offset", type=click.IntRange(0), default=0)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@connection_options
def list_deliveries(
    options: ConnectionOptions, project: str, limit: int, offset: int, as_json: bool
) -> None:
    """List PROJECT's newest deliveries, and what became of them."""

    async def newest(client: Client) -> list[Json]:
        found = await find_project(client, project)
        return await client.deliveries(str(found["id"]), limit=limit, offset=offset)

    deliveries = call(resolve_connection(options), newest)
    if as_json:
        return print_json(deliveries)
    now = datetime.now(UTC)
    rows = [
        (
            age(one.get("receivedAt"), now),
            one.get("event"),
            what_moved(one),
            one.get("status"),
            " ".join(f"#{build.get('number')}" for build in one.get("builds", [])),
            one.get("reason"),
            one.get("deliveryId"),
        )
        for one in deliveries
    ]
    columns = ("received", "event", "of", "status", "builds", "reason", "id")
    return print_table(columns, rows, empty="no deliveries")


@delivery.command("redeliver")
@click.argument("project")
@click.argument("delivery_id", metavar="DELIVERY")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@connection_options
def redeliver(options: ConnectionOptions, project: str, delivery_id: str, as_json: bool) -> None:
    """Process a delivery again; builds are made anew."""

    async def again(client: Client) -> Json:
        found = await find_project(client, project)
        return await client.redeliver(str(found["id"]), delivery_id)

    taken = call(resolve_connection(options), again)
    if as_json:
        return print_json(taken)
    return say(f"delivery {taken['deliveryId']}: {taken['status']}")


def what_moved(delivery: Json) -> str:
    """Short names of the branches and tags, or the pull request's number."""
    if "pullRequest" in delivery:
        return f"pull/{delivery['pullRequest']}"
    names = [str(ref.get("ref", "")).split("/", 2)[-1] for ref in delivery.get("refs", [])]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
