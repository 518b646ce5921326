"""The Dockerfile of a program, as text.

Layers are in the order in which their inputs change: base, dependencies, then the sources. What
comes from the request stands only where no shell reads it: in JSON arrays.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from urllib.parse import urlsplit

PORT = 8080
USER_ID = 10001
"""Of the user `agent`; beyond those that distributions give out."""
_NAME_USER = (
    f"RUN echo 'agent:x:{USER_ID}:{USER_ID}::/home/agent:/sbin/nologin' >>/etc/passwd"
    f" && echo 'agent:x:{USER_ID}:' >>/etc/group"
    " && mkdir -p /home/agent /app"
    f" && chown {USER_ID}:{USER_ID} /home/agent /app"
)
_HOME = "HOME=/home/agent"
_OWNER = f"--chown={USER_ID}:{USER_ID}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bases:
    """The images that programs are built upon."""

    python: str
    node: str
    go: str
    go_run: str
    """Holds the finished Go program; needs no shell."""
    shell: str
    """Has bash."""
    static: str
    """Has busybox with httpd."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirrors:
    """Where builds get packages from, if not from the languages' own places."""

    pip_index_url: str | None = None
    npm_registry: str | None = None
    go_proxy: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonParts:
    base: str
    requirement_files: Sequence[str]
    """Copied before the install; the first is what pip is given. Empty: nothing to install."""
    needs_sources: bool
    """The requirements name the program's own folders."""
    command: Sequence[str]
    module_folders: Sequence[str]
    """Where modules are looked for after the started file's folder: of /app, plain names."""
    pip_index_url: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeParts:
    base: str
    manifests: Sequence[str] = field(default=())
    """package.json and its lock; empty where the program has none."""
    locked: bool = False
    builds: bool = False
    """package.json has a `build` script, which wants the development's dependencies."""
    command: Sequence[str]
    npm_registry: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GoParts:
    base: str
    run_base: str
    package: str
    locked: bool
    """go.mod with go.sum: the modules can be fetched before the sources are copied."""
    tidy: bool
    """Modules are required that nothing locks."""
    go_proxy: str | None


_FETCH = "RUN --mount=type=secret,id=PUSHROD_CA_FILE "
"""With the file of the agent's setting `ca_file`, if it has one: then the agent gives the arguments
that name it, too."""


def python_dockerfile(parts: PythonParts) -> str:
    install = list(parts.requirement_files[:1])
    copy = ["COPY " + _array([*parts.requirement_files, "./"])]
    if parts.requirement_files == ["requirements.txt"]:
        copy = ["COPY requirements.txt ."]
    sources = f"COPY {_OWNER} . ."
    run = _FETCH + _array(["pip", "install", "--no-cache-dir", "-r", *install])
    if install == ["requirements.txt"]:
        run = _FETCH + "pip install --no-cache-dir -r requirements.txt"
    installing = [] if not install else [[sources, run] if parts.needs_sources else [*copy, run]]
    return _lines(
        [f"FROM {parts.base}"],
        [_NAME_USER],
        ["WORKDIR /app"],
        _pip_arguments(parts.pip_index_url) if install else [],
        *installing,
        [] if install and parts.needs_sources else [sources],
        *_ending(parts.command, "PYTHONUNBUFFERED=1", *_python_path(parts), _HOME),
    )


def _python_path(parts: PythonParts) -> list[str]:
    folders = [str(PurePosixPath("/app", folder)) for folder in parts.module_folders]
    return [f"PYTHONPATH={':'.join(folders)}"] if folders else []


def node_dockerfile(parts: NodeParts) -> str:
    sources = f"COPY {_OWNER} . ."
    install = _FETCH + "npm " + ("ci" if parts.locked else "install") + " --no-audit --no-fund"
    if not parts.builds:
        install += " --omit=dev"
    installing = [f"COPY {' '.join(parts.manifests)} ./", install] if parts.manifests else []
    building = ["RUN npm run build", "RUN npm prune --omit=dev"] if parts.builds else []
    return _lines(
        [f"FROM {parts.base}"],
        [_NAME_USER],
        ["WORKDIR /app"],
        [
            *_arguments(NPM_CONFIG_REGISTRY=parts.npm_registry),
            "ARG NODE_EXTRA_CA_CERTS",
        ]
        if parts.manifests
        else [],
        installing,
        [sources],
        building,
        *_ending(parts.command, "NODE_ENV=production", _HOME),
    )


def go_dockerfile(parts: GoParts) -> str:
    fetch = ["COPY go.mod go.sum ./", _FETCH + "go mod download"] if parts.locked else []
    return _lines(
        [f"FROM {parts.base} AS build"],
        ["ENV CGO_ENABLED=0"],
        ["WORKDIR /src"],
        [*_arguments(GOPROXY=parts.go_proxy), "ARG SSL_CERT_FILE"],
        fetch,
        ["COPY . ."],
        [_FETCH + "go mod tidy"] if parts.tidy else [],
        [_FETCH + _array(["go", "build", "-trimpath", "-o", "/out/agent", parts.package])],
        [f"FROM {parts.run_base}"],
        ["WORKDIR /app"],
        [f"COPY {_OWNER} . .", "COPY --from=build /out/agent /usr/local/bin/agent"],
        *_ending(["/usr/local/bin/agent"], "HOME=/tmp"),
    )


def shell_dockerfile(base: str, command: Sequence[str]) -> str:
    return _lines(
        [f"FROM {base}"],
        [_NAME_USER],
        ["WORKDIR /app"],
        [f"COPY {_OWNER} . ."],
        *_ending(command, _HOME),
    )


def static_dockerfile(base: str, folder: str) -> str:
    """Serves that folder of the sources."""
    served = str(PurePosixPath("/app", folder))
    return _lines(
        [f"FROM {base}"],
        ["WORKDIR /app"],
        [f"COPY {_OWNER} . ."],
        *_ending(["busybox", "httpd", "-f", "-v", "-p", str(PORT), "-h", served]),
    )


def _ending(command: Sequence[str], *variables: str) -> list[list[str]]:
    return [
        ["ENV " + " ".join([*variables, f"PORT={PORT}"])],
        [f"USER {USER_ID}:{USER_ID}"],
        [f"EXPOSE {PORT}"],
        [f"CMD {_array(command)}"],
    ]


def _pip_arguments(index: str | None) -> list[str]:
    """pip asks an index without TLS only where it is told to trust the host."""
    host = urlsplit(index).hostname if index is not None and index.startswith("http:") else None
    return [*_arguments(PIP_INDEX_URL=index, PIP_TRUSTED_HOST=host), "ARG PIP_CERT"]


def _arguments(**values: str | None) -> list[str]:
    """Build arguments with their values: variables of RUN that the image does not keep."""
    return [f"ARG {name}={value}" for name, value in values.items() if value is not None]


def _array(words: Sequence[str]) -> str:
    return json.dumps(list(words), ensure_ascii=False)


def _lines(*paragraphs: Sequence[str]) -> str:
    return "\n\n".join("\n".join(lines) for lines in paragraphs if lines) + "\n"
