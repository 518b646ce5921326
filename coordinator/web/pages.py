"""The routes of the web page: six shells, the login form and the static files."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined

from coordinator.web.login import next_path
from coordinator.web.static_files import load_static_files

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


def add_routes(app: web.Application) -> None:
    """Serve `/`, `/projects/{id}`, its deliveries, `/builds/{id}`, `/api/docs`, `GET /login` and
    `/static/…`.

    The pages hold no data and are served to anyone; who may see what is the API's to decide.
    """
    static = load_static_files()
    templates = Environment(
        loader=PackageLoader("coordinator.web"), autoescape=True, undefined=StrictUndefined
    )
    templates.globals["static"] = f"/static/{static.version}"

    def shell(template: str) -> Handler:
        text = templates.get_template(template).render()

        async def page(request: web.Request) -> web.Response:
            return _page(text)

        return page

    login_form = templates.get_template("login.html")

    async def login(request: web.Request) -> web.Response:
        return _page(
            login_form.render(
                next_path=next_path(request.query.get("next")), wrong="error" in request.query
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
    app.router.add_get("/projects/{id}", shell("project.html"))
    app.router.add_get("/projects/{id}/deliveries", shell("deliveries.html"))
    app.router.add_get("/builds/{id}", shell("build.html"))
    app.router.add_get("/api/docs", shell("reference.html"))
    app.router.add_get("/login", login)
    app.router.add_get("/static/{version}/{name}", static_file)


def _page(text: str) -> web.Response:
    return web.Response(text=text, content_type="text/html", headers=_PAGE_HEADERS)
