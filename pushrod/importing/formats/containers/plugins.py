"""Plugins that build images."""

from __future__ import annotations

import re
from collections.abc import Callable

from pipelines_schema.nodes import MapNode
from pushrod.importing.docker import image_build, whole_reference
from pushrod.importing.draft import Value
from pushrod.importing.ledger import Keys

Outside = Callable[[Keys, str, str], str | None]
_BUILDERS = re.compile(
    r"(?:\S+/)?(?:plugins/(?:docker|kaniko|ecr|gcr|acr)|drone-plugins/drone-docker|"
    r"(?:woodpeckerci|codeberg.org/woodpecker-plugins)/(?:plugin-docker-buildx|docker-buildx|"
    r"kaniko)|thegeeklab/drone-docker-buildx|woodpecker-plugins/docker-buildx)(?::\S*)?"
)
_NO_MATTER = frozenset(
    {
        *(
            "daemon_off",
            "debug",
            "mtu",
            "purge",
            "storage_driver",
            "insecure",
            "mirror",
            "compress",
        ),
        *("config", "buildkit_config", "force_tag", "pull_image", "squash", "quiet"),
    }
)


def image_of(image: str, settings: Keys, outside: Outside) -> dict[str, Value] | None:
    """The `build` of a step; None where the plugin does something else."""
    if not _BUILDERS.fullmatch(image):
        return None
    registry = settings.text("registry")
    repositories = settings.texts("repo")
    tags = _tags(settings)
    references: list[str] = []
    for repository in repositories:
        name = repository
        if registry and not name.startswith(registry.removeprefix("https://").rstrip("/")):
            name = f"{registry.removeprefix('https://').rstrip('/')}/{repository}"
        for tag in tags:
            filled = outside(settings, "tags", f"{name}:{tag}")
            if filled:
                references.append(whole_reference(filled))
    build = image_build(
        context=settings.text("context"),
        dockerfile=settings.text("dockerfile"),
        target=settings.text("target"),
        args=_args(settings),
        tags=references,
    )
    if settings.boolean("dry_run"):
        build["push"] = False
    if platforms := [one for text in settings.texts("platforms") for one in text.split(",")]:
        build["platforms"] = list(platforms)
    for name in ("cache_from", "cache_images"):
        settings.changed(name, "the engine keeps layers by itself; `cacheFrom` names one reference")
    for name in ("username", "password", "email", "logins", "access_key", "secret_key", "json_key"):
        settings.changed(name, "log the project in once, by `pushrod registry`")
    for name in _NO_MATTER & set(settings.names):
        settings.changed(name, "it means nothing to this engine")
    return build


def _tags(settings: Keys) -> list[str]:
    if settings.boolean("auto_tag"):
        settings.changed("auto_tag", "the pushed tag is the image's, and `latest` is not moved")
        return ["${DRONE_TAG}" if "DRONE" in _any_text(settings) else "${CI_COMMIT_TAG}"]
    settings.left("auto_tag_suffix", "add it to `build.tags`")
    settings.changed("tags_file", "the tags are to be written into `build.tags`")
    found = [one for text in settings.texts("tags") for one in text.split(",")]
    return found or settings.texts("tag") or ["latest"]


def _any_text(settings: Keys) -> str:
    return settings.ledger.file.upper()


def _args(settings: Keys) -> dict[str, str]:
    if isinstance(settings.peek("build_args"), MapNode):
        return settings.variables("build_args")
    pairs = (text.partition("=") for text in settings.texts("build_args"))
    return {name: value for name, _, value in pairs if "$" not in value}
