"""Secrets, logins to registries and credentials: one kind of thing, three sets of words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from coordinator.domain.errors import Invalid, NotFound
from coordinator.domain.listing import AuditListing
from coordinator.domain.model import Account, Project
from coordinator.domain.people.permissions import Principal, PrincipalKind, Right
from coordinator.services.audit import list_entries
from coordinator.services.builds.drafts import Origin
from coordinator.services.core import Core
from coordinator.services.projects.credentials import Credentials
from coordinator.services.projects.registry_logins import (
    MAX_LOGINS,
    RegistryLogins,
    open_logins,
)
from coordinator.services.projects.secrets import MAX_SECRETS, Secrets, open_secrets
from coordinator.services.sealing import seal
from coordinator.storage.projects import sealed_things as stored
from tests.integration.core_fixture import TestedCore, open_core

pytestmark = pytest.mark.usefixtures("each_database")

MAINTAINER = Principal(
    kind=PrincipalKind.PERSON,
    name="mara",
    token_id="t",
    account_id="acme",
    rights=frozenset({Right.MANAGE}),
)


@pytest.fixture
async def tested(tmp_path: Path) -> AsyncIterator[TestedCore]:
    async with open_core(tmp_path) as tested:
        yield tested


async def audited(core: Core) -> list[tuple[str, str | None, dict[str, str]]]:
    """Oldest first, whatever else is in the log."""
    entries, _ = await list_entries(core, MAINTAINER, None, AuditListing(limit=500))
    return [(one.action, one.project_id, dict(one.details)) for one in reversed(entries)]


async def opened(core: Core, project: Project, name: str) -> dict[str, str]:
    return dict(
        await core.database.read(
            lambda connection: open_secrets(core, connection, project, [name], Origin(event="push"))
        )
    )


async def test_a_project_with_all_its_secrets_may_set_one_anew_but_not_another(
    tested: TestedCore,
) -> None:
    core, project = tested.core, await tested.new_project()
    secrets = Secrets(core)
    for number in range(MAX_SECRETS):
        await secrets.set(MAINTAINER, project, f"S{number}", "old")

    with pytest.raises(Invalid, match="there are 100 secrets already: delete one first"):
        await secrets.set(MAINTAINER, project, "ONE_MORE", "x")
    await secrets.set(MAINTAINER, project, "S7", "new")

    assert await opened(core, project, "S7") == {"S7": "new"}
    assert await opened(core, project, "ONE_MORE") == {}
    await secrets.set(MAINTAINER, await tested.new_project("other"), "S0", "x")


async def test_an_account_with_all_its_logins_may_set_one_anew_but_not_another(
    tested: TestedCore,
) -> None:
    core, project = tested.core, await tested.new_project()
    logins, acme = RegistryLogins(core), Account(id="acme", slug="acme", name="acme")
    for number in range(MAX_LOGINS):
        await logins.set(MAINTAINER, acme, f"r{number}.example", "robot", "old")

    with pytest.raises(Invalid, match="there are 50 logins already: remove one first"):
        await logins.set(MAINTAINER, acme, "more.example", "robot", "x")
    await logins.set(MAINTAINER, acme, "R7.example", "mara", "new")
    await logins.set(MAINTAINER, project, "r8.example", "mara", "own")

    found = await core.database.read(lambda connection: open_logins(core, connection, project))
    by_host = {one.host: (one.username, one.password) for one in found}
    assert len(by_host) == len(found) == MAX_LOGINS
    assert by_host["r7.example"] == ("mara", "new")
    assert by_host["r8.example"] == ("mara", "own")
    assert by_host["r9.example"] == ("robot", "old")


async def test_what_an_earlier_coordinator_sealed_opens(tested: TestedCore) -> None:
    core = tested.core
    project = replace(await tested.new_project(), repo_url="https://forge.example/a.git")
    rows = [
        (stored.SECRETS, {"name": "KEY", "pattern": ""}, {}, f"secret {project.id} KEY", b"s"),
        (
            stored.REGISTRY_LOGINS,
            {"host": "r.example"},
            {"username": "robot"},
            "registry acme r.example robot",
            b"p",
        ),
        (
            stored.CREDENTIALS,
            {},
            {"kind": "token", "host": "forge.example"},
            f"credential {project.id} token forge.example",
            b'{"user": "", "token": "t", "key": ""}',
        ),
    ]
    for table, key, values, purpose, plain in rows:
        owner = "acme" if table is stored.REGISTRY_LOGINS else project.id
        row = {table.owner: owner, **key, **values}
        sealed = seal(core.keys.master, purpose, plain)
        await core.database.write(
            lambda connection, table=table, row=row, key=key, sealed=sealed: table.put(
                connection, row, key, sealed=sealed, now=core.now()
            )
        )

    logins = await core.database.read(lambda connection: open_logins(core, connection, project))
    credential = await Credentials(core).of(project)

    assert await opened(core, project, "KEY") == {"KEY": "s"}
    assert [(one.host, one.password) for one in logins] == [("r.example", "p")]
    assert credential is not None
    assert credential.token == "t"


async def test_each_deed_is_audited_with_the_words_of_its_kind(tested: TestedCore) -> None:
    core = tested.core
    project = replace(await tested.new_project(), repo_url="https://forge.example/a.git")
    secrets, logins, credentials = Secrets(core), RegistryLogins(core), Credentials(core)
    acme = Account(id="acme", slug="acme", name="acme")

    await secrets.set(MAINTAINER, project, "KEY", "x")
    await secrets.delete(MAINTAINER, project, "KEY")
    await logins.set(MAINTAINER, project, "r.example", "robot", "x")
    await logins.remove(MAINTAINER, project, "R.example")
    await logins.set(MAINTAINER, acme, "r.example", "robot", "x")
    await credentials.set(MAINTAINER, project, token="t", deploy_key=None)
    await credentials.remove(MAINTAINER, project)

    assert await audited(core) == [
        ("secret.set", project.id, {"secret": "KEY", "by": "mara"}),
        ("secret.deleted", project.id, {"secret": "KEY", "by": "mara"}),
        ("registry.login", project.id, {"registry": "r.example", "by": "mara"}),
        ("registry.logout", project.id, {"registry": "r.example", "by": "mara"}),
        ("registry.login", None, {"registry": "r.example", "by": "mara"}),
        ("credential.set", project.id, {"kind": "token", "by": "mara"}),
        ("credential.removed", project.id, {"kind": "", "by": "mara"}),
    ]


async def test_what_is_not_there_can_not_be_removed(tested: TestedCore) -> None:
    core, project = tested.core, await tested.new_project()
    with pytest.raises(NotFound, match="the project has no secret 'KEY'"):
        await Secrets(core).delete(MAINTAINER, project, "KEY")
    with pytest.raises(NotFound, match=r"there is no login to 'r\.example'"):
        await RegistryLogins(core).remove(MAINTAINER, project, "r.example")
    with pytest.raises(NotFound, match="this project has no credential"):
        await Credentials(core).remove(MAINTAINER, project)
    assert await audited(core) == []
