"""What can be built of a folder that declares no targets, by the files that stand in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipelines_schema import DEFAULT_TARGET, ImageBuild, Step
from pipelines_schema.modules import WHOLE_REPOSITORY

DOCKER_IMAGE, PYTHON_WHEEL, WEB_APP = "docker_image", "python_wheel", "web_app"
DOCKERFILE = "dockerfile"
PACKAGE_JSON = "package.json"
PYTHON_FILES = ("pyproject.toml", "setup.py")
SIGNS = (DOCKERFILE, *PYTHON_FILES, PACKAGE_JSON)
"""The files that tell, in lower case."""
LOCKS = ("package-lock.json", "npm-shrinkwrap.json")
CONVENTION = (
    "a Dockerfile is a `docker_image`, a pyproject.toml or setup.py a `python_wheel`, a "
    "package.json with a build script a `web_app`"
)
_IN_MODULE = 'set -eu\ncd "$PUSHROD_MODULE_PATH"\n'
_WHEEL = f"{_IN_MODULE}python3 -m pip wheel --no-deps --wheel-dir dist .\n"
_WEB_FOLDERS = ("dist", "build", "out")
_WEB_APP = f"""{_IN_MODULE}if [ -e {LOCKS[0]} ] || [ -e {LOCKS[1]} ]; then
  npm ci --no-audit --no-fund
else
  npm install --no-audit --no-fund
fi
npm run build
for folder in {" ".join(_WEB_FOLDERS)}; do
  [ ! -d "$folder" ] || exit 0
done
echo "\\`npm run build\\` made none of the folders {", ".join(_WEB_FOLDERS)}" >&2
exit 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleFolder:
    """A module's folder, as far as the convention looks."""

    path: str
    dockerfile: str | None
    """The file's name, in whatever case it is written."""
    is_python: bool
    has_build_script: bool
    """Its package.json has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What conventional targets are built with; the environments name package mirrors."""

    python_image: str
    node_image: str
    python_env: Mapping[str, str] = field(default_factory=dict)
    node_env: Mapping[str, str] = field(default_factory=dict)
    image_tag: str
    """Whole reference that an image is pushed to."""
    image_args: Mapping[str, str] = field(default_factory=dict)
    """The Dockerfile's build arguments."""


def conventional_steps(folder: ModuleFolder, tools: Tools) -> Mapping[str, Step]:
    """By target; `default` is the first of them. Empty where no convention fits."""
    steps: dict[str, Step] = {}
    if folder.dockerfile is not None:
        steps[DOCKER_IMAGE] = _image(folder.path, folder.dockerfile, tools)
    if folder.is_python:
        steps[PYTHON_WHEEL] = Step(
            name=PYTHON_WHEEL,
            image=tools.python_image,
            script=_WHEEL,
            env=tools.python_env,
            output_paths=(_within(folder.path, "dist/*.whl"),),
        )
    if folder.has_build_script:
        steps[WEB_APP] = Step(
            name=WEB_APP,
            image=tools.node_image,
            script=_WEB_APP,
            env=tools.node_env,
            output_paths=tuple(_within(folder.path, f"{name}/") for name in _WEB_FOLDERS),
        )
    first = next(iter(steps), None)
    return {} if first is None else {DEFAULT_TARGET: steps[first], **steps}


def _image(path: str, dockerfile: str, tools: Tools) -> Step:
    build = ImageBuild(
        context=path,
        dockerfile=dockerfile,
        args=tools.image_args,
        tags=(tools.image_tag,),
        push=True,
    )
    return Step(name=DOCKER_IMAGE, image=None, script="", build=build)


def _within(folder: str, path: str) -> str:
    return path if folder == WHOLE_REPOSITORY else f"{folder}/{path}"
