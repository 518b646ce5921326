from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from coordinator.web.login import next_path
from coordinator.web.pages import add_routes
from coordinator.web.static_files import StaticFile, load_static_files, version_of

Client = TestClient[web.Request, web.Application]


@pytest.fixture
async def client(aiohttp_client: Callable[[web.Application], Awaitable[Client]]) -> Client:
    app = web.Application()
    add_routes(app)
    return await aiohttp_client(app)


PAGES = [
    "/",
    "/projects/p-1",
    "/projects/p-1/deliveries",
    "/builds/b-1",
    "/login",
    "/login?error=1&next=/builds/b-1",
]


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_is_served_under_a_strict_policy(client: Client, path: str) -> None:
    response = await client.get(path)
    assert response.status == 200
    policy = response.headers["Content-Security-Policy"].split("; ")
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert not any("unsafe" in rule for rule in policy)
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "same-origin"
    assert response.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("path", PAGES)
async def test_no_page_has_a_script_or_a_style_in_it(client: Client, path: str) -> None:
    text = await (await client.get(path)).text()
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", text))
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", text)


@pytest.mark.parametrize("path", PAGES)
async def test_everything_a_page_refers_to_is_served_for_ever(client: Client, path: str) -> None:
    text = await (await client.get(path)).text()
    references = re.findall(r'(?:src|href)="(/static/[^"]+)"', text)
    assert len(references) >= 2
    for reference in references:
        response = await client.get(reference)
        assert response.status == 200, reference
        assert "immutable" in response.headers["Cache-Control"]
        assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "/static/0000000000000000/page.css",
        "/static/{version}/pages.py",
        "/static/{version}/..%2fpages.py",
    ],
)
async def test_another_version_or_another_file_is_not_found(client: Client, path: str) -> None:
    version = load_static_files().version
    assert (await client.get(path.format(version=version))).status == 404


def test_each_module_imports_only_what_is_served() -> None:
    files = load_static_files().by_name
    for name, file in files.items():
        for imported in re.findall(r'from "\./([^"]+)"', file.body.decode()):
            assert imported in files, f"{name} imports {imported}"


def test_the_version_changes_with_any_file() -> None:
    def one(body: bytes, name: str = "a.js") -> dict[str, StaticFile]:
        return {name: StaticFile(body=body, content_type="text/javascript")}

    versions = {version_of(one(b"x")), version_of(one(b"y")), version_of(one(b"x", "b.js"))}
    assert len(versions) == 3


async def test_the_login_form_carries_where_to_go_as_text(client: Client) -> None:
    text = await (await client.get('/login?next=/builds/b?"><script>alert(1)</script>')).text()
    assert "<script>alert" not in text
    assert 'action="/login"' in text


async def test_the_login_form_tells_of_a_wrong_token_only_after_one(client: Client) -> None:
    assert "not valid" not in await (await client.get("/login")).text()
    assert "not valid" in await (await client.get("/login?error=1")).text()


async def test_the_login_form_tells_what_was_wrong(client: Client) -> None:
    assert "password is wrong" in await (await client.get("/login?error=password")).text()
    assert "Too many logins" in await (await client.get("/login?error=tries")).text()


@pytest.mark.parametrize(
    "path", ["/", "/builds/b-1", "/projects/p?offset=25", "/builds/b#step=a&attempt=2"]
)
def test_a_login_leads_to_a_path_of_this_site(path: str) -> None:
    assert next_path(path) == path


@pytest.mark.parametrize(
    "path",
    [None, "", "builds", "//evil.example", "/\\evil.example", "https://evil.example", "/a\\b",
     "/\t/evil.example", "/\n/evil.example", "javascript:alert(1)", " /"],
)  # fmt: skip
def test_a_login_leads_nowhere_else(path: str | None) -> None:
    assert next_path(path) == "/"
