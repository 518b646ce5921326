"""Docker's actions, which become a step that builds an image."""

from __future__ import annotations

import re

from pushrod.importing.docker import image_build, whole_reference
from pushrod.importing.draft import StepDraft
from pushrod.importing.formats.github.job import Job
from pushrod.importing.ledger import Keys

_OWN_TAGS = ("branch", "tag")
_AGAIN = "it becomes a tag of the branch and one of the pushed tag: adjust `build.tags`"


def image_names(job: Job, keys: Keys, version: str) -> str:
    """`docker/metadata-action`: names that a later build takes."""
    for line in (keys.text("images") or "").splitlines():
        name = line.strip().removeprefix("name=").split(",")[0]
        if name:
            job.image_names.append(job.outside(name))
    for name in ("tags", "flavor", "labels", "annotations"):
        keys.changed(name, _AGAIN)
    return ""


def build_image(job: Job, keys: Keys, version: str) -> str:
    """`docker/build-push-action`: a step of its own, behind what the script did before."""
    tags = _tags(job, keys)
    build = image_build(
        context=_context(job, keys),
        dockerfile=_optional(job, keys, "file"),
        target=_optional(job, keys, "target"),
        args=_pairs(job, keys, "build-args"),
        tags=tags,
    )
    push = keys.text("push")
    if push in (None, "false"):
        build["push"] = False
    elif push != "true":
        keys.changed("push", "the image is pushed by each build: add a `when` to this step")
    platforms = [one.strip() for one in re.split(r"[,\n]", keys.text("platforms") or "")]
    if any(platforms):
        build["platforms"] = [one for one in platforms if one]
    for name in ("provenance", "sbom"):
        if keys.text(name) == "true":
            build[name] = True
    for name in ("cache-from", "cache-to"):
        text = keys.text(name) or ""
        if found := re.search(r"ref=([^,\s]+)", text):
            build["cacheFrom" if name == "cache-from" else "cacheTo"] = whole_reference(found[1])
        elif text:
            keys.changed(name, "the engine keeps layers by itself")
    for name in ("load", "labels", "pull", "no-cache", "builder", "github-token"):
        if name in keys:
            keys.left(name, "a step that builds an image has no such key")
    job.add_build(StepDraft(name="image", place=keys.node.place, build=build))
    return ""


def _optional(job: Job, keys: Keys, name: str) -> str | None:
    text = keys.text(name)
    return job.outside(text) if text else None


def _context(job: Job, keys: Keys) -> str | None:
    context = _optional(job, keys, "context")
    return None if context in (None, ".", "./") else context


def _pairs(job: Job, keys: Keys, name: str) -> dict[str, str]:
    lines = (line.strip() for line in (keys.text(name) or "").splitlines())
    found = (line.partition("=") for line in lines if "=" in line)
    return {key: job.outside(value) for key, _, value in found}


def _tags(job: Job, keys: Keys) -> list[str]:
    written = keys.text("tags") or ""
    if re.search(r"steps\.[\w-]+\.outputs\.", written):
        keys.changed("tags", _AGAIN)
        return [
            whole_reference(f"{name}:${{{{ {word} }}}}")
            for name in job.image_names
            for word in _OWN_TAGS
        ]
    found: list[str] = []
    for one in re.split(r"[,\n]", written):
        if one.strip():
            found.append(whole_reference(job.outside(one.strip())))
    return found
