"""`pushrod project create --forge-token-file` and `project check`, against each forge's API."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from aiohttp import web

from coordinator.domain.outbox.calls import Call, Reply
from coordinator.forges import APIS
from coordinator.forges.github.checks import GitHubChecks
from coordinator.ports import RemoteFailed
from coordinator.services.outbox.checks import Checks
from coordinator.services.outbox.forge_setup import ForgeSetup
from coordinator.services.outbox.forge_tokens import ForgeAccess, ForgeTokens
from coordinator.services.outbox.traffic import Traffic
from tests.integration.coordinator_fixture import Coordinator, open_coordinator
from tests.integration.core_fixture import open_core
from tests.integration.forge_fixture import Hook
from tests.integration.outbox.test_sender import MAINTAINER
from tests.integration.pushes.test_webhook_commands import command, said
from tests.integration.status_forge import STATES, TOKEN, StatusForge, open_status_forge


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(
        tmp_path, allow_http_repositories=True, allow_private_addresses=True
    ) as coordinator:
        yield coordinator


def _options(forge: StatusForge, folder: Path) -> tuple[str, ...]:
    (folder / "token").write_text(TOKEN + "\n")
    named = "bitbucket" if forge.kind.startswith("bitbucket") else forge.kind
    repository = ("--repo", f"{forge.url}/anna/shop.git", "--forge", named)
    return (*repository, "--forge-token-file", str(folder / "token"))


async def _create(coordinator: Coordinator, forge: StatusForge, folder: Path) -> str:
    """A project by one command; Bitbucket Cloud has one address, so its kind is named here."""
    options = _options(forge, folder)
    if forge.kind != "bitbucket":
        return await said(coordinator, "project", "create", "shop", *options)
    await said(coordinator, "project", "create", "shop", *options[:4])
    [project] = json.loads(await said(coordinator, "project", "list", "--json"))
    body = {"token": TOKEN, "forge": "bitbucket", "url": forge.url}
    path = f"/api/projects/{project['id']}/forge-token"
    (await coordinator.admin.call("PUT", path, json=body)).expect(200)
    return await said(coordinator, "project", "set", "shop", "--make-webhook")


@pytest.mark.parametrize("kind", sorted(STATES))
async def test_one_command_makes_the_webhook_and_a_check_tells_what_is_missing(
    coordinator: Coordinator, tmp_path: Path, kind: str
) -> None:
    async with open_status_forge(kind) as forge:
        hooks = forge.hooks
        shown = await _create(coordinator, forge, tmp_path)
        assert "webhook: made" in shown
        assert "the token may set them" in shown
        [project] = json.loads(await said(coordinator, "project", "list", "--json"))
        assert hooks.url == project["webhookUrl"]
        assert "ok   webhook: there" in await said(coordinator, "project", "check", "shop")
        assert forge.taken == []

        hooks.damage()
        hooks.fault = "500 oops"
        missing = await command(coordinator, "project", "check", "shop")
        assert missing.exit_code == 1
        assert "should be http" in missing.output
        assert "it lacks the events" in missing.output
        assert ("oops" in missing.output) is (kind not in ("gitea", "bitbucket"))
        assert "project set shop --make-webhook" in missing.output

        hooks.fault = None
        before = hooks.secret
        shown = await said(coordinator, "project", "set", "shop", "--make-webhook")
        assert "webhook: updated" in shown
        assert (hooks.url, hooks.secret) == (project["webhookUrl"], before)
        await said(coordinator, "project", "check", "shop")
        assert TOKEN not in shown + missing.output
        assert before not in shown + missing.output


def _answer(status: int, body: str = '{"message": "oops"}', **headers: str) -> web.Response:
    kind = "application/json" if body.startswith("{") else "text/html"
    return web.Response(status=status, text=body, content_type=kind, headers=headers)


TROUBLES = {
    "limited": (lambda: _answer(429, **{"Retry-After": "7"}), "asked too often", "check again"),
    "broken": (lambda: _answer(500), "the answer is 500", "check again later"),
    "redirect": (
        lambda: _answer(302, Location="http://127.0.0.1:9/"),
        "a redirect, which is not followed",
        "--forge-url",
    ),
    "page": (lambda: _answer(200, "<html>log in</html>"), "page for people", "--forge-url"),
    "unknown": (lambda: _answer(404), "no such repository", "or another: `pushrod project set"),
}


@pytest.mark.parametrize("trouble", sorted(TROUBLES))
@pytest.mark.parametrize("kind", sorted(STATES))
async def test_no_answer_of_a_forge_in_trouble_is_taken_for_a_right(
    coordinator: Coordinator, tmp_path: Path, kind: str, trouble: str
) -> None:
    async with open_status_forge(kind) as forge:
        await _create(coordinator, forge, tmp_path)
        forge.trouble, says, remedy = TROUBLES[trouble]
        shown = await command(coordinator, "project", "check", "shop")
        assert shown.exit_code == 1
        assert "ok   statuses" not in shown.output
        assert "fail statuses" in shown.output
        assert says in shown.output
        assert remedy in shown.output


@dataclass(slots=True)
class Silent:
    """A forge that never answers, to those who wait for one request."""

    asked: int = 0

    async def send(self, call: Call) -> Reply:
        self.asked += 1
        raise RemoteFailed("gitlab.com did not answer within 20 s", permanent=False)

    def server_of(self, url: str) -> str:
        return url


async def test_a_forge_that_never_answers_is_waited_for_once(tmp_path: Path) -> None:
    async with open_core(tmp_path) as tested:
        core, http = tested.core, Silent()
        project = replace(await tested.new_project(), repo_url="https://gitlab.com/anna/shop.git")
        setup = ForgeSetup(
            core=core,
            http=http,
            statuses=APIS,
            hooks=APIS,
            checks=Checks(core, http, GitHubChecks()),
            tokens=ForgeTokens(core, APIS, lambda _: None),
            traffic=Traffic(core, lambda _: 0),
            address=lambda kind, project_id: f"https://ci.example/{kind}/{project_id}",
        )
        await setup.tokens.set(MAINTAINER, project, ForgeAccess(token=TOKEN))
        for found in (
            await setup.check(MAINTAINER, project),
            await setup.make(MAINTAINER, project),
        ):
            assert [(one.about, one.ok) for one in found[:2]] == [
                ("webhook", False),
                ("statuses", False),
            ]
            assert "did not answer within 20 s" in found[0].says
        assert http.asked == 2


async def test_the_webhook_that_was_made_is_signed_as_it_should_be(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    async with open_status_forge("github") as forge:
        options = _options(forge, tmp_path)
        created = json.loads(
            await said(coordinator, "project", "create", "shop", *options, "--json")
        )
        assert created["setUp"]["ok"]
        hook = Hook(coordinator, created | {"webhookSecret": forge.hooks.secret})
        (await hook.github("ping", {"zen": "calm"})).expect(202)
        assert "the last webhook was ignored" in await said(coordinator, "project", "check", "shop")


async def test_a_project_whose_set_up_could_not_begin_says_how_it_goes_on(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    async with open_status_forge("gitea") as forge:
        repository, _, _, *token = _options(forge, tmp_path)[1:]
        options = ("--repo", repository, *token)
        (tmp_path / "token").write_text("\n")
        shown = await command(coordinator, "project", "create", "shop", *options)
        assert shown.exit_code == 1
        assert f"{tmp_path / 'token'} is empty" in shown.output
        assert json.loads(await said(coordinator, "project", "list", "--json")) == []

        (tmp_path / "token").write_text(TOKEN)
        shown = await command(coordinator, "project", "create", "shop", *options)
        assert shown.exit_code == 1
        assert "Name it (--forge): gitea, github, gitlab, bitbucket" in shown.output
        assert "project set shop --forge-token-file FILE --make-webhook" in shown.output
        more = ("--forge", "gitea", *token, "--make-webhook")
        assert "webhook: made" in await said(coordinator, "project", "set", "shop", *more)


async def test_a_token_without_rights_is_told_what_it_lacks_and_what_to_click(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    async with open_status_forge("gitea") as forge:
        forge.hooks.may = forge.may_set = False
        options = _options(forge, tmp_path)
        shown = await command(coordinator, "project", "create", "shop", *options)
        assert shown.exit_code == 1
        assert f"make it at {forge.url}/anna/shop/settings/hooks" in shown.output
        assert "pushrod project webhook-secret shop" in shown.output
        assert "the token may not set them: 403: no right" in shown.output

        (tmp_path / "token").write_text("another-token\n")
        await said(
            coordinator, "project", "set", "shop", "--forge-token-file", str(tmp_path / "token")
        )
        shown = await command(coordinator, "project", "check", "shop")
        assert "the token is not valid" in shown.output

        await said(coordinator, "project", "set", "shop", "--no-forge-token")
        shown = await command(coordinator, "project", "check", "shop")
        assert shown.exit_code == 1
        assert "this project has no token for its forge" in shown.output
        shown = await command(coordinator, "project", "set", "shop", "--make-webhook")
        assert "this project has no token for its forge" in shown.output
