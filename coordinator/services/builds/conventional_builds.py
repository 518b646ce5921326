"""Targets of modules that declare none: what the files in their folder tell."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from coordinator.domain.builds.conventional_targets import (
    DOCKERFILE,
    PACKAGE_JSON,
    PYTHON_FILES,
    SIGNS,
    ModuleFolder,
    Tools,
    conventional_steps,
)
from coordinator.domain.errors import Invalid
from coordinator.domain.image_builds.image_name import image_name
from coordinator.domain.reading import has_build_script
from coordinator.ports import NotRead
from coordinator.services.core import Core
from coordinator.storage.pushes.modules import DeclaredModule
from pipelines_schema import Step
from pipelines_schema.modules import WHOLE_REPOSITORY


async def conventional_targets(
    core: Core, declared: DeclaredModule, parameters: Mapping[str, str]
) -> Mapping[str, Step]:
    """The one step of each target at the default branch's tip, by the target's name.

    Raises Invalid where a file can't be read.
    """
    folder = await _folder(core, declared)
    return conventional_steps(folder, _tools(core, declared, parameters))


async def _folder(core: Core, declared: DeclaredModule) -> ModuleFolder:
    project, path = declared.project, declared.module.path
    sha = declared.file.commit_hash or ""
    names = await core.repositories.files_named(project.id, sha, path, SIGNS)
    dockerfiles = [name for name in names if name.lower() == DOCKERFILE]
    usual = [name for name in dockerfiles if name == DOCKERFILE.capitalize()]
    return ModuleFolder(
        path=path,
        dockerfile=next(iter([*usual, *dockerfiles]), None),
        is_python=any(name in PYTHON_FILES for name in names),
        has_build_script=PACKAGE_JSON in names and await _builds_pages(core, declared, sha),
    )


async def _builds_pages(core: Core, declared: DeclaredModule, sha: str) -> bool:
    folder = declared.module.path
    path = PACKAGE_JSON if folder == WHOLE_REPOSITORY else f"{folder}/{PACKAGE_JSON}"
    files = await core.repositories.files_at(declared.project.id, sha, [path])
    try:
        return await core.readings.run(
            declared.project.account_id, has_build_script, files.get(path, b"")
        )
    except NotRead as error:
        raise Invalid(f"{path} {error.reason}") from error


def _tools(core: Core, declared: DeclaredModule, parameters: Mapping[str, str]) -> Tools:
    bases, mirrors = core.settings.image_bases, core.settings.package_mirrors
    index, registry = mirrors.pip_index_url, mirrors.npm_registry
    python_env = {} if index is None else {"PIP_INDEX_URL": index}
    if index is not None and index.startswith("http:"):
        python_env["PIP_TRUSTED_HOST"] = urlsplit(index).hostname or ""
    return Tools(
        python_image=bases.python,
        node_image=bases.node,
        python_env=python_env,
        node_env={} if registry is None else {"NPM_CONFIG_REGISTRY": registry},
        image_tag=_image_tag(core, declared),
        image_args=parameters,
    )


def _image_tag(core: Core, declared: DeclaredModule) -> str:
    """Below the account's own folder, by the commit."""
    project, module = declared.project, declared.module
    whole = module.path == WHOLE_REPOSITORY and module.name == project.slug
    name = image_name(
        project.slug if whole else f"{project.slug}-{module.name}", field="module_name"
    )
    registry = core.settings.image_registry
    return f"{registry}/{project.account_slug}/{name}:{declared.file.commit_hash}"
