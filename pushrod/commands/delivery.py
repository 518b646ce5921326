"""`pushrod delivery list|show|redeliver|retry`: webhooks that came in, messages that went out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import click

from pushrod.client import Client, call
from pushrod.connection import ConnectionOptions, connection_options, resolve_connection
from pushrod.presentation import age, print_json, print_table, say
from pushrod.references import find_project
from pushrod.transport import Json


@click.group()
def delivery() -> None:
    """List webhooks that came in and messages that went out; process or send one again."""


@delivery.command("list")
@click.argument("project")
@click.option("--in", "direction", flag_value="in", help="Only webhooks that came in.")
@click.option("--out", "direction", flag_value="out", help="Only messages that went out.")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True)
@click.option("--offset", type=click.IntRange(0), default=0)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@connection_options
def list_deliveries(
    options: ConnectionOptions,
    project: str,
    direction: str | None,
    limit: int,
    offset: int,
    as_json: bool,
) -> None:
    """List PROJECT's newest deliveries, in and out, and what became of them."""

    async def newest(client: Client) -> tuple[list[Json], list[Json]]:
        project_id = str((await find_project(client, project))["id"])
        page = {"limit": limit, "offset": offset}
        came = [] if direction == "out" else await client.deliveries(project_id, **page)
        went = [] if direction == "in" else await client.messages(project_id, **page)
        return came, went

    came, went = call(resolve_connection(options), newest)
    if as_json:
        return print_json([*came, *went])
    now = datetime.now(UTC)
    entries = [
        *(("received", "receivedAt", one, _received_row(one, now)) for one in came),
        *(("sent", "createdAt", one, _message_row(one, now)) for one in went),
    ]
    entries.sort(key=lambda entry: str(entry[2].get(entry[1], "")), reverse=True)
    columns = ("", "when", "event", "of", "status", "builds", "reason", "id")
    rows = [("in" if way == "received" else "out", *row) for way, _, _, row in entries[:limit]]
    return print_table(columns, rows, empty="no deliveries")


def _received_row(one: Json, now: datetime) -> tuple[object, ...]:
    return (
        age(one.get("receivedAt"), now),
        one.get("event"),
        what_moved(one),
        one.get("status"),
        " ".join(f"#{build.get('number')}" for build in one.get("builds", [])),
        one.get("reason"),
        one.get("deliveryId"),
    )


def _message_row(one: Json, now: datetime) -> tuple[object, ...]:
    return (
        age(one.get("createdAt"), now),
        f"{one.get('kind')}: {one.get('status')}",
        one.get("about"),
        one.get("state"),
        f"#{one.get('buildNumber')}",
        one.get("reason"),
        one.get("id"),
    )


@delivery.command("show")
@click.argument("project")
@click.argument("message_id", metavar="MESSAGE", type=click.IntRange(1))
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@connection_options
def show(options: ConnectionOptions, project: str, message_id: int, as_json: bool) -> None:
    """Show a message that went out, or is to."""
    found = _of_message(options, project, lambda client, its: client.message(its, str(message_id)))
    if as_json:
        return print_json(found)
    for name, value in found.items():
        say(f"{name}: {value}")
    return None


@delivery.command("retry")
@click.argument("project")
@click.argument("message_id", metavar="MESSAGE", type=click.IntRange(1))
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@connection_options
def retry(options: ConnectionOptions, project: str, message_id: int, as_json: bool) -> None:
    """Send a message again: one that was given up, or that waits for its next try."""
    taken = _of_message(
        options, project, lambda client, its: client.retry_message(its, str(message_id))
    )
    if as_json:
        return print_json(taken)
    return say(f"message {taken['id']}: {taken['state']}")


def _of_message(
    options: ConnectionOptions, project: str, ask: Callable[[Client, str], Awaitable[Json]]
) -> Json:
    async def asked(client: Client) -> Json:
        return await ask(client, str((await find_project(client, project))["id"]))

    return call(resolve_connection(options), asked)


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
