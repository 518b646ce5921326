"""What a Node program's package.json says of how it is started."""

from __future__ import annotations

import json
from collections.abc import Mapping

from coordinator.domain.image_builds.refusal import RefusedSources


def package_json(files: Mapping[str, str]) -> Mapping[str, object]:
    """The manifest of a Node program; empty where there is none. Raises RefusedSources."""
    text = files.get("package.json")
    if text is None:
        return {}
    try:
        manifest = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RefusedSources.of(
            "files.package.json", f"package.json is not JSON: {error}"
        ) from error
    if not isinstance(manifest, dict):
        raise RefusedSources.of("files.package.json", "package.json must hold a JSON object")
    return manifest


def scripts_of(files: Mapping[str, str]) -> Mapping[str, object]:
    scripts = package_json(files).get("scripts")
    return scripts if isinstance(scripts, dict) else {}


def has_start_script(files: Mapping[str, str]) -> bool:
    return isinstance(scripts_of(files).get("start"), str)
