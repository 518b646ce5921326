"""Images that another system builds, as the `build` of a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipelines_schema.image_references import is_registry
from pushrod.importing.draft import Value


def whole_reference(reference: str) -> str:
    """With its registry, Docker Hub's where none is named, and with a tag."""
    first, slash, _ = reference.partition("/")
    if reference.startswith("${{"):
        return reference
    if not slash:
        reference = f"docker.io/library/{reference}"
    elif not is_registry(first):
        reference = f"docker.io/{reference}"
    last = reference.rsplit("/", 1)[-1]
    return reference if ":" in last or "@" in last else f"{reference}:latest"


def image_build(
    *,
    context: str | None = None,
    dockerfile: str | None = None,
    target: str | None = None,
    args: Mapping[str, str] | None = None,
    tags: Sequence[str] = (),
) -> dict[str, Value]:
    """The Dockerfile is named from the workspace, as docker does, and written from the context."""
    build: dict[str, Value] = {}
    folder = (context or "").removeprefix("./").rstrip("/")
    if folder not in ("", "."):
        build["context"] = folder
    file = (dockerfile or "").removeprefix("./")
    if folder not in ("", ".") and file.startswith(f"{folder}/"):
        file = file.removeprefix(f"{folder}/")
    if file and file != "Dockerfile":
        build["dockerfile"] = file
    if target:
        build["target"] = target
    if args:
        build["args"] = dict(args)
    if tags:
        build["tags"] = list(dict.fromkeys(tags))
    return build
