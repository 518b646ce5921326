"""`pushrod storage`."""

from __future__ import annotations

import click

from pushrod.client import Client, call
from pushrod.connection import ConnectionOptions, connection_options, resolve_connection
from pushrod.presentation import print_json, print_table, say
from pushrod.sizes import shown_size
from pushrod.transport import Json

KINDS = ("logBytes", "artifactBytes", "lfsBytes", "repositoryBytes", "garbageBytes")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@connection_options
def storage(options: ConnectionOptions, as_json: bool) -> None:
    """Show what uses how much, by project and kind; those that use most first."""

    async def asked(client: Client) -> Json:
        return await client.storage()

    found = call(resolve_connection(options), asked)
    if as_json:
        return print_json(found)
    rows = [
        (
            f"{one['account']}/{one['slug']}",
            one["builds"],
            *(shown_size(one[kind]) for kind in KINDS),
        )
        for one in found["projects"]
    ]
    columns = ("project", "builds", "logs", "artifacts", "lfs", "repository", "garbage")
    print_table(columns, rows, empty="no projects")
    if (machine := found.get("machine")) is not None:
        free, total = shown_size(machine["freeBytes"]), shown_size(machine["totalBytes"])
        say(f"database {shown_size(machine['databaseBytes'])}; disk {free} free of {total}")
    for one in found.get("agents", ()):
        if one["freeBytes"] < one.get("floorBytes", 0):
            floor = shown_size(one["floorBytes"])
            free = shown_size(one["freeBytes"])
            say(f"agent {one['name']} takes no work: {free} free, it wants {floor}")
    if keeping := sum(one.get("keepingBuilds", 0) for one in found["projects"]):
        whose = f"{keeping} build{'' if keeping == 1 else 's'}"
        say(f"of {whose}, artifacts stay as their own keep says: see pushrod retention show")
    if found["waitingObjects"]:
        say(f"{found['waitingObjects']} objects of deleted things are still to be deleted")
    if not found["enforced"]:
        say("retention deletes nothing yet: see pushrod retention show")
    return None
