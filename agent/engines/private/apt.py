"""An apt configuration of our own over the machine's mirror, so that the system's stays as it is.

Only the distribution's own archive is read (other sources of the machine may be unreachable,
and nothing of theirs is wanted), with its own lists, cache and keyring.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from agent.engines.private.commands import CommandFailedError, run_command
from agent.engines.private.errors import PackagesUnavailableError, UnsupportedMachineError

QUERY_SECONDS = 60
DOWNLOAD_SECONDS = 900
COMPONENTS = {"debian": ("main",), "ubuntu": ("main", "universe")}
MIRROR_REMEDY = (
    "Check that the machine's package mirror answers (`apt-get update`), then repeat. "
    "Or install and start Docker 26 or newer: pushrod uses it when it finds it."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The machine's distribution: `id` debian or ubuntu, `codename` bookworm, `version` 12."""

    id: str
    codename: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AptSource:
    """One line of a sources list."""

    uri: str
    suite: str
    components: tuple[str, ...]

    def line(self, keyring: Path | None) -> str:
        options = f"[signed-by={keyring}] " if keyring else ""
        return f"deb {options}{self.uri} {self.suite} {' '.join(self.components)}"


def parse_release(os_release: str) -> Release:
    """Read the text of /etc/os-release.

    Raises: UnsupportedMachineError if it isn't Debian or Ubuntu.
    """
    fields = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    values = {key: value.strip().strip("\"'") for key, value in fields.items()}
    if values.get("ID") not in COMPONENTS or not values.get("VERSION_CODENAME"):
        raise UnsupportedMachineError(
            f"No private engine for {values.get('PRETTY_NAME', 'this system')}: "
            "it is put together from packages of Debian or Ubuntu.",
            remedy="Install and start Docker 26 or newer: pushrod uses it when it finds it.",
        )
    codename = values["VERSION_CODENAME"]
    return Release(id=values["ID"], codename=codename, version=values.get("VERSION_ID", codename))


def machine_release() -> Release:
    """This machine's release. Raises: UnsupportedMachineError."""
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise UnsupportedMachineError(
            "No private engine here: apt-get and dpkg are missing.",
            remedy="Install and start Docker 26 or newer: pushrod uses it when it finds it.",
        )
    return parse_release(Path("/etc/os-release").read_text())


def archive_keyring(release: Release) -> Path | None:
    """The distribution's keyring; None means the keys that apt trusts anyway."""
    keyring = Path(f"/usr/share/keyrings/{release.id}-archive-keyring.gpg")
    return keyring if keyring.exists() else None


def parse_sources(index_targets: str, release: Release) -> list[AptSource]:
    """The archive's sources out of `apt-get indextargets` lines `uri|suite|component`."""
    suites = {release.codename + ending for ending in ("", "-updates", "-security")}
    found: dict[tuple[str, str], list[str]] = {}
    for line in index_targets.splitlines():
        uri, suite, component = line.split("|")
        if suite in suites and component in COMPONENTS[release.id]:
            components = found.setdefault((uri, suite), [])
            if component not in components:
                components.append(component)
    return [
        AptSource(uri=uri, suite=suite, components=tuple(components))
        for (uri, suite), components in found.items()
        if not uri.startswith("cdrom:")
    ]


async def machine_sources(release: Release) -> list[AptSource]:
    """The machine's own mirror, its release's suite first. Raises: PackagesUnavailableError."""
    output = await run_command(
        "apt-get",
        "indextargets",
        # Also what was never fetched: a fresh machine has no lists yet.
        "--no-release-info",
        "--format",
        "$(REPO_URI)|$(RELEASE)|$(COMPONENT)",
        "Created-By: Packages",
        timeout_seconds=QUERY_SECONDS,
    )
    sources = parse_sources(output, release)
    sources.sort(key=lambda source: source.suite != release.codename)
    if not sources or sources[0].suite != release.codename:
        raise PackagesUnavailableError(
            f"apt's sources name no mirror for {release.id} {release.codename}.",
            remedy="Add the distribution's main archive to /etc/apt/sources.list.d, then repeat.",
        )
    return sources


def other_suite(sources: list[AptSource], suite: str) -> list[AptSource]:
    """The same mirror's other suite."""
    return [replace(sources[0], suite=suite)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Apt:
    """apt over a folder of its own. Every method raises PackagesUnavailableError."""

    folder: Path
    sources: tuple[AptSource, ...]
    keyring: Path | None
    status: Path

    async def update(self) -> None:
        """Write the configuration and fetch the package lists."""
        for part in ("lists/partial", "cache/archives/partial"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        lines = [source.line(self.keyring) for source in self.sources]
        self._sources.write_text("\n".join(lines) + "\n")
        self._configuration.write_text(self.configuration_text())
        await self._get("update", "--error-on=any")

    def configuration_text(self) -> str:
        """Read by `-c`, so after the machine's own files: proxies and credentials stay."""
        settings = {
            "Dir::Etc::sourcelist": self._sources,
            "Dir::Etc::sourceparts": "-",
            "Dir::Etc::preferencesparts": "-",
            "Dir::Etc::preferences": "-",
            "Dir::State::lists": self.folder / "lists",
            "Dir::State::status": self.status,
            "Dir::Cache": self.folder / "cache",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
        }
        if os.geteuid() == 0:
            settings["APT::Sandbox::User"] = "root"
        # Hooks of the machine refresh things that are no business of these lists.
        cleared = ("APT::Update::Post-Invoke", "APT::Update::Post-Invoke-Success")
        extra_indexes = ("DEP-11", "DEP-11-icons-small", "DEP-11-icons", "CNF")
        for index in extra_indexes:
            settings[f"Acquire::IndexTargets::deb::{index}::DefaultEnabled"] = "false"
        lines = [f"#clear {name};" for name in cleared]
        return "\n".join(lines + [f'{name} "{value}";' for name, value in settings.items()]) + "\n"

    async def candidate(self, package: str) -> str | None:
        """The version the archive offers; None if it has no such package."""
        output = await self._run("apt-cache", "policy", package)
        for line in output.splitlines():
            name, _, value = line.strip().partition(": ")
            if name == "Candidate" and value != "(none)":
                return value
        return None

    async def missing_dependencies(self, packages: list[str]) -> list[str]:
        """What an installation of `packages` would bring besides them, none of it installed."""
        output = await self._get("install", "--simulate", "--no-install-recommends", *packages)
        return [name for name in parse_new_packages(output) if name not in packages]

    async def download(self, packages: list[str], folder: Path) -> list[Path]:
        """Fetch the packages (checked by apt against the signed lists) into a new folder."""
        await asyncio.to_thread(folder.mkdir, parents=True)
        await self._get("download", *packages, folder=folder)
        return sorted(folder / name for name in os.listdir(folder))

    async def install(self, packages: list[str]) -> None:
        """Install properly, into the system (root only)."""
        await self._get(
            "install",
            "--yes",
            "--no-install-recommends",
            *packages,
            environment={"DEBIAN_FRONTEND": "noninteractive"},
        )

    @property
    def _sources(self) -> Path:
        return self.folder / "sources.list"

    @property
    def _configuration(self) -> Path:
        return self.folder / "apt.conf"

    async def _get(
        self, *arguments: str, folder: Path | None = None, environment: dict[str, str] | None = None
    ) -> str:
        return await self._run(
            "apt-get", *arguments, folder=folder, environment=environment, seconds=DOWNLOAD_SECONDS
        )

    async def _run(
        self,
        program: str,
        *arguments: str,
        folder: Path | None = None,
        environment: dict[str, str] | None = None,
        seconds: float = QUERY_SECONDS,
    ) -> str:
        try:
            return await run_command(
                program,
                "-q",
                "-c",
                str(self._configuration),
                *arguments,
                timeout_seconds=seconds,
                folder=folder,
                environment=environment,
            )
        except CommandFailedError as error:
            raise PackagesUnavailableError(
                f"{program} {arguments[0]} failed: {error}", remedy=MIRROR_REMEDY
            ) from error


def parse_new_packages(simulation: str) -> list[str]:
    """Names out of `Inst name (version …)`; `Inst name [old] (new …)` is an upgrade: not ours."""
    words = (line.split() for line in simulation.splitlines() if line.startswith("Inst "))
    return [line[1].split(":")[0] for line in words if not line[2].startswith("[")]
