"""`pushrod agent list|show|demand|pause|drain|resume|remove`: what people see of agents and do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import click

from pushrod.client import Client, call
from pushrod.connection import ConnectionOptions, connection_options, resolve_connection
from pushrod.errors import CommandError, NotFoundError
from pushrod.presentation import age, print_json, print_table, say
from pushrod.references import is_id
from pushrod.transport import Json

WHICH = click.argument("wanted", metavar="AGENT")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="For programs.")


def choose_agent(agents: Sequence[Json], wanted: str) -> str:
    """The id of the agent of that name. Raises NotFoundError, CommandError."""
    found = [one for one in agents if one.get("name") == wanted]
    if len(found) == 1:
        return str(found[0]["id"])
    if found:
        ids = " or ".join(f"{one.get('id')} ({state_of(one)})" for one in found)
        raise CommandError(f"several agents are called {wanted}: write an id, {ids}")
    raise NotFoundError(f"there is no agent {wanted!r}: `pushrod agent list` shows all")


def state_of(agent: Json) -> str:
    """`online`, `online, paused`, `offline`, …"""
    state = "online" if agent.get("online") else "offline"
    if agent.get("drained"):
        return f"{state}, drained"
    return f"{state}, paused" if agent.get("paused") else state


@click.command("list")
@AS_JSON
@connection_options
def list_agents(options: ConnectionOptions, as_json: bool) -> None:
    """List the agents that work for your account."""

    async def look(client: Client) -> list[Json]:
        return await client.with_owners(await client.agents())

    agents = call(resolve_connection(options), look)
    if as_json:
        return print_json(agents)
    now = datetime.now(UTC)
    rows = [
        (
            one.get("id"),
            one.get("name"),
            state_of(one),
            one.get("slots"),
            _labels(one),
            one.get("account", "all"),
            age(one.get("lastSeenAt"), now),
        )
        for one in agents
    ]
    columns = ("id", "name", "state", "slots", "labels", "account", "seen")
    return print_table(columns, rows, empty="no agents: start one with `pushrod agent`")


@click.command()
@WHICH
@AS_JSON
@connection_options
def show(options: ConnectionOptions, wanted: str, as_json: bool) -> None:
    """Show AGENT, a name or an id, with the steps that it runs."""

    async def look(client: Client) -> Json:
        found = await client.agent(await _find(client, wanted))
        [agent] = await client.with_owners([found])
        return agent

    agent = call(resolve_connection(options), look)
    if as_json:
        return print_json(agent)
    now = datetime.now(UTC)
    rows = [
        ("id", agent.get("id")),
        ("name", agent.get("name")),
        ("state", state_of(agent)),
        ("slots", agent.get("slots")),
        ("labels", _labels(agent)),
        ("account", agent.get("account", "all")),
        ("registered", age(agent.get("createdAt"), now)),
        ("seen", age(agent.get("lastSeenAt"), now)),
        *(("step", f"{step['name']} of build {step['buildId']}") for step in agent["steps"]),
    ]
    return print_table(("what", "is"), rows, empty="")


@click.command()
@WHICH
@AS_JSON
@connection_options
def pause(options: ConnectionOptions, wanted: str, as_json: bool) -> None:
    """Have AGENT, a name or an id, take no new steps. Those that run go on."""

    async def change(client: Client) -> Json:
        return await client.pause_agent(await _find(client, wanted))

    agent = call(resolve_connection(options), change)
    if as_json:
        return print_json(agent)
    return say(f"paused {agent['name']}: `pushrod agent resume {wanted}` lets it go on")


@click.command()
@WHICH
@AS_JSON
@connection_options
def drain(options: ConnectionOptions, wanted: str, as_json: bool) -> None:
    """Have AGENT, a name or an id, finish what it runs and end."""

    async def change(client: Client) -> Json:
        return await client.drain_agent(await _find(client, wanted))

    agent = call(resolve_connection(options), change)
    if as_json:
        return print_json(agent)
    undone = f"`pushrod agent resume {wanted}` undoes it"
    return say(f"{agent['name']} ends when the steps that it runs have: {undone}")


@click.command()
@AS_JSON
@connection_options
def demand(options: ConnectionOptions, as_json: bool) -> None:
    """Show how many steps wait for an agent, by what they want of it."""
    groups = call(resolve_connection(options), lambda client: client.demand())
    if as_json:
        return print_json(groups)
    rows = [
        (one["waiting"], f"{one['oldestSeconds']:.0f} s", one["freeSlots"], _wants(one))
        for one in groups
    ]
    columns = ("waiting", "oldest", "free slots", "wants")
    return print_table(columns, rows, empty="no step waits for an agent")


@click.command()
@WHICH
@AS_JSON
@connection_options
def resume(options: ConnectionOptions, wanted: str, as_json: bool) -> None:
    """Have AGENT, a name or an id, take steps again."""

    async def change(client: Client) -> Json:
        return await client.resume_agent(await _find(client, wanted))

    agent = call(resolve_connection(options), change)
    if as_json:
        return print_json(agent)
    return say(f"{agent['name']} takes steps again")


@click.command()
@WHICH
@AS_JSON
@connection_options
def remove(options: ConnectionOptions, wanted: str, as_json: bool) -> None:
    """End the credential of AGENT, a name or an id, and list it no more.

    What it runs gets a new attempt elsewhere. One that still has a good registration token comes
    back as a new agent: revoke that first (`pushrod token list`).
    """

    async def change(client: Client) -> str:
        agent_id = await _find(client, wanted)
        await client.remove_agent(agent_id)
        return agent_id

    agent_id = call(resolve_connection(options), change)
    if as_json:
        return print_json({"id": agent_id, "removed": True})
    return say(f"removed {wanted}")


async def _find(client: Client, wanted: str) -> str:
    return wanted.lower() if is_id(wanted) else choose_agent(await client.agents(), wanted)


def _wants(group: Json) -> str:
    return " ".join([_labels(group), *group["needs"]]).strip() or "any agent"


def _labels(agent: Json) -> str:
    return " ".join(f"{key}={value}" for key, value in agent.get("labels", {}).items())
