"""What people see and do in the browser, against the API's answers as plain values."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.e2e.fake_api import TOKEN, FakeApi, serving
from tests.e2e.sample_builds import build, moment, problem_build, project, sample, step

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


@dataclass
class Site:
    api: FakeApi
    url: str
    page: Page

    async def open(self, path: str) -> None:
        await self.page.goto(self.url + path)

    @property
    def running(self) -> dict[str, Any]:
        return next(build for build in self.api.builds if build["id"] == "b-1")


@pytest_asyncio.fixture(loop_scope="module")
async def site(page: Page) -> AsyncIterator[Site]:
    api = sample()
    async with serving(api) as url:
        yield Site(api=api, url=url, page=page)
        await page.goto("about:blank")


def log(page: Page) -> Any:
    return page.get_by_role("log")


async def test_who_is_not_signed_in_is_led_over_the_login_to_the_page_asked_for(site: Site) -> None:
    site.api.signed_in = False
    await site.open("/builds/b-1#step=lint")
    await expect(site.page.get_by_role("heading", name="Sign in")).to_be_visible()
    await expect(site.page.get_by_role("alert")).to_have_count(0)
    await site.page.get_by_label("Access token").fill("mistyped")
    await site.page.keyboard.press("Enter")
    await expect(site.page.get_by_role("alert")).to_contain_text("not valid")
    await site.page.get_by_label("Access token").fill(TOKEN)
    await site.page.keyboard.press("Enter")
    await expect(log(site.page)).to_contain_text("all good")
    assert site.page.url == f"{site.url}/builds/b-1#step=lint"


async def test_a_user_signs_in_by_e_mail_and_password(site: Site) -> None:
    site.api.signed_in = False
    await site.open("/builds/b-1#step=lint")
    await site.page.get_by_label("E-mail").fill("ada@example.org")
    await site.page.get_by_label("Password").fill("mistyped")
    await site.page.keyboard.press("Enter")
    await expect(site.page.get_by_role("alert")).to_contain_text("password is wrong")
    await site.page.get_by_label("E-mail").fill("ada@example.org")
    await site.page.get_by_label("Password").fill(TOKEN)
    await site.page.keyboard.press("Enter")
    await expect(log(site.page)).to_contain_text("all good")


async def test_signing_out_leads_to_the_login(site: Site) -> None:
    await site.open("/")
    await site.page.get_by_role("button", name="Sign out").click()
    await expect(site.page.get_by_role("heading", name="Sign in")).to_be_visible()


async def test_the_home_page_shows_every_project_with_its_last_build(site: Site) -> None:
    old = build("b-old", 1, "failed", project_id="p-3", createdAt=moment(1e6))
    site.api.builds += [build(f"b-{n}", n, "succeeded") for n in range(100, 140)] + [old]
    await site.open("/")
    await expect(site.page.locator(".card", has_text="hello")).to_contain_text("running")
    await expect(site.page.locator(".card", has_text="compiler")).to_contain_text("failed")
    await expect(site.page.locator(".build-row")).to_have_count(20)
    await site.page.locator(".build-row").first.click()
    await expect(site.page.get_by_role("heading", level=1)).to_contain_text("#12")


async def test_a_home_page_without_projects_says_what_to_type(site: Site) -> None:
    site.api.projects.clear()
    site.api.builds.clear()
    await site.open("/")
    await expect(site.page.locator("#projects")).to_contain_text("pushrod project create")


async def test_a_project_without_builds_says_what_to_type_until_the_first_one_comes(
    site: Site,
) -> None:
    await site.open("/projects/p-3")
    help_text = site.page.locator("#project")
    await expect(help_text).to_contain_text(
        "git remote add pushrod http://127.0.0.1:3000/git/default/compiler.git"
    )
    await expect(help_text).to_contain_text("steps:")
    site.api.builds.insert(0, build("b-first", 1, "queued", project_id="p-3"))
    await expect(site.page.locator(".build-row")).to_contain_text("queued")
    await expect(help_text).not_to_contain_text("git remote add")


async def test_a_project_with_many_builds_has_pages(site: Site) -> None:
    site.api.builds += [build(f"b-{n}", n, "succeeded", project_id="p-3") for n in range(30, 0, -1)]
    await site.open("/projects/p-3")
    await expect(site.page.locator(".build-row")).to_have_count(25)
    await site.page.get_by_role("link", name="Older").click()
    await expect(site.page.locator(".build-row")).to_have_count(5)
    await expect(site.page.get_by_role("link", name="Newer")).to_be_visible()
    await expect(site.page.get_by_role("link", name="Older")).to_have_count(0)


async def test_a_modules_clean_build_says_what_it_is(site: Site) -> None:
    module = {"name": "charts", "path": "libs/charts", "target": "bundle"}
    site.api.builds.append(build("b-m", 7, "succeeded", module=module, cleanBuild=True))
    await site.open("/builds/b-m")
    facts = site.page.locator(".facts")
    await expect(facts).to_contain_text("charts (bundle)")
    await expect(facts).to_contain_text("empty at first (clean build)")
    await site.open("/builds/b-1")
    await expect(facts).not_to_contain_text("Module")
    await expect(facts).not_to_contain_text("Caches")


async def test_the_running_step_is_chosen_and_its_log_grows_live(site: Site) -> None:
    await site.open("/builds/b-1")
    await expect(site.page.locator("#step h2")).to_have_text("test")
    await expect(log(site.page)).to_contain_text("100% downloaded")
    await site.api.append_log("s-test", 2, "größer \U0001f680".encode()[:5])
    await site.api.append_log("s-test", 2, "größer \U0001f680".encode()[5:-2])
    await site.api.append_log("s-test", 2, "größer \U0001f680".encode()[-2:] + b"\n")
    await expect(log(site.page)).to_contain_text("größer \U0001f680")


async def test_a_progress_line_shows_its_last_state_alone(site: Site) -> None:
    await site.open("/builds/b-1")
    await site.api.append_log("s-test", 2, b"pull 10%\rpull 60%")
    await expect(site.page.locator(".partial")).to_have_text("pull 60%")
    await site.api.append_log("s-test", 2, b"\rpull done\n")
    await expect(log(site.page)).to_contain_text("pull done")
    await expect(log(site.page)).not_to_contain_text("pull 60%")


async def test_what_outsiders_write_is_never_markup(site: Site) -> None:
    await site.api.update_build(
        site.running, commitMessage="<img src=x onerror=alert(1)>", branch="<b>x</b>"
    )
    await site.open("/builds/b-1")
    await expect(site.page.get_by_role("heading", level=1)).to_contain_text(
        "<img src=x onerror=alert(1)>"
    )
    await expect(log(site.page)).to_contain_text("<script>alert('log')</script>")
    assert await site.page.locator("#main img, #main b, #main script").count() == 0


async def test_steps_stand_in_the_order_of_the_graph(site: Site) -> None:
    await site.open("/builds/b-1")
    await expect(site.page.locator(".step-name")).to_have_text(["lint", "test", "image", "report"])


async def test_the_chosen_step_stands_in_the_address_and_survives_a_reload(site: Site) -> None:
    await site.open("/builds/b-1")
    link = site.page.locator(".step-link", has=site.page.locator(".step-name", has_text="lint"))
    await link.focus()
    await site.page.keyboard.press("Enter")
    await expect(log(site.page)).to_contain_text("all good")
    await expect(link).to_be_focused()
    await site.page.reload()
    await expect(log(site.page)).to_contain_text("all good")
    await expect(link).to_have_attribute("aria-current", "true")


async def test_what_was_built_is_linked_to_its_forge(site: Site) -> None:
    shop = "https://git.example.org/acme/shop"
    site.running["links"] = {
        "commit": f"{shop}/commit/9f0f53c",
        "branch": f"{shop}/src/branch/main",
        "author": "javascript:alert(1)",
    }
    await site.open("/builds/b-1")
    facts = site.page.locator(".facts")
    await expect(facts.get_by_role("link", name="9f0f53c")).to_have_attribute(
        "href", f"{shop}/commit/9f0f53c"
    )
    await expect(facts.get_by_role("link", name="main")).to_be_visible()
    await expect(facts.get_by_role("link", name="Ada Lovelace")).to_have_count(0)


async def test_a_pull_requests_own_title_is_shown_as_text(site: Site) -> None:
    title = "Sell pears <b>now</b>"
    site.running["pullRequest"] = {
        "number": 7,
        "head": "pears",
        "base": "main",
        "fork": True,
        "title": title,
    }
    await site.open("/builds/b-1")
    fact = site.page.locator(".facts")
    await expect(fact).to_contain_text(f"#7 {title}: pears → main (from a fork)")
    await expect(fact.locator("b")).to_have_count(0)
    await site.open("/")
    await expect(site.page.get_by_role("link", name=title)).to_be_visible()


async def test_artifacts_are_listed_with_size_and_link(site: Site) -> None:
    await site.open("/builds/b-1#step=lint")
    link = site.page.get_by_role("link", name="hello-1.0-py3-none-any.whl")
    await expect(link).to_have_attribute(
        "href", "/api/steps/s-lint/artifacts/dist/hello-1.0-py3-none-any.whl"
    )
    await expect(site.page.locator(".artifacts")).to_contain_text("1.8 MB")


async def test_the_images_that_a_step_pushed_are_listed_by_digest(site: Site) -> None:
    digest = f"sha256:{'ab' * 32}"
    pushed = [{"reference": "registry.example:5000/<b>shop:1", "digest": digest}]
    steps = [step("s-image", "image", "SUCCESS", exitCode=0, images=pushed)]
    site.api.builds.append(build("b-image", 50, "succeeded", steps=steps))
    await site.open("/builds/b-image")
    images = site.page.get_by_role("list", name="Images")
    await expect(images).to_contain_text(f"registry.example:5000/<b>shop:1 {digest}")
    await expect(images.get_by_role("button", name="Copy")).to_be_visible()


async def test_a_waiting_step_says_what_it_waits_for(site: Site) -> None:
    await site.open("/builds/b-1#step=image")
    await expect(site.page.locator("#step")).to_contain_text("All agents that fit are busy.")
    await expect(log(site.page)).to_have_count(0)
    await site.api.update_step(
        site.running, "image", status="RUNNING", attempt=1, startedAt=moment(0)
    )
    await site.api.append_log("s-image", 1, b"building\n")
    await expect(log(site.page)).to_contain_text("building")


async def test_the_page_follows_the_build_from_step_to_step_to_its_end(site: Site) -> None:
    await site.open("/builds/b-1")
    await expect(site.page.locator("#step h2")).to_have_text("test")
    await site.api.append_log("s-image", 1, b"layers\n")
    await site.api.update_step(
        site.running, "image", status="RUNNING", attempt=1, startedAt=moment(0)
    )
    await expect(site.page.locator("#step h2")).to_have_text("test")
    await site.api.update_step(site.running, "test", status="SUCCESS", finishedAt=moment(0))
    await expect(site.page.locator("#step h2")).to_have_text("image")
    await site.api.update_step(
        site.running, "image", status="FAILED", reason="exit code 3", finishedAt=moment(0)
    )
    await site.api.update_build(site.running, state="failed", finishedAt=moment(0))
    await expect(site.page.locator("#step")).to_contain_text("exit code 3")
    await expect(site.page.locator("#announcement")).to_contain_text("Build failed.")
    await expect(site.page).to_have_title("#12 failed · hello · pushrod")


async def test_a_new_attempt_is_followed_and_an_earlier_one_can_be_read(site: Site) -> None:
    await site.open("/builds/b-1")
    await expect(log(site.page)).to_contain_text("100% downloaded")
    await site.api.append_log("s-test", 3, b"third try\n")
    await site.api.update_step(site.running, "test", attempt=3)
    await expect(log(site.page)).to_contain_text("third try")
    await expect(log(site.page)).not_to_contain_text("100% downloaded")
    await site.page.get_by_role("navigation", name="Attempts").get_by_role("link", name="1").click()
    await expect(log(site.page)).to_contain_text("lost its agent")


async def test_cancel_ends_the_build_and_gives_way_to_retry(site: Site) -> None:
    await site.open("/builds/b-1")
    await site.page.get_by_role("button", name="Cancel").click()
    await expect(site.page.locator(".build-state")).to_contain_text("cancelled")
    await expect(site.page.get_by_role("button", name="Cancel")).to_be_hidden()
    await site.page.get_by_role("button", name="Retry").click()
    await expect(site.page.get_by_role("heading", level=1)).to_contain_text("#13")


async def test_a_refused_cancel_says_why(site: Site) -> None:
    await site.open("/builds/b-1")
    await expect(site.page.get_by_role("button", name="Cancel")).to_be_visible()
    site.running["state"] = "succeeded"  # the page has not heard yet
    await site.page.get_by_role("button", name="Cancel").click()
    await expect(site.page.get_by_role("alert")).to_contain_text("the build has finished")


async def test_each_mistake_of_a_workflow_has_its_place(site: Site) -> None:
    await site.open(f"/builds/{problem_build()['id']}")
    problems = site.page.locator("#problems")
    await expect(problems).to_contain_text("2 mistakes")
    await expect(problems).to_contain_text(".pushrod/ci.yml:4:3")
    await expect(problems).to_contain_text("did you mean `build`?")


async def test_a_build_that_does_not_exist_is_said_to_be_missing(site: Site) -> None:
    await site.open("/builds/b-none")
    await expect(site.page.get_by_role("alert")).to_contain_text("not yours to see")
    await expect(site.page.get_by_role("heading", level=1)).to_have_text("Not found")
    await expect(site.page.locator("#crumbs")).to_contain_text("Projects")
    await expect(site.page).to_have_title("Not found · pushrod")


async def test_a_coordinator_that_is_away_is_said_to_be_and_found_again(site: Site) -> None:
    await site.open("/builds/b-1")
    await expect(log(site.page)).to_contain_text("100% downloaded")
    site.api.away = True
    await site.api.update_build(site.running)
    await site.api.append_log("s-test", 2, b"before\n")
    await expect(site.page.locator("#connection")).to_contain_text("Trying again")
    await site.api.append_log("s-test", 2, b"while away\n")
    site.api.away = False
    await expect(log(site.page)).to_contain_text("while away")
    await expect(site.page.locator("#connection")).to_be_empty()


async def test_a_hidden_tab_asks_for_nothing_until_it_is_seen_again(site: Site) -> None:
    await site.open("/builds/b-1")
    await expect(log(site.page)).to_contain_text("100% downloaded")
    await set_hidden(site.page, True)
    before = len(site.api.requests)
    await site.api.append_log("s-test", 2, b"while hidden\n")
    await site.api.update_build(site.running)
    await site.page.wait_for_timeout(600)
    assert site.api.requests[before:] == []
    await set_hidden(site.page, False)
    await expect(log(site.page)).to_contain_text("while hidden")


async def set_hidden(page: Page, hidden: bool) -> None:
    await page.evaluate(
        """(hidden) => {
          Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


async def test_an_idle_page_holds_its_requests_instead_of_repeating_them(site: Site) -> None:
    await site.open("/builds/b-1")
    await expect(log(site.page)).to_contain_text("100% downloaded")
    await site.page.wait_for_timeout(300)
    before = len(site.api.requests)
    await site.page.wait_for_timeout(2_000)
    assert site.api.requests[before:] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_no_page_is_wider_than_a_telephone(site: Site, scheme: Any) -> None:
    site.api.projects[0] = project(
        "p-1", "a-project-with-a-name-that-is-longer-than-any-telephone-is-wide"
    )
    site.api.builds.append(build("b-w", 99, "queued", steps=[step("s", "x" * 90, "READY")]))
    await site.page.set_viewport_size({"width": 360, "height": 740})
    await site.page.emulate_media(color_scheme=scheme)
    for path in (
        "/",
        "/projects/p-1",
        "/projects/p-3",
        "/builds/b-1",
        "/builds/b-bad",
        "/login?error",
    ):
        await site.open(path)
        await expect(site.page.locator("[aria-busy]")).to_have_count(0)
        overflow = await site.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert overflow <= 0, path
