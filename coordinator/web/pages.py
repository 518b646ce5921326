"""The routes of the web page: six shells, the login form, errors and the static files."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web

from coordinator.web.login import next_path
from coordinator.web.static_files import load_static_files

if TYPE_CHECKING:
    from jinja2 import Environment

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
_PAGE_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_STATIC_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "public, max-age=31536000, immutable",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Sees = Callable[[web.Request], Awaitable[bool]]
ErrorPage = Callable[[int, str], web.Response]

MISSING = "There is nothing at this address, or it is not yours to see."


async def _everybody(_: web.Request) -> bool:
    return True


class _Templates:
    """Jinja loads with the first page that is asked for: many coordinators serve programs alone."""

    def __init__(self, static: str) -> None:
        self._static = static
        self._shells: dict[str, str] = {}

    @cached_property
    def _environment(self) -> Environment:
        from jinja2 import Environment, PackageLoader, StrictUndefined

        environment = Environment(
            loader=PackageLoader("coordinator.web"), autoescape=True, undefined=StrictUndefined
        )
        environment.globals["static"] = self._static
        return environment

    def render(self, name: str, **values: object) -> str:
        return self._environment.get_template(name).render(**values)

    def shell(self, name: str) -> str:
        if name not in self._shells:
            self._shells[name] = self.render(name)
        return self._shells[name]


def add_routes(app: web.Application, sees: Sees = _everybody) -> ErrorPage:
    """Serve `/`, `/projects/{id}`, its deliveries, `/builds/{id}`, `/api/docs`, `GET /login` and
    `/static/…`; what is returned makes a page of an error's status and message.

    The pages hold no data; who may see what is the API's to decide. Where `sees` denies that what
    the path names is there for the visitor, the answer is a page with status 404.
    """
    static = load_static_files()
    templates = _Templates(f"/static/{static.version}")

    def error_page(status: int, message: str) -> web.Response:
        missing = status == HTTPStatus.NOT_FOUND
        title = "Not found" if missing else HTTPStatus(status).phrase
        shown = MISSING if missing else message
        return _page(templates.render("error.html", title=title, message=shown), status)

    def shell(template: str, sees: Sees = _everybody) -> Handler:
        async def page(request: web.Request) -> web.Response:
            if not await sees(request):
                return error_page(HTTPStatus.NOT_FOUND, MISSING)
            return _page(templates.shell(template))

        return page

    async def login(request: web.Request) -> web.Response:
        return _page(
            templates.render(
                "login.html",
                next_path=next_path(request.query.get("next")),
                wrong=request.query.get("error"),
            )
        )

    async def static_file(request: web.Request) -> web.Response:
        file = static.by_name.get(request.match_info["name"])
        if file is None or request.match_info["version"] != static.version:
            raise web.HTTPNotFound
        return web.Response(
            body=file.body, content_type=file.content_type, charset="utf-8", headers=_STATIC_HEADERS
        )

    app.router.add_get("/", shell("home.html"))
    app.router.add_get("/projects/{project_id}", shell("project.html", sees))
    app.router.add_get("/projects/{project_id}/deliveries", shell("deliveries.html", sees))
    app.router.add_get("/builds/{build_id}", shell("build.html", sees))
    app.router.add_get("/api/docs", shell("reference.html"))
    app.router.add_get("/login", login)
    app.router.add_get("/static/{version}/{name}", static_file)
    return error_page


def _page(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/html", headers=_PAGE_HEADERS)
