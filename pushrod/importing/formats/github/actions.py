"""What well-known actions are here: images, caches, outputs, and lines of the script."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from pushrod.importing.draft import Value
from pushrod.importing.formats.github.images import build_image, image_names
from pushrod.importing.formats.github.job import Job
from pushrod.importing.images import CACHES, toolchain
from pushrod.importing.keeps import kept_for
from pushrod.importing.ledger import Keys, Verdict
from pushrod.importing.waiting import verdict_of, why_waiting

Handler = Callable[[Job, Keys, str], str]
"""Takes what stands in `with`, and the action's version; the lines of the script for it."""

_ANOTHER = (
    "the step's image has another toolchain already: build an image with both (docs/images.md), "
    "or install it in the script"
)
_OWN_CHECKOUT = "a step has its own commit's files: fetch others in the script"
_HASHED = re.compile(r"hashFiles\(([^)]*)\)")
_RESULTS = ("path", "report_paths", "files")
_VERSION = re.compile(
    r"[v^~>= ]*[0-9]+(?:\.[0-9x*]+)*(?:-[a-z0-9.]+)?|stable|latest|lts/\*|nightly|\$\{\{.*"
)
_QUOTED = re.compile(r"'([^']+)'")


def _lines(text: str | None) -> list[str]:
    return [line.strip() for line in (text or "").splitlines() if line.strip()]


def _checkout(job: Job, keys: Keys, version: str) -> str:
    depth = keys.text("fetch-depth")
    tags = keys.boolean("fetch-tags")
    if depth == "0":
        job.step.git = "full"
    elif depth is not None and depth.isdigit() and depth != "1":
        job.step.git = {"depth": int(depth), **({"tags": True} if tags else {})}
    elif tags:
        job.step.git = "full"
    for name in ("persist-credentials", "submodules", "lfs", "clean", "show-progress"):
        keys.take(name)
    for name in ("repository", "ref", "path"):
        keys.left(name, _OWN_CHECKOUT)
    for name in ("token", "ssh-key"):
        keys.left(name, "pushrod reads submodules by the project's own credentials")
    return ""


def _setup(name: str, *version_keys: str) -> Handler:
    def handler(job: Job, keys: Keys, version: str) -> str:
        chosen = next((key for key in version_keys if key in keys), None)
        text = (_lines(keys.text(chosen)) or [""])[0] if chosen else ""
        wanted = job.outside(text) if text else ""
        if chosen and (odd := _no_tags(job, text)):
            keys.changed(chosen, f"`{odd[0]}` is no tag of that image: name another in `image`")
        for key in keys.names:
            if key.endswith(("-file", "version-file")):
                keys.changed(key, "the image has the newest version: name yours in `image`")
        for key in ("distribution", "check-latest", "java-package", "cache-dependency-path"):
            keys.take(key)
        _toolchain_caches(job, keys, name)
        return _use(job, keys, name, wanted)

    return handler


def _no_tags(job: Job, text: str) -> list[str]:
    """Versions that are named as images are not."""
    found = re.fullmatch(r"\$\{\{\s*matrix\.(\w+)\s*\}\}", text)
    named = job.step.matrix.get(found[1]) if found else [text]
    axis = list(named) if isinstance(named, list) else []
    further = job.step.matrix.get("include")
    for entry in further if found and isinstance(further, list) else ():
        axis += [entry.get(found[1])] if found and isinstance(entry, dict) else []
    values = [one for one in axis if isinstance(one, str)]
    return [one for one in values if one and not _VERSION.fullmatch(one)]


def _toolchain_caches(job: Job, keys: Keys, name: str) -> None:
    wanted = keys.text("cache") or keys.text("bundler-cache")
    if wanted in ("true", "false"):
        wanted = {"go": "go", "ruby": "bundler"}.get(name, "") if wanted == "true" else ""
    elif wanted is None and name == "go":
        wanted = "go"  # it caches unless told not to
    job.cache(CACHES.get(wanted or "", []))


def _use(job: Job, keys: Keys, name: str, wanted: str) -> str:
    image = toolchain(name, wanted)
    if job.toolchain is None:
        job.toolchain = name
        if not job.has_container:
            job.step.image = image
        return ""
    if job.toolchain == name:
        if wanted and not job.has_container:
            job.step.image = image
        return ""
    return job.missing(f"setup of {name}", _ANOTHER)


def _rust(job: Job, keys: Keys, version: str) -> str:
    wanted = keys.text("toolchain") or ("" if version in ("master", "v1") else version)
    lines = [f"rustup component add {one}" for one in _words(keys.text("components"))]
    lines += [f"rustup target add {one}" for one in _words(keys.text("targets"))]
    for name in ("profile", "override", "default"):
        keys.take(name)
    channel = wanted if wanted in ("nightly", "beta") else None
    lines += [f"rustup default {channel}"] if channel else []
    used = _use(job, keys, "rust", job.outside(wanted) if wanted else "")
    return used + "".join(f"{line}\n" for line in lines)


def _words(text: str | None) -> list[str]:
    return [one for one in re.split(r"[,\s]+", text or "") if re.fullmatch(r"[\w.-]+", one)]


def _uv(job: Job, keys: Keys, version: str) -> str:
    wanted = keys.text("python-version")
    for name in ("version", "enable-cache", "cache-dependency-glob"):
        keys.take(name)
    job.cache(CACHES["uv"])
    return _use(job, keys, "python", job.outside(wanted) if wanted else "") + "pip install uv\n"


def _pnpm(job: Job, keys: Keys, version: str) -> str:
    wanted = keys.text("version")
    job.cache(CACHES["pnpm"])
    at = f"@{wanted}" if wanted and re.fullmatch(r"[\w.-]+", wanted) else ""
    return (
        f"npm install -g pnpm{at}\n" if job.toolchain == "node" else f"corepack enable pnpm{at}\n"
    )


def _poetry(job: Job, keys: Keys, version: str) -> str:
    job.cache(CACHES["poetry"])
    return "pip install poetry\n"


def _pre_commit(job: Job, keys: Keys, version: str) -> str:
    extra = keys.text("extra_args") or "--all-files"
    job.cache(["~/.cache/pre-commit"])
    _use(job, keys, "python", "")
    return f"pip install pre-commit\npre-commit run {job.in_script(extra)}\n"


def _cache(job: Job, keys: Keys, version: str) -> str:
    files = [
        file for call in _HASHED.findall(keys.text("key") or "") for file in _QUOTED.findall(call)
    ]
    for name in ("restore-keys", "enableCrossOsArchive", "fail-on-cache-miss", "lookup-only"):
        keys.take(name)
    for path in _lines(keys.text("path")):
        if path.startswith("!") or "*" in path:
            keys.changed("path", "a cache is a folder: patterns are left out of it")
            continue
        entry: Value = {"path": path, "key": list(files)} if files else path
        job.cache([entry])
    return ""


def _upload(job: Job, keys: Keys, version: str) -> str:
    for name in ("name", "compression-level", "overwrite", "include-hidden-files"):
        keys.take(name)
    if keys.text("if-no-files-found") == "error":
        keys.left("if-no-files-found", "a step leaves what is there: test it in the script")
    days = keys.text("retention-days")
    keep = None if days is None else kept_for(f"{days}d")
    if days is not None and keep is None and days != "0":
        keys.left("retention-days", "write `keep` beside the path, a duration such as `30d`")
    for path in _lines(keys.text("path")):
        job.output(job.outside(path), keep)
    return ""


def _download(job: Job, keys: Keys, version: str) -> str:
    why = "the outputs of all steps that this one depends on lie where those steps left them"
    for name in ("name", "path", "pattern", "merge-multiple"):
        keys.changed(name, why)
    return ""


def _login(job: Job, keys: Keys, version: str) -> str:
    for name in ("registry", "username", "password", "logout"):
        keys.changed(name, "log the project in once, by `pushrod registry`")
    return ""


def _nothing(job: Job, keys: Keys, version: str) -> str:
    for name in keys.names:
        keys.take(name)
    return ""


def _coverage(job: Job, keys: Keys, version: str) -> str:
    for name in keys.names:
        keys.left(
            name, "upload coverage by the service's own program, with a secret of the project"
        )
    return job.warned("the upload of coverage", "upload it by the program of the service")


def _junit(job: Job, keys: Keys, version: str) -> str:
    """What shows test results: they are reported by the step."""
    written = next((keys.text(one) for one in _RESULTS if one in keys), None)
    paths = [job.outside(one) for one in re.split(r"[,\n]", written or "") if one.strip()]
    paths = [one.strip() for one in paths]
    job.step.reports["junit"] = paths[0] if len(paths) == 1 else list(paths)
    for path in paths:
        job.output(path)
    if verdict_of("reports") is Verdict.LEFT:
        job.note("uses", Verdict.LEFT, why_waiting("reports"))
    for name in keys.names:
        if name not in _RESULTS:
            keys.changed(name, "the step reports the files, whatever becomes of it")
    return ""


def _script(*lines: str) -> Handler:
    def handler(job: Job, keys: Keys, version: str) -> str:
        return "".join(f"{line}\n" for line in lines)

    return handler


ACTIONS: Mapping[str, Handler] = {
    "actions/checkout": _checkout,
    "actions/setup-python": _setup("python", "python-version"),
    "actions/setup-node": _setup("node", "node-version"),
    "actions/setup-go": _setup("go", "go-version"),
    "actions/setup-java": _setup("java", "java-version"),
    "actions/setup-dotnet": _setup("dotnet", "dotnet-version"),
    "ruby/setup-ruby": _setup("ruby", "ruby-version"),
    "shivammathur/setup-php": _setup("php", "php-version"),
    "erlef/setup-beam": _setup("elixir", "elixir-version"),
    "denoland/setup-deno": _setup("deno", "deno-version"),
    "oven-sh/setup-bun": _setup("bun", "bun-version"),
    "gradle/actions/setup-gradle": _setup("gradle", "gradle-version"),
    "dtolnay/rust-toolchain": _rust,
    "actions-rs/toolchain": _rust,
    "actions-rust-lang/setup-rust-toolchain": _rust,
    "swatinem/rust-cache": lambda job, keys, _: (
        job.cache(CACHES["cargo"]) or _nothing(job, keys, _)
    ),
    "astral-sh/setup-uv": _uv,
    "pnpm/action-setup": _pnpm,
    "snok/install-poetry": _poetry,
    "pre-commit/action": _pre_commit,
    "actions/cache": _cache,
    "actions/cache/restore": _cache,
    "actions/cache/save": _cache,
    "actions/upload-artifact": _upload,
    "actions/download-artifact": _download,
    "codecov/codecov-action": _coverage,
    "coverallsapp/github-action": _coverage,
    "dorny/test-reporter": _junit,
    "mikepenz/action-junit-report": _junit,
    "enricomi/publish-unit-test-result-action": _junit,
    "docker/setup-buildx-action": _nothing,
    "docker/setup-qemu-action": _nothing,
    "docker/login-action": _login,
    "docker/metadata-action": image_names,
    "docker/build-push-action": build_image,
}
